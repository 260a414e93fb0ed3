//! Files that a user asks for by name, and that stay when the cluster is removed.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::common::HEADER;
use super::owner::behind_root;
use crate::hint::bail_with_hint;
use crate::state::{Standing, replace_unsynced};

/// Writes a file for the user. It replaces only a file that kvmc wrote, unless `any`.
///
/// # Errors
/// Fails without a change if something else is there, or if the file cannot be written.
pub(crate) fn write_own(path: &Path, text: &str, mode: u32, any: bool) -> Result<()> {
    let shown = path.display();
    let is_ours = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        text.lines().take(2).any(|line| line.starts_with(HEADER))
    };
    let standing = Standing::look(path).with_context(|| format!("{shown} cannot be read"))?;
    match standing {
        Standing::Other(what) => bail!("{shown} is {what}; kvmc writes a file there"),
        Standing::Plain(bytes) if !any && !is_ours(&bytes) => bail_with_hint!(
            "choose another name, or remove the file",
            "{shown} exists, and kvmc did not make it"
        ),
        Standing::Nothing | Standing::Plain(_) => {}
    }
    replace_unsynced(path, text.as_bytes(), mode)?;
    give(path)
}

/// Makes a folder for the user, with those above it.
///
/// # Errors
/// Fails if it cannot be made.
pub(crate) fn make_own_folder(folder: &Path) -> Result<()> {
    let missing: Vec<_> = folder
        .ancestors()
        .take_while(|f| !f.as_os_str().is_empty() && !f.exists())
        .collect();
    fs_err::create_dir_all(folder)?;
    missing.into_iter().try_for_each(give)
}

/// Gives a file to the user who became root.
pub(super) fn give(path: &Path) -> Result<()> {
    let Some((uid, gid)) = behind_root() else {
        return Ok(());
    };
    // The user may have put a link there since.
    std::os::unix::fs::lchown(path, Some(uid), Some(gid))
        .with_context(|| format!("cannot change the owner of {}", path.display()))
}
