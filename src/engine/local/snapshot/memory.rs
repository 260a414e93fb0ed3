//! The memory of frozen machines that running nodes lie on.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};

use crate::engine::local::Local;
use crate::warm::Memory;

/// The frozen machine's memory that a QEMU has mapped; `None` if its guest booted.
///
/// # Errors
/// Fails if the process has ended, or if this process may not look into it.
pub(super) fn of_qemu(pid: i32) -> Result<Option<File>> {
    let name = format!("/memfd:{}", Memory::NAME);
    let folder = Path::new("/proc").join(pid.to_string()).join("fd");
    for entry in fs_err::read_dir(&folder)? {
        let path = entry?.path();
        let is_it =
            std::fs::read_link(&path).is_ok_and(|to| to.to_string_lossy().starts_with(&name));
        if is_it {
            // QEMU opens it for writing, although nobody can write to it.
            let file = File::options().read(true).write(true).open(&path);
            return file
                .map(Some)
                .with_context(|| format!("cannot open {}", path.display()));
        }
    }
    Ok(None)
}

/// The memory of a frozen machine, from its file.
///
/// # Errors
/// Fails if it is missing or was changed.
pub(super) fn of_frozen(local: &Local, id: &str) -> Result<File> {
    let all = local.frozen().list()?;
    let frozen = all.into_iter().find(|frozen| frozen.id == id);
    let frozen = frozen.with_context(|| format!("the frozen machine {id} is missing"))?;
    frozen.load()?.share()
}
