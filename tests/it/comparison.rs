//! Checks docs/COMPARISON.md: both tables have the same rows, and what kvmc is said to do is shown by a test.

use std::path::Path;

use super::promises::tests_of_all_crates;

/// The feature, kvmc's mark and the rest of each row below a heading.
fn rows<'a>(page: &'a str, heading: &str) -> Vec<(&'a str, &'a str, &'a str)> {
    let (_, part) = page.split_once(&format!("\n## {heading}\n")).unwrap();
    let part = part.split("\n## ").next().unwrap();
    let rows = part.lines().filter(|l| l.starts_with("| ")).skip(1);
    let rows = rows.filter(|l| !l.starts_with("| **"));
    rows.map(|row| {
        let row = row.trim_matches('|').trim();
        let (feature, row) = row.split_once(" |").unwrap();
        let (mark, rest) = row.split_once('|').unwrap();
        (feature, mark.trim(), rest.trim())
    })
    .collect()
}

#[test]
fn each_feature_that_kvmc_has_names_a_test_that_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/COMPARISON.md")).unwrap();
    let compared = rows(&page, "The table");
    let shown = rows(&page, "What shows it");
    let marks = |rows: &[(&str, &str, &str)]| -> Vec<String> {
        rows.iter().map(|(f, m, _)| format!("{f}: {m}")).collect()
    };
    assert_eq!(marks(&compared), marks(&shown));
    assert!(compared.len() >= 48, "{} rows", compared.len());
    let tests = tests_of_all_crates(root);
    for (feature, mark, what) in &shown {
        assert!(["Y", "P", "N"].contains(mark), "{feature}: {mark}");
        assert!(!what.is_empty(), "{feature}: nothing shows it");
        let codes = what.split('`').skip(1).step_by(2);
        let names: Vec<_> = codes.filter(|c| c.contains('_')).collect();
        assert!(*mark != "Y" || !names.is_empty(), "{feature}: no test");
        for name in names {
            assert!(tests.contains(name), "{feature}: `{name}` is no test");
        }
    }
}
