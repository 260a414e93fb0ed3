//! Every verb, failing, killed or interrupted at each of its side effects.

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

/// All failpoints, as the program lists them.
fn all() -> Vec<String> {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_kvmc"))
        .arg("failpoints")
        .output()
        .unwrap();
    let names = String::from_utf8(output.stdout).unwrap();
    names.lines().map(str::to_owned).collect()
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
