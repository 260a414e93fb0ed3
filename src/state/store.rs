//! Atomic writes: files are replaced, never changed in place.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::NamedTempFile;

use crate::hint::{OTHER_USER, bail_with_hint};

/// Replaces the file `path` by `bytes`: writes a temporary file beside it, fsyncs and renames it, and fsyncs the
/// folder.
///
/// # Errors
/// Fails if a file cannot be written.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let file = written_beside(path, bytes, mode)?;
    let synced = file.as_file().sync_all();
    synced.with_context(|| format!("cannot write {}", path.display()))?;
    persist(file, path)?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Like [`replace`], but without fsync. It is for files that mean nothing after a power cut, and for those that are
/// made again. Readers see either the old or the new file.
///
/// # Errors
/// Fails if a file cannot be written.
pub(crate) fn replace_unsynced(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    persist(written_beside(path, bytes, mode)?, path)
}

fn written_beside(path: &Path, bytes: &[u8], mode: u32) -> Result<NamedTempFile> {
    let dir = path
        .parent()
        .with_context(|| format!("the path {} has no parent folder", path.display()))?;
    let permissions = || std::fs::Permissions::from_mode(mode);
    let mut file = tempfile::Builder::new()
        .prefix(&temporary(path))
        .permissions(permissions())
        .tempfile_in(dir)
        .with_context(|| format!("cannot write in {}", dir.display()))?;
    file.write_all(bytes)
        .and_then(|()| file.as_file().set_permissions(permissions()))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(file)
}

fn persist(file: NamedTempFile, path: &Path) -> Result<()> {
    file.persist(path)
        .with_context(|| format!("cannot replace {}", path.display()))?;
    Ok(())
}

/// Prefix of the temporary files for `path`. One that is left belongs to a killed writer.
pub(crate) fn temporary(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!(".{name}.kvmc-new-")
}

/// The temporary files of killed writers of `path`, and of those that write it now.
pub(crate) fn temporaries(path: &Path) -> Vec<PathBuf> {
    let prefix = temporary(path);
    let folder = path.parent().map(std::fs::read_dir);
    let entries = folder.into_iter().flatten().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
        .collect()
}

/// Removes the temporary files of killed writers of `path`. Nobody else may write it at the same time.
pub(crate) fn sweep(path: &Path) {
    for left in temporaries(path) {
        let _next_time = std::fs::remove_file(left);
    }
}

/// Writes `value` as JSON, like [`replace`].
///
/// # Errors
/// Fails if a file cannot be written.
pub(crate) fn replace_json(path: &Path, value: &impl Serialize, mode: u32) -> Result<()> {
    replace(path, &as_json(path, value)?, mode)
}

/// Writes `value` as JSON, like [`replace_unsynced`].
///
/// # Errors
/// Fails if a file cannot be written.
pub(crate) fn replace_json_unsynced(path: &Path, value: &impl Serialize, mode: u32) -> Result<()> {
    replace_unsynced(path, &as_json(path, value)?, mode)
}

fn as_json(path: &Path, value: &impl Serialize) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .with_context(|| format!("cannot write {}", path.display()))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Reads a JSON file; `None` if there is no such file.
///
/// # Errors
/// Fails if the file exists but cannot be read. That never counts as a missing file.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match fs_err::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let value =
        serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))?;
    Ok(Some(value))
}

/// Removes a file, and accepts that it is missing.
///
/// # Errors
/// Fails if the file cannot be removed.
pub(crate) fn remove_file(path: &Path) -> Result<()> {
    match fs_err::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
        _ => Ok(()),
    }
}

/// Makes a folder that only its owner may enter, with its parents. Refuses a symbolic link in its place.
///
/// # Errors
/// Fails if the folder cannot be made, or if something else is in its place.
pub(crate) fn private_dir(path: &Path) -> Result<()> {
    // A `down` of the last cluster may remove the folder or a parent at any time.
    for _ in 0..100 {
        match try_private_dir(path) {
            Err(e) if is_passing(&e) => {}
            made => return made,
        }
    }
    try_private_dir(path)
}

/// Whether the error comes from a folder that was removed between two calls.
fn is_passing(error: &anyhow::Error) -> bool {
    use std::io::ErrorKind::{AlreadyExists, NotFound};
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|e| matches!(e.kind(), AlreadyExists | NotFound))
}

fn try_private_dir(path: &Path) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs_err::create_dir_all(parent)?;
    }
    match fs_err::create_dir(path) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(e.into()),
        _ => {}
    }
    let kind = fs_err::symlink_metadata(path)?;
    if !kind.is_dir() {
        bail_with_hint!(
            "move it away, or set KVMC_STATE_DIR to another folder",
            "{} is not a folder",
            path.display()
        );
    }
    let (owner, own) = (kind.uid(), nix::unistd::geteuid().as_raw());
    if owner != own {
        // It could put other files in the place of ours.
        let name = nix::unistd::User::from_uid(owner.into()).ok().flatten();
        let name = name.map_or_else(|| format!("user {owner}"), |user| user.name);
        let hint = match own {
            0 => format!(
                "`chown root {}`, or set KVMC_STATE_DIR to another folder",
                path.display()
            ),
            // Only root can change that, and its clusters need nothing else.
            _ => format!("{OTHER_USER}, or set KVMC_STATE_DIR to another folder"),
        };
        bail_with_hint!(
            hint,
            "{} belongs to {name}; kvmc uses no folder of others",
            path.display()
        );
    }
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
    Ok(())
}

fn sync_dir(dir: &Path) -> Result<()> {
    let fd = open(
        dir,
        OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .with_context(|| format!("cannot open {}", dir.display()))?;
    nix::unistd::fsync(fd).with_context(|| format!("cannot sync {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_gets_the_requested_mode_whatever_the_umask() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        replace_json(&path, &[1, 2], 0o600).unwrap();
        replace_json(&path, &[3], 0o600).unwrap();
        assert_eq!(read_json::<Vec<u8>>(&path).unwrap(), Some(vec![3]));
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            1,
            "no temporary is left"
        );
    }

    #[test]
    fn a_damaged_file_is_an_error_and_a_missing_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        assert_eq!(read_json::<Vec<u8>>(&path).unwrap(), None);
        for damaged in ["", "[1,", "{}"] {
            std::fs::write(&path, damaged).unwrap();
            let error = read_json::<Vec<u8>>(&path).unwrap_err().to_string();
            assert!(error.contains("a.json is damaged"), "{error}");
        }
    }

    #[test]
    fn a_symbolic_link_is_refused_as_a_private_folder() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/tmp", &link).unwrap();
        assert!(private_dir(&link).is_err());
    }

    #[test]
    fn a_folder_is_made_while_another_process_removes_it_and_its_parent() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("clusters/k80");
        let parent = folder.parent().unwrap();
        std::thread::scope(|scope| {
            let remover = scope.spawn(|| {
                for _ in 0..300 {
                    let _not_there = std::fs::remove_dir(&folder);
                    let _in_use = std::fs::remove_dir(parent);
                    std::thread::sleep(std::time::Duration::from_micros(200));
                }
            });
            while !remover.is_finished() {
                private_dir(&folder).unwrap();
            }
        });
    }
}
