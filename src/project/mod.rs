//! The files for Ansible and ssh, in a folder of the user and beside the record.

mod common;
mod folder;
mod include;
mod inventory;
mod own_files;
mod owner;
mod proxy;
mod quote;
mod ssh;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use self::common::{NAMES, sealed_for};
pub(crate) use self::folder::{check, check_clusters};
pub(crate) use self::include::{Change, install, uninstall, uninstall_all};
pub(crate) use self::inventory::{
    Inventory, InventoryFormat, PLUGIN, PLUGIN_CONFIG, inventory_script,
};
use self::own_files::give;
pub(crate) use self::own_files::{make_own_folder, write_own};
pub(crate) use self::owner::behind_root;
pub(crate) use self::quote::word as shell_word;
use crate::failpoint::failpoint;
use crate::host::old_ansible_without_sshpass;
use crate::node::Secrets;
use crate::state::{ClusterDir, ClusterRecord, Standing, Written, read_json, replace_unsynced};

/// The cluster's inventory. Its paths are those of the user's files, or of those beside the record where the user's are
/// gone.
///
/// # Errors
/// Fails if the secrets cannot be read.
pub(crate) fn inventory(record: &ClusterRecord, dir: &ClusterDir) -> Result<Inventory> {
    let secrets = read_json::<Secrets>(&dir.secrets())?.context("secrets.json is missing")?;
    let is_whole = ["id_rsa", "known_hosts"]
        .iter()
        .all(|name| record.project.join(name).is_file());
    let folder = if is_whole {
        record.project.as_path()
    } else {
        dir.path()
    };
    let old = match record.spec.files.password {
        true => old_ansible_without_sshpass(),
        false => None,
    };
    Ok(Inventory::new(record, &secrets, folder, old))
}

/// A file's name, mode and content.
type File = (&'static str, u32, String);

/// All files, with paths that are valid in `folder`.
fn files(record: &ClusterRecord, secrets: &Secrets, folder: &Path) -> Vec<File> {
    let old = match record.spec.files.password {
        true => old_ansible_without_sshpass(),
        false => None,
    };
    let texts = [
        (0o600, inventory::ini_file(record, secrets, folder, old)),
        (0o600, secrets.admin.private.clone()),
        (0o644, secrets.admin.public.clone()),
        (0o600, ssh::config(record, folder)),
        (0o600, ssh::known_hosts(record, secrets)),
    ];
    let named = NAMES.into_iter().zip(texts);
    named
        .map(|(name, (mode, text))| (name, mode, text))
        .collect()
}

/// The state of one file in the project's folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Gone,
    Current,
    /// Unchanged since kvmc wrote it, for other settings.
    Outdated,
    /// Changed by the user.
    Changed,
}

/// Looks at a file that is to hold `text`.
fn state(path: &Path, text: &str, cluster: &str, written: &Written) -> State {
    match Standing::look(path) {
        Ok(Standing::Nothing) => State::Gone,
        Ok(Standing::Plain(there)) if there == text.as_bytes() => State::Current,
        Ok(Standing::Plain(there)) => {
            let sealed = std::str::from_utf8(&there).ok().and_then(sealed_for);
            match sealed == Some(cluster) || written.knows(path, &there) {
                true => State::Outdated,
                false => State::Changed,
            }
        }
        Ok(Standing::Other(_)) | Err(_) => State::Changed,
    }
}

/// Whether the project's folder exists, or can be made because it was asked for by name.
pub(crate) fn has_folder(record: &ClusterRecord) -> bool {
    let folder = &record.project;
    let may_make = record.spec.files.folder().is_some();
    folder.is_dir() || may_make && folder.parent().is_some_and(Path::is_dir)
}

/// The files that are missing or were written for other settings.
///
/// # Errors
/// Fails if the secrets cannot be read.
pub(crate) fn look(record: &ClusterRecord, dir: &ClusterDir) -> Result<Vec<&'static str>> {
    let Some(secrets) = read_json::<Secrets>(&dir.secrets())? else {
        return Ok(Vec::new());
    };
    if !has_folder(record) {
        return Ok(Vec::new());
    }
    let written = written(record, dir);
    let to_write = |(name, _, text): File| {
        let path = record.project.join(name);
        let state = state(&path, &text, &record.spec.name, &written);
        matches!(state, State::Gone | State::Outdated).then_some(name)
    };
    let all = files(record, &secrets, &record.project);
    Ok(all.into_iter().filter_map(to_write).collect())
}

