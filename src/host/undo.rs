//! Takes back what `doctor --fix` did to the host.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::binfmt::BINFMT;
use super::find_program;

/// The package managers' own databases: the command that lists what is installed, and the one that removes packages and
/// refuses where others need them.
const DATABASES: [(&str, &[&str], &[&str]); 3] = [
    (
        "dpkg",
        &[
            "dpkg-query",
            "--show",
            "--showformat",
            "${Package} ${db:Status-Status}\n",
        ],
        &["dpkg", "--remove"],
    ),
    (
        "rpm",
        &[
            "rpm",
            "--query",
            "--all",
            "--queryformat",
            "%{NAME} installed\n",
        ],
        &["rpm", "--erase"],
    ),
    (
        "pacman",
        &["pacman", "--query", "--quiet"],
        &["pacman", "--remove", "--noconfirm"],
    ),
];

/// The names of all installed packages; empty where no known database is.
pub(crate) fn installed_packages() -> BTreeSet<String> {
    let all = DATABASES
        .iter()
        .filter(|(program, ..)| find_program(program).is_some());
    let listed = all
        .filter_map(|(_, list, _)| said(list))
        .find(|text| !text.is_empty());
    names(&listed.unwrap_or_default())
}

/// Reads one package a line, with its status if the database has one.
fn names(list: &str) -> BTreeSet<String> {
    let is_there = |line: &&str| {
        line.split_once(' ')
            .is_none_or(|(_, status)| status == "installed")
    };
    let name = |line: &str| line.split(' ').next().unwrap_or(line).to_owned();
    list.lines()
        .filter(is_there)
        .filter(|l| !l.is_empty())
        .map(name)
        .collect()
}

/// Removes packages. The database refuses those that others need.
///
/// # Errors
/// Fails with the command and what it said.
pub(crate) fn remove_packages(packages: &[String]) -> Result<()> {
    let known = DATABASES
        .iter()
        .find(|(_, list, _)| said(list).is_some_and(|t| !t.is_empty()));
    let Some((_, _, remove)) = known else {
        bail!(
            "no known package manager; remove these packages by hand: {}",
            packages.join(" ")
        );
    };
    let words: Vec<&str> = remove
        .iter()
        .copied()
        .chain(packages.iter().map(String::as_str))
        .collect();
    let output = run(&words)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{}` ended with {}: {}",
            words.join(" "),
            output.status,
            said.trim()
        );
    }
    Ok(())
}

/// Removes a rule of binfmt_misc by its name, if it is still there.
///
/// # Errors
/// Fails if the kernel refuses.
pub(crate) fn remove_binfmt(name: &str) -> Result<()> {
    let rule = Path::new(BINFMT).join(name);
    if rule.exists() {
        fs_err::write(rule, "-1")?;
    }
    Ok(())
}

fn said(words: &[&str]) -> Option<String> {
    let output = run(words).ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn run(words: &[&str]) -> Result<std::process::Output> {
    let (program, arguments) = words.split_first().context("no program is named")?;
    #[expect(clippy::disallowed_methods, reason = "a package database")]
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    output.with_context(|| format!("{program} cannot be started"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_installed_packages_are_listed() {
        let list = "bash installed\nold config-files\nqemu-utils installed\n";
        let expected: BTreeSet<_> = ["bash", "qemu-utils"].map(str::to_owned).into();
        assert_eq!(names(list), expected);
        assert_eq!(names("bash\nqemu-utils\n"), expected);
        assert!(names("").is_empty());
    }

    #[test]
    fn packages_of_this_host_are_listed() {
        if find_program("dpkg").is_some() {
            assert!(installed_packages().contains("dpkg"));
        }
    }
}
