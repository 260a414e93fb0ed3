//! Tells the program the commit that it is built from, if that is known: from git, or from KVMC_COMMIT where the sources
//! are a tarball.
#![allow(clippy::print_stdout, reason = "cargo reads it")]
#![expect(
    clippy::disallowed_methods,
    reason = "the one program that a build runs"
)]

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=KVMC_COMMIT");
    let given = std::env::var("KVMC_COMMIT").ok().filter(|c| !c.is_empty());
    let commit = given.or_else(from_git).unwrap_or_default();
    println!("cargo::rustc-env=KVMC_COMMIT={commit}");
}

/// The commit of the checkout, and not of a repository around an unpacked tarball.
fn from_git() -> Option<String> {
    let root = std::env::var("CARGO_MANIFEST_DIR").ok()?;
    let top = git(&["rev-parse", "--show-toplevel"])?;
    if std::fs::canonicalize(top).ok()? != std::fs::canonicalize(root).ok()? {
        return None;
    }
    // Both change with each commit, and in a worktree they lie elsewhere.
    for file in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", file])?;
        if std::path::Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
