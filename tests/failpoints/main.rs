//! Makes every verb fail, be killed and be interrupted at each of its side effects.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "test support is test code too, and shared with tests/it"
)]

#[path = "../it/fake.rs"]
mod fake;
#[path = "../it/support.rs"]
mod support;

use std::path::Path;
use std::sync::Mutex;

/// Cells at once. They wait most of their time.
const AT_ONCE: usize = 10;
const HOWS: [&str; 3] = ["error", "kill", "interrupt"];

/// All failpoints, as the program lists them.
fn all() -> Vec<String> {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_kvmc"))
        .arg("failpoints")
        .output()
        .unwrap();
    let names = String::from_utf8(output.stdout).unwrap();
    names.lines().map(str::to_owned).collect()
}

#[derive(Debug, Clone)]
struct Cell {
    point: String,
    /// The verb, for a point that several verbs reach.
    verb: &'static str,
    how: &'static str,
    next: &'static str,
}

/// The points of `up` that `start` reaches after `stop`.
fn of_start() -> Vec<String> {
    let bench = fake::bench();
    let output = bench.run(
        "uplink
         kvmc up --accel tcg $SMALL --masters 1 --workers 1 --load-balancers 0 --cold; kvmc stop
         KVMC_FAILPOINTS_REACHED=$(cd ..; pwd)/reached kvmc start --cold; kvmc down; sort -u ../reached",
    );
    assert!(output.status.success(), "{output:?}");
    let reached = String::from_utf8(output.stdout).unwrap();
    let points: Vec<_> = reached.lines().map(str::to_owned).collect();
    assert!(points.iter().any(|p| p == "up.qemu"), "{points:?}");
    points
}

/// The points of `up` that a cluster passes which grows.
fn of_scale() -> Vec<String> {
    let bench = fake::bench();
    let output = bench.run(
        "uplink
         kvmc up --accel tcg $SMALL --masters 1 --workers 1 --load-balancers 0 --cold
         KVMC_FAILPOINTS_REACHED=$(cd ..; pwd)/reached kvmc scale workers=2 --cold; kvmc down; sort -u ../reached",
    );
    assert!(output.status.success(), "{output:?}");
    let reached = String::from_utf8(output.stdout).unwrap();
    let points: Vec<_> = reached.lines().map(str::to_owned).collect();
    assert!(points.iter().any(|p| p == "up.disk"), "{points:?}");
    points
}

/// `up` follows in one half of the cells and `down` in the other, each with every point.
fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    let of_start = of_start();
    let of_scale = of_scale();
    for (i, point) in all().into_iter().enumerate() {
        let verbs: &[&'static str] = if point.starts_with("net.") {
            &["stop", "down"]
        } else if of_start.contains(&point) && of_scale.contains(&point) {
            &["", "start", "scale"]
        } else if of_scale.contains(&point) {
            &["", "scale"]
        } else if of_start.contains(&point) {
            &["", "start"]
        } else {
            &[""]
        };
        for (verb, how) in verbs.iter().flat_map(|v| HOWS.map(|h| (*v, h))) {
            // A kill is the worst of the three actions, so both verbs follow it.
            let nexts: &[&'static str] = match (how, i % 2) {
                ("kill", _) => &["up", "down"],
                ("error", 0) | ("interrupt", 1) => &["up"],
                _ => &["down"],
            };
            cells.extend(nexts.iter().map(|next| Cell {
                point: point.clone(),
                verb,
                how,
                next,
            }));
        }
    }
    cells
}

/// Runs a cell; returns its failure, if any.
fn run(cell: &Cell) -> Option<String> {
    let of_images = ["image.", "pull.", "import."];
    let bench = if of_images.iter().any(|p| cell.point.starts_with(p)) {
        fake::bare()
    } else {
        fake::bench()
    };
    std::fs::create_dir_all(bench.state()).unwrap();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let script = format!(
        "POINT={} VERB={} HOW={} NEXT={}\n. {tests}/failpoints/cell.sh",
        cell.point,
        if cell.verb.is_empty() { "-" } else { cell.verb },
        cell.how,
        cell.next,
        tests = tests.display()
    );
    let output = bench.run(&script);
    let said = support::said(&output);
    (!output.status.success()).then(|| format!("{cell:?} ended with {}:\n{said}", output.status))
}

#[test]
fn each_is_listed_once() {
    let mut names = all();
    let number = names.len();
    assert!(number > 0);
    names.sort();
    names.dedup();
    assert_eq!(names.len(), number);
}

/// `CELLS=up.bridge` runs the cells whose name contains the word.
#[test]
fn p2_after_a_fault_at_any_step_up_goes_on_or_down_leaves_nothing() {
    let only = std::env::var("CELLS").unwrap_or_default();
    let chosen: Vec<_> = cells()
        .into_iter()
        .filter(|c| format!("{} {} {} {}", c.verb, c.point, c.how, c.next).contains(&only))
        .collect();
    assert!(!chosen.is_empty(), "no cell is called {only}");
    // Makes the template and the fake QEMU once, before the cells need them.
    drop(fake::bench());
    let (points, number) = (all().len(), chosen.len());
    let waiting = Mutex::new(chosen.into_iter());
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(cell) = waiting.lock().unwrap().next() else {
                        return;
                    };
                    if let Some(why) = run(&cell) {
                        failed.lock().unwrap().push(why);
                    }
                }
            });
        }
    });
    println!("{points} failpoints, {number} cells");
    let failed = failed.into_inner().unwrap();
    assert!(
        failed.is_empty(),
        "{} of {number} cells failed:\n{}",
        failed.len(),
        failed.join("\n")
    );
}
