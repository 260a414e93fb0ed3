//! Whether this host's Ansible accepts a password in its inventory.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::check::{Check, Finding};
use super::find_program;
use crate::hint::host_command;

/// From 2.19 on, ansible-core gives ssh the password by itself (`password_mechanism` of its plugin ssh); earlier ones
/// refuse to run without sshpass once a password is set, whether or not a key lets them in.
const WITHOUT_SSHPASS: (u32, u32) = (2, 19);

/// The longest wait for `ansible --version`; Python starts slowly on a busy host.
const PATIENCE: Duration = Duration::from_secs(20);

/// The version of this host's ansible-core if it needs sshpass and sshpass is not installed.
pub(crate) fn old_ansible_without_sshpass() -> Option<&'static str> {
    static FOUND: OnceLock<Option<String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| match find_program("sshpass") {
        Some(_) => None,
        None => old_ansible(),
    });
    found.as_deref()
}

/// Looks for Ansible, which only some verbs need.
pub(crate) fn ansible() -> Check {
    let found = match find_program("ansible-playbook") {
        Some(path) => path.display().to_string(),
        None => {
            "not installed; only `ansible`, `playbook` and playbooks of images need it".to_owned()
        }
    };
    Check {
        name: "Ansible",
        finding: Finding::Fine(found),
    }
}

/// Checks for sshpass; none where no Ansible needs it.
pub(crate) fn sshpass() -> Option<Check> {
    let version = old_ansible()?;
    let finding = match find_program("sshpass") {
        Some(path) => Finding::Fine(path.display().to_string()),
        None => Finding::Warning {
            what: format!(
                "ansible-core {version} refuses to run with a password while `sshpass` is not installed, so the inventory names the key alone"
            ),
            cure: format!("{} installs it", host_command("doctor --fix")),
            package: Some("sshpass"),
        },
    };
    Some(Check {
        name: "sshpass",
        finding,
    })
}

fn old_ansible() -> Option<String> {
    let program = find_program("ansible")?;
    // Its own answer takes a second, which each `up` would pay.
    let said = match installed_beside(&program) {
        Some(version) => format!("ansible [core {version}]"),
        None => version_of(&program)?,
    };
    old_version(&said)
}

/// The version of the one ansible-core among the Python packages of the program's prefix, by the name of its metadata
/// (PEP 427, `ansible_core-2.14.18.dist-info`). `None` if there is none, or more than one.
fn installed_beside(program: &Path) -> Option<String> {
    let program = std::fs::canonicalize(program).ok()?;
    let entries = |folder: PathBuf| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter_map(|e| {
            e.file_name()
                .into_string()
                .ok()
                .map(|name| (e.path(), name))
        })
    };
    let mut versions: Vec<_> = entries(program.parent()?.parent()?.join("lib"))
        .filter(|(_, name)| name.starts_with("python3"))
        .flat_map(|(path, _)| ["site-packages", "dist-packages"].map(|below| path.join(below)))
        .flat_map(entries)
        .filter_map(|(_, name)| {
            let rest = name.strip_prefix("ansible_core-")?;
            let version = rest
                .strip_suffix(".dist-info")
                .or_else(|| rest.strip_suffix(".egg-info"))?;
            // An egg-info also names the Python, as in `2.14.18-py3.11`.
            version.split('-').next().map(str::to_owned)
        })
        .collect();
    versions.sort();
    versions.dedup();
    match versions.as_slice() {
        [version] => Some(version.clone()),
        _ => None,
    }
}

/// The output of `ansible --version`.
fn version_of(program: &Path) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "ansible, for its version")]
    let mut child = Command::new(program)
        .arg("--version")
        // Ansible reads no configuration of this folder and makes nothing in a home.
        .current_dir("/")
        .env("ANSIBLE_HOME", std::env::temp_dir())
        .env("ANSIBLE_LOCAL_TEMP", std::env::temp_dir())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let until = Instant::now() + PATIENCE;
    while child.try_wait().ok()?.is_none() {
        if Instant::now() > until {
            let _ended_already = child.kill();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The version in `ansible [core 2.14.18]` or `ansible 2.10.17`, if it needs sshpass.
fn old_version(said: &str) -> Option<String> {
    let line = said.lines().next()?.strip_prefix("ansible ")?;
    let version = line.trim_start_matches("[core ").trim_end_matches(']');
    let mut numbers = version.split('.').map(str::parse::<u32>);
    let found = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    (found < WITHOUT_SSHPASS).then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installed_ansible_is_known_without_running_it() {
        let prefix = tempfile::tempdir().unwrap();
        let bin = prefix.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        // It does not run: nobody may execute it.
        std::fs::write(bin.join("ansible"), "").unwrap();
        let version = || installed_beside(&bin.join("ansible"));
        assert_eq!(version(), None);
        let install = |name: &str| {
            std::fs::create_dir_all(prefix.path().join("lib").join(name)).unwrap();
        };
        install("python3.11/site-packages/ansible_compat-9.0.dist-info");
        assert_eq!(version(), None);
        install("python3.11/site-packages/ansible_core-2.14.18.dist-info");
        assert_eq!(version().as_deref(), Some("2.14.18"));
        install("python3/dist-packages/ansible_core-2.14.18-py3.11.egg-info");
        assert_eq!(version().as_deref(), Some("2.14.18"));
        install("python3.9/site-packages/ansible_core-2.19.0.dist-info");
        assert_eq!(version(), None, "two of them");
    }

    #[test]
    fn an_ansible_that_needs_sshpass_is_told_by_its_version() {
        let old = |said: &str| old_version(said);
        assert_eq!(
            old("ansible [core 2.14.18]\n  config file = None\n"),
            Some("2.14.18".to_owned())
        );
        assert_eq!(old("ansible 2.10.17\n"), Some("2.10.17".to_owned()));
        assert_eq!(
            old("ansible [core 2.18.0rc1]"),
            Some("2.18.0rc1".to_owned())
        );
        for new in [
            "ansible [core 2.19.14]",
            "ansible [core 3.0.0]",
            "",
            "bash: no",
        ] {
            assert_eq!(old(new), None, "{new}");
        }
    }
}
