//! The files for Ansible and ssh, in the folder where `up` was run and beside the record.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::failpoint::failpoint;
use crate::node::Secrets;
use crate::node::identity::ADMIN;
use crate::spec::Role;
use crate::state::{ClusterDir, ClusterRecord, Written, read_json, remove_file, replace_unsynced};

/// First line of what is ours, so that a file of the user's own is never overwritten.
const HEADER: &str = "# made by kvmc";
/// What the comment of our public key holds.
const KEY_MARK: &str = "(kvmc)";

/// ssh_config(5): seconds between questions to a node that says nothing, and how many stay without answer
/// before the connection counts as lost. A node that reboots under a connection takes no leave of it, and ssh
/// would wait for ever; one that is emulated on a busy host may be silent for long.
const ALIVE: (u8, u8) = (15, 8);

/// Seconds that Ansible waits for an emulated node's key exchange; its own ten are too few for many nodes on
/// few cores.
const EMULATED_TIMEOUT: u8 = 60;

/// A file by name, with its mode.
type File = (&'static str, u32, String);

/// All files, with paths that hold in `folder`.
fn files(record: &ClusterRecord, secrets: &Secrets, folder: &Path) -> Vec<File> {
    vec![
        ("inventory", 0o600, inventory(record, secrets, folder)),
        ("id_rsa", 0o600, secrets.admin.private.clone()),
        ("id_rsa.pub", 0o644, secrets.admin.public.clone()),
        ("ssh_config", 0o600, ssh_config(record, folder)),
        ("known_hosts", 0o600, known_hosts(record, secrets)),
    ]
}

/// Ansible's INI inventory.
///
/// Paths are absolute, so it serves from any folder; a blank in one is quoted for Ansible's own
/// splitting and for ssh's.
fn inventory(record: &ClusterRecord, secrets: &Secrets, folder: &Path) -> String {
    let mut text = format!(
        "{HEADER} for cluster {}; gone with `kvmc down`\n",
        record.spec.name
    );
    for role in Role::ALL {
        let _infallible = writeln!(text, "\n[{}]", role.group());
        for node in record.nodes.iter().filter(|n| n.role == role) {
            let _infallible = writeln!(
                text,
                "{} ansible_host={} cluster_hostname={}",
                node.name, node.address, node.name
            );
        }
    }
    let key = folder.join("id_rsa").display().to_string();
    let known = folder.join("known_hosts").display().to_string();
    let _infallible = write!(
        text,
        "\n[all:vars]\nansible_user={ADMIN}\nansible_password={}\nansible_ssh_private_key_file=\"{key}\"\nansible_python_interpreter=/usr/bin/python3\nansible_ssh_common_args='-o UserKnownHostsFile=\"{known}\" -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes -o ServerAliveInterval={} -o ServerAliveCountMax={}'\n",
        secrets.password, ALIVE.0, ALIVE.1
    );
    if !record.accelerator.is_kvm() {
        let _infallible = writeln!(text, "ansible_ssh_timeout={EMULATED_TIMEOUT}");
    }
    text
}

fn ssh_config(record: &ClusterRecord, folder: &Path) -> String {
    let mut text = format!("{HEADER}: ssh -F ssh_config NODE\n");
    for node in &record.nodes {
        let _infallible = write!(text, "\nHost {}\n  HostName {}\n", node.name, node.address);
    }
    let names: Vec<_> = record.nodes.iter().map(|n| n.name.as_str()).collect();
    let _infallible = write!(
        text,
        "\nHost {}\n  User {ADMIN}\n  IdentityFile \"{}\"\n  IdentitiesOnly yes\n  UserKnownHostsFile \"{}\"\n  StrictHostKeyChecking yes\n  ServerAliveInterval {}\n  ServerAliveCountMax {}\n  LogLevel ERROR\n",
        names.join(" "),
        folder.join("id_rsa").display(),
        folder.join("known_hosts").display(),
        ALIVE.0,
        ALIVE.1,
    );
    text
}

/// Each host's keys under its name and its address, sshd(8).
fn known_hosts(record: &ClusterRecord, secrets: &Secrets) -> String {
    let mut text = String::new();
    for node in &record.nodes {
        let Some(keys) = secrets.hosts.get(&node.name) else {
            continue;
        };
        for key in [&keys.ed25519, &keys.rsa] {
            let mut words = key.public.split_whitespace();
            let (Some(kind), Some(blob)) = (words.next(), words.next()) else {
                continue;
            };
            let _infallible = writeln!(text, "{},{} {kind} {blob}", node.name, node.address);
        }
    }
    text
}

/// Refuses a folder that holds files of these names which kvmc did not make.
///
/// # Errors
/// The first such file.
pub(super) fn check_folder(folder: &Path) -> Result<()> {
    for name in ["inventory", "ssh_config"] {
        let path = folder.join(name);
        if let Ok(text) = std::fs::read(&path)
            && !text.starts_with(HEADER.as_bytes())
        {
            return Err(foreign(&path));
        }
    }
    let public = std::fs::read_to_string(folder.join("id_rsa.pub")).unwrap_or_default();
    if folder.join("id_rsa").exists() && !public.contains(KEY_MARK) {
        return Err(foreign(&folder.join("id_rsa")));
    }
    let known = folder.join("known_hosts");
    if known.exists() && !folder.join("ssh_config").exists() {
        return Err(foreign(&known));
    }
    Ok(())
}

fn foreign(path: &Path) -> anyhow::Error {
    anyhow::anyhow!(
        "{} exists and was not made by kvmc; move it away, or run this in another folder",
        path.display()
    )
}

/// Writes all files beside the record and into the project's folder.
///
/// # Errors
/// The system's, with the path.
pub(super) fn write(record: &ClusterRecord, secrets: &Secrets, dir: &ClusterDir) -> Result<()> {
    for (name, mode, text) in files(record, secrets, dir.path()) {
        replace_unsynced(&dir.artifact(name), text.as_bytes(), mode)?;
    }
    let owner = behind_sudo();
    let ours = files(record, secrets, &record.project);
    let announced = ours
        .iter()
        .map(|(name, _, text)| (record.project.join(name), text.as_str()));
    Written::load(dir).announce(dir, announced)?;
    failpoint!("up.files.announced");
    for (name, mode, text) in ours {
        let path = record.project.join(name);
        replace_unsynced(&path, text.as_bytes(), mode)?;
        if let Some((uid, gid)) = owner {
            std::os::unix::fs::chown(&path, Some(uid), Some(gid))
                .with_context(|| format!("failed to give {} to its user", path.display()))?;
        }
        failpoint!("up.files.one");
    }
    Ok(())
}

/// Removes the project's files if they are still as written; one that was changed stays.
///
/// # Errors
/// Those that were changed, or the system's.
pub(super) fn remove(record: Option<&ClusterRecord>, dir: &ClusterDir) -> Result<()> {
    let written = Written::load(dir);
    if !written.is_empty() {
        return written.remove();
    }
    let Some(record) = record else { return Ok(()) };
    match read_json::<Secrets>(&dir.secrets()) {
        Ok(Some(secrets)) => remove_unannounced(record, &secrets),
        Ok(None) => Ok(()),
        Err(e) => Err(e.context(format!(
            "the files of the cluster in {} are left in place, since what they held is not known",
            record.project.display()
        ))),
    }
}

/// Of a cluster that an older kvmc made, which did not write down what it wrote.
fn remove_unannounced(record: &ClusterRecord, secrets: &Secrets) -> Result<()> {
    let mut changed = Vec::new();
    for (name, _, text) in files(record, secrets, &record.project) {
        let path = record.project.join(name);
        match std::fs::read(&path) {
            Ok(there) if there == text.as_bytes() => remove_file(&path)?,
            Ok(_) => changed.push(path.display().to_string()),
            Err(_) => {}
        }
    }
    if changed.is_empty() {
        Ok(())
    } else {
        bail!(
            "left in place, since they were changed after kvmc wrote them: {}",
            changed.join(", ")
        )
    }
}

/// The person behind sudo(8), when there is one.
fn behind_sudo() -> Option<(u32, u32)> {
    let id = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    Some((id("SUDO_UID")?, id("SUDO_GID")?))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{record, secrets};
    use super::*;

    #[test]
    fn the_inventory_has_the_groups_of_the_scripts() {
        let text = inventory(&record(), &secrets(), Path::new("/my project"));
        assert!(text.starts_with(HEADER));
        let at = |needle: &str| {
            text.find(needle)
                .unwrap_or_else(|| panic!("no {needle} in\n{text}"))
        };
        assert!(at("[masters]") < at("master0 ansible_host=192.168.80.2 cluster_hostname=master0"));
        assert!(at("master2") < at("[workers]"));
        assert!(at("worker2") < at("[load_balancers]"));
        assert!(at("lbl0 ansible_host=192.168.80.8") < at("[all:vars]"));
        at("ansible_user=admin\n");
        at("ansible_password=secret\n");
        at("ansible_ssh_private_key_file=\"/my project/id_rsa\"");
        at("UserKnownHostsFile=\"/my project/known_hosts\"");
    }

    #[test]
    fn a_connection_to_a_node_that_is_gone_ends_by_itself() {
        let inventory = inventory(&record(), &secrets(), Path::new("/x"));
        assert!(inventory.contains(" -o ServerAliveInterval=15 -o ServerAliveCountMax=8'"));
        let config = ssh_config(&record(), Path::new("/x"));
        assert!(config.contains("  ServerAliveInterval 15\n  ServerAliveCountMax 8\n"));
    }

    #[test]
    fn ansible_waits_longer_for_emulated_nodes() {
        let mut record = record();
        let text = inventory(&record, &secrets(), Path::new("/x"));
        assert!(text.ends_with("'\nansible_ssh_timeout=60\n"), "{text}");
        record.accelerator = crate::model::Accelerator::Kvm;
        let text = inventory(&record, &secrets(), Path::new("/x"));
        assert!(!text.contains("timeout"), "{text}");
    }

    #[test]
    fn a_file_of_the_users_own_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        check_folder(dir.path()).unwrap();
        std::fs::write(dir.path().join("inventory"), "[mine]\n").unwrap();
        let error = check_folder(dir.path()).unwrap_err().to_string();
        assert!(
            error.contains("inventory exists and was not made by kvmc"),
            "{error}"
        );
        std::fs::write(dir.path().join("inventory"), format!("{HEADER}\n")).unwrap();
        check_folder(dir.path()).unwrap();
        std::fs::write(dir.path().join("id_rsa"), "key").unwrap();
        assert!(check_folder(dir.path()).is_err());
    }

    #[test]
    fn of_an_older_kvmcs_files_the_changed_stay_and_the_rest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = record();
        record.project = dir.path().to_owned();
        for (name, _, text) in files(&record, &secrets(), dir.path()) {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        std::fs::write(dir.path().join("inventory"), format!("{HEADER}\nmore")).unwrap();
        assert!(remove_unannounced(&record, &secrets()).is_err());
        let left: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(left, ["inventory"]);
    }
}
