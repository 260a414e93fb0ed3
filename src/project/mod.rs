//! The files for Ansible and ssh, in the folder in which `up` was run and beside the record.

mod common;
mod inventory;
mod ssh;

use std::path::Path;

use anyhow::{Context, Result, bail};

use self::common::HEADER;
use crate::failpoint::failpoint;
use crate::hint::add_hint;
use crate::node::Secrets;
use crate::state::{ClusterDir, ClusterRecord, Written, read_json, remove_file, replace_unsynced};

/// A word in the comment of kvmc's public key.
const KEY_MARK: &str = "(kvmc)";

/// A file's name, mode and content.
type File = (&'static str, u32, String);

/// All files, with paths that are valid in `folder`.
fn files(record: &ClusterRecord, secrets: &Secrets, folder: &Path) -> Vec<File> {
    vec![
        (
            "inventory",
            0o600,
            inventory::inventory(record, secrets, folder),
        ),
        ("id_rsa", 0o600, secrets.admin.private.clone()),
        ("id_rsa.pub", 0o644, secrets.admin.public.clone()),
        ("ssh_config", 0o600, ssh::config(record, folder)),
        ("known_hosts", 0o600, ssh::known_hosts(record, secrets)),
    ]
}

/// Refuses a folder that holds files with these names which kvmc did not make.
///
/// # Errors
/// Fails at the first such file.
pub(crate) fn check_folder(folder: &Path) -> Result<()> {
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
    let error = anyhow::anyhow!("{} exists, but kvmc did not make it", path.display());
    add_hint(
        error,
        "move it away, or run this in another folder".to_owned(),
    )
}

/// Writes all files, beside the record and into the project's folder.
///
/// # Errors
/// Fails if a file cannot be written.
pub(crate) fn write(record: &ClusterRecord, secrets: &Secrets, dir: &ClusterDir) -> Result<()> {
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
                .with_context(|| format!("cannot change the owner of {}", path.display()))?;
        }
        failpoint!("up.files.one");
    }
    Ok(())
}

/// Removes the project's files, except those that were changed.
///
/// # Errors
/// Fails if files were changed, or if a file cannot be removed.
pub(crate) fn remove(record: Option<&ClusterRecord>, dir: &ClusterDir) -> Result<()> {
    let written = Written::load(dir);
    if !written.is_empty() {
        return written.remove();
    }
    let Some(record) = record else { return Ok(()) };
    match read_json::<Secrets>(&dir.secrets()) {
        Ok(Some(secrets)) => remove_unannounced(record, &secrets),
        Ok(None) => Ok(()),
        Err(e) => Err(e.context(format!(
            "the files of the cluster in {} are not removed, because their original content is unknown",
            record.project.display()
        ))),
    }
}

/// Removes the files of a cluster that an older kvmc made, which did not record what it wrote.
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
            "not removed, because they were changed after kvmc wrote them: {}",
            changed.join(", ")
        )
    }
}

/// The user who called sudo(8), if any.
fn behind_sudo() -> Option<(u32, u32)> {
    let id = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    Some((id("SUDO_UID")?, id("SUDO_GID")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{record, secrets};

    #[test]
    fn a_file_of_the_user_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        check_folder(dir.path()).unwrap();
        std::fs::write(dir.path().join("inventory"), "[mine]\n").unwrap();
        let error = check_folder(dir.path()).unwrap_err().to_string();
        assert!(
            error.contains("inventory exists, but kvmc did not make it"),
            "{error}"
        );
        std::fs::write(dir.path().join("inventory"), format!("{HEADER}\n")).unwrap();
        check_folder(dir.path()).unwrap();
        std::fs::write(dir.path().join("id_rsa"), "key").unwrap();
        assert!(check_folder(dir.path()).is_err());
    }

    #[test]
    fn changed_files_of_an_older_kvmc_stay_and_the_others_are_removed() {
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
