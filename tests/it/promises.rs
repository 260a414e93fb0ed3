//! Checks that docs/RELIABILITY.md has one row for each promise, and names existing tests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The promises in the beginning of a test's name: 10 and 11 of `p10_p11_beside_ufw`.
fn numbers(test: &str) -> Vec<u32> {
    let words = test.split('_');
    words
        .map_while(|w| w.strip_prefix('p')?.parse().ok())
        .collect()
}

/// The names of all functions in the Rust files below a folder.
fn functions(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            functions(&path, names);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let found = text
                .split("fn ")
                .skip(1)
                .filter_map(|t| t.split('(').next());
            names.extend(found.map(str::to_owned));
        }
    }
}

/// The names of all functions, tests among them, of the binary and of all crates.
pub(crate) fn tests_of_all_crates(root: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for folder in ["src", "netns", "images", "qmp", "tests"] {
        functions(&root.join(folder), &mut names);
    }
    names
}

#[test]
fn each_promise_has_one_row_and_each_test_that_a_row_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tests = tests_of_all_crates(root);
    let page = std::fs::read_to_string(root.join("docs/RELIABILITY.md")).unwrap();
    let mut rows = BTreeMap::new();
    for row in page.lines().filter_map(|l| l.strip_prefix("| P")) {
        let (number, row) = row.split_once(" | ").unwrap();
        let number: u32 = number.parse().unwrap();
        let last = rows.last_key_value().map(|(n, _)| *n);
        assert!(last < Some(number), "P{number} comes after {last:?}");
        rows.insert(number, row);
    }
    for (number, row) in &rows {
        for name in row
            .rsplit(" | ")
            .next()
            .unwrap()
            .split('`')
            .skip(1)
            .step_by(2)
        {
            let is_there = match name.strip_suffix('…') {
                Some(start) => tests.iter().any(|t| t.starts_with(start)),
                None => tests.contains(name) || name.contains([' ', '-']),
            };
            assert!(is_there, "P{number} names `{name}`, which is no test");
        }
    }
    for test in &tests {
        for number in numbers(test) {
            assert!(rows.contains_key(&number), "`{test}` has no row P{number}");
        }
    }
}
