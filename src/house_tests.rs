//! Tests of the rules that docs/ARCHITECTURE.md states for the code's structure.

use std::path::Path;

/// The rooms of `src/`, the lowest first. A room may use only rooms before it.
const FLOORS: [&str; 25] = [
    "failpoint",
    "trace",
    "ids",
    "hint",
    "codes",
    "model",
    "interrupt",
    "spec",
    "convert",
    "output",
    "state",
    "host",
    "node",
    "warm",
    "snapshot",
    "image",
    "network",
    "project",
    "keeper",
    "steps",
    "plan",
    "engine",
    "cli",
    "api",
    "commands",
];

/// The room of a file; `None` for `main.rs`, which may use all rooms.
fn room(file: &str) -> Option<usize> {
    let first = file.split('/').next().unwrap_or(file);
    let name = first.strip_suffix(".rs").unwrap_or(first);
    if name == "main" {
        return None;
    }
    let floor = FLOORS.iter().position(|room| *room == name);
    Some(floor.unwrap_or_else(|| {
        panic!("{file} is in no room: add it to FLOORS and to docs/ARCHITECTURE.md")
    }))
}

#[test]
fn imports_lead_downward() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut upward = Vec::new();
    for (file, names) in kvmc_house::imported_names(&src) {
        let file = file.to_string();
        if matches!(file.as_str(), "fuzz.rs" | "samples.rs" | "house_tests.rs") {
            continue;
        }
        for (imported, names) in names {
            let imported = imported.to_string();
            let is_downward = match (room(&file), room(&imported)) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(own), Some(other)) => other <= own,
            };
            if !is_downward {
                let names: Vec<_> = names.into_iter().collect();
                upward.push(format!("{file} -> {imported}: {}", names.join(", ")));
            }
        }
    }
    assert!(upward.is_empty(), "{}", upward.join("\n"));
}

#[test]
fn no_imports_go_in_a_circle_and_nothing_is_too_long() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let faults = kvmc_house::faults(&src);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Hints name their cluster, because only [`crate::hint`] writes commands of kvmc.
#[test]
fn only_the_hint_module_writes_commands_of_kvmc() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut written = Vec::new();
    for src in ["src", "netns/src", "images/src", "qmp/src"] {
        for path in sources(&root.join(src)) {
            let is_hint = ["src/hint.rs", "src/house_tests.rs", "src/codes/tests.rs"]
                .iter()
                .any(|file| path.ends_with(file));
            let text = std::fs::read_to_string(&path).unwrap();
            let lines = text.lines().enumerate().filter(|_| !is_hint);
            let literal = ["`kvmc ", "kvmc --cluster"];
            let found = lines.filter(|(_, line)| {
                let line = line.trim_start();
                !line.starts_with("//") && literal.iter().any(|l| line.contains(l))
            });
            written.extend(
                found.map(|(n, line)| format!("{}:{}: {}", path.display(), n + 1, line.trim())),
            );
        }
    }
    assert!(written.is_empty(), "{}", written.join("\n"));
}

fn sources(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            all.push(path);
        }
    }
    all
}
