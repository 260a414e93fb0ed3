//! Takes in a frozen machine that another store froze.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::memory::Memory;
use super::store::{META, Meta, Store, digest};
use crate::state::{private_dir, read_json};

impl Store {
    /// The files of a frozen machine; the last describes it.
    pub(crate) const FILES: [&str; 4] = ["ram", "state", "disk.qcow2", META];

    /// The paths of a frozen machine's files.
    pub(crate) fn files(&self, id: &str) -> [PathBuf; 4] {
        Self::FILES.map(|file| self.disk(id).with_file_name(file))
    }

    /// Moves the files of a frozen machine in, unless it is there already. Checks all of their digests.
    ///
    /// # Errors
    /// Fails if a file is missing or damaged, or if there is another machine of this name.
    pub(crate) fn adopt(&self, id: &str, from: &Path) -> Result<()> {
        let meta = read_json::<Meta>(&from.join(META))?;
        let meta = meta.with_context(|| format!("the frozen machine {id} is missing"))?;
        if let Some(there) = self.meta(id)? {
            ensure!(
                (&there.ram, &there.state, &there.disk) == (&meta.ram, &meta.state, &meta.disk),
                "there is another frozen machine {id}"
            );
            return Ok(());
        }
        let key = format!("{}-", meta.shape.key());
        let number = id.strip_prefix(&key);
        ensure!(
            number.is_some_and(|n| n.parse::<u32>().is_ok()),
            "{id} is not the name of this frozen machine"
        );
        let (_, ram) = Memory::load(&from.join("ram"), meta.shape.ram.0)?;
        let found = [
            ram,
            digest(&from.join("state"))?,
            digest(&from.join("disk.qcow2"))?,
        ];
        ensure!(
            found == [meta.ram, meta.state, meta.disk],
            "the frozen machine {id} is damaged"
        );
        for file in Self::FILES {
            let path = from.join(file);
            fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o444))?;
            fs_err::File::open(path)?.sync_all()?;
        }
        let to = self.files(id);
        let to = to.first().and_then(|file| file.parent());
        let to = to.context("a frozen machine has no folder")?;
        private_dir(to.parent().unwrap_or(to))?;
        fs_err::rename(from, to)?;
        fs_err::File::open(to.parent().unwrap_or(to))?.sync_all()?;
        Ok(())
    }
}