/// Writes all files beside the record, and the missing and outdated ones into the project's folder. Returns a sentence
/// for each file that it does not write.
///
/// # Errors
/// Fails if a file of a new cluster cannot be written. The files of an existing cluster stop no verb.
pub(crate) fn write(
    record: &ClusterRecord,
    secrets: &Secrets,
    dir: &ClusterDir,
    is_new: bool,
) -> Result<Vec<String>> {
    // Reads the files beside the record before they are replaced.
    let mut written = written(record, dir);
    for (name, mode, text) in files(record, secrets, dir.path()) {
        replace_unsynced(&dir.artifact(name), text.as_bytes(), mode)?;
    }
    let mut told = Vec::new();
    if !has_folder(record) {
        // The verb's last message says where the files are.
        return Ok(told);
    }
    match make_folder(&record.project, dir, &mut written) {
        Err(e) if !is_new => {
            told.push(format!("warning: {e:#}"));
            return Ok(told);
        }
        made => made?,
    }
    let folder = &record.project;
    let ours = files(record, secrets, folder);
    let states: Vec<_> = ours
        .iter()
        .map(|(name, _, text)| state(&folder.join(name), text, &record.spec.name, &written))
        .collect();
    let announced = ours
        .iter()
        .map(|(name, _, text)| (folder.join(name), text.as_str()));
    written.announce(dir, announced)?;
    failpoint!("up.files.announced");
    for ((name, mode, text), state) in ours.iter().zip(states) {
        let path = folder.join(name);
        let done = match state {
            State::Current => Ok(()),
            State::Changed if is_new => folder::check_name(folder, name, &record.spec.name),
            State::Changed => {
                told.push(format!(
                    "{} is left, because it was changed after kvmc wrote it; the current one is {}",
                    path.display(),
                    dir.artifact(name).display()
                ));
                Ok(())
            }
            State::Gone | State::Outdated => put(&path, text, *mode),
        };
        match done {
            Err(e) if !is_new => told.push(format!("warning: {e:#}")),
            done => done?,
        }
        failpoint!("up.files.one");
    }
    told.extend(Written::load(dir).remove_elsewhere(dir, folder)?);
    Ok(told)
}

/// Writes a file and gives it to the user behind root.
fn put(path: &Path, text: &str, mode: u32) -> Result<()> {
    replace_unsynced(path, text.as_bytes(), mode)?;
    give(path)
}

/// Makes the folder if it does not exist.
fn make_folder(folder: &Path, dir: &ClusterDir, written: &mut Written) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    written.announce_folder(dir, folder)?;
    fs_err::create_dir(folder)?;
    give(folder)?;
    failpoint!("up.files.folder");
    Ok(())
}

/// The recorded files. An older kvmc did not record them; its files in the project differ from those beside the record
/// only in their paths.
fn written(record: &ClusterRecord, dir: &ClusterDir) -> Written {
    let mut written = Written::load(dir);
    if written.is_empty() {
        for name in NAMES {
            let Ok(text) = std::fs::read_to_string(dir.artifact(name)) else {
                continue;
            };
            let beside = dir.path().display().to_string();
            let text = text.replace(&beside, &record.project.display().to_string());
            written.assume(record.project.join(name), text.as_bytes());
        }
    }
    written
}

/// Removes the project's files, except those that were changed. Returns a sentence for each file that stays.
pub(crate) fn remove(record: Option<&ClusterRecord>, dir: &ClusterDir) -> Vec<String> {
    match record {
        Some(record) => written(record, dir).remove(),
        None => Written::load(dir).remove(),
    }
}

/// The folder for a cluster's files: the one asked for, else the one that the cluster has, else `here`.
pub(crate) fn place(
    asked: Option<&Path>,
    existing: Option<&ClusterRecord>,
    here: PathBuf,
) -> PathBuf {
    match (asked, existing) {
        (Some(folder), _) => folder.to_owned(),
        (None, Some(record)) => record.project.clone(),
        (None, None) => here,
    }
}

#[cfg(test)]
mod tests;
