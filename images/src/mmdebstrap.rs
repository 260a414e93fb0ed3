//! Runs mmdebstrap, which installs packages into a folder, and finds the lines of its output that say why it failed.

use std::path::Path;

use crate::error::ImageError;
use crate::exec;
use crate::packages::PackageSet;
use crate::recipe::Recipe;

/// Complaints shown in an error.
const SHOWN: usize = 6;

/// Installs the recipe's packages in `root`.
///
/// # Errors
/// [`ImageError::Packages`] with its complaints.
pub(crate) fn install(
    recipe: &Recipe,
    set: &PackageSet<'_>,
    root: &Path,
) -> Result<(), ImageError> {
    run(&arguments(recipe, set, root)).map_err(|e| match e {
        ImageError::Program { status, stderr, .. } => ImageError::Packages { status, stderr },
        e => e,
    })
}

/// Unpacks a package in `root` without running its scripts.
///
/// # Errors
/// [`ImageError::Program`] with its complaints.
pub(crate) fn unpack(
    package: &str,
    suite: &str,
    components: &str,
    root: &Path,
) -> Result<(), ImageError> {
    run(&[
        "--mode=root".to_owned(),
        "--variant=extract".to_owned(),
        "--format=directory".to_owned(),
        format!("--components={components}"),
        format!("--include={package}"),
        suite.to_owned(),
        root.display().to_string(),
    ])
}

fn run(arguments: &[String]) -> Result<(), ImageError> {
    // Not --quiet, which would drop apt's messages too.
    exec::run_and_say("mmdebstrap", arguments, complaints)
}

fn arguments(recipe: &Recipe, set: &PackageSet<'_>, root: &Path) -> Vec<String> {
    let mut arguments: Vec<String> = [
        "--mode=root",
        "--variant=minbase",
        "--format=directory",
        "--aptopt=APT::Install-Recommends \"false\"",
        "--aptopt=Acquire::Retries \"3\"",
    ]
    .map(str::to_owned)
    .to_vec();
    for pattern in set.excluded {
        arguments.push(format!("--dpkgopt=path-exclude={pattern}"));
    }
    arguments.push(format!("--architectures={}", recipe.architecture));
    arguments.push(format!("--include={}", set.packages.join(",")));
    let components = recipe.distribution().components;
    arguments.push(format!("--components={components}"));
    if let Some(keyring) = set.keyring {
        arguments.push(format!("--keyring={}", keyring.display()));
    }
    arguments.push(recipe.suite.clone());
    arguments.push(root.display().to_string());
    arguments.extend(recipe.mirror.clone());
    arguments
}

/// The complaints of apt, dpkg and mmdebstrap, without the command lines that mmdebstrap shows with them.
fn complaints(said: &str) -> String {
    let is_complaint = |line: &&str| {
        ["E: ", "Err:", "dpkg: error", "404 "]
            .iter()
            .any(|word| line.starts_with(word))
            && !line.contains("apt-get -o")
            && !line.contains("apt-get update -")
            && !line.contains("Some index files failed")
            && *line != "E: mmdebstrap failed to run"
    };
    let mut lines: Vec<&str> = said.lines().map(str::trim).filter(is_complaint).collect();
    lines.dedup();
    lines.truncate(SHOWN);
    if lines.is_empty() {
        return exec::last_lines(said);
    }
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_and_nothing_else() {
        let said = "I: running apt-get update...\nReading package lists...\nE: Unable to locate package nosuch\nE: setup failed: E: apt-get -o Dir::Bin::dpkg=env --yes install systemd nosuch failed\nI: main() received signal PIPE: waiting for setup...\nE: mmdebstrap failed to run\n";
        assert_eq!(complaints(said), "E: Unable to locate package nosuch");
        let said = "Err:2 http://m/debian nobel Release\n  404  Not Found [IP: 192.0.2.1 80]\nE: The repository 'http://m/debian nobel Release' does not have a Release file.\nE: apt-get update --error-on=any -oAPT::Status-Fd=<$fd> failed\nE: mmdebstrap failed to run\n";
        assert_eq!(
            complaints(said),
            "Err:2 http://m/debian nobel Release; 404  Not Found [IP: 192.0.2.1 80]; E: The repository 'http://m/debian nobel Release' does not have a Release file."
        );
    }

    #[test]
    fn where_no_complaint_is_known_the_last_words_are_shown() {
        assert_eq!(complaints("a\nb\n"), "a; b");
        assert_eq!(complaints(""), "");
    }
}
