//! An ext2, ext3 or ext4 in a raw disk, changed without being mounted, by e2fsprogs: a disk that others wrote
//! is not for the host's kernel to mount.

use std::fmt::Write;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::free::Free;
use super::partition::file_systems;
use crate::{ImageError, exec};

/// In the superblock, ext4's `s_feature_incompat`: the journal holds what is not in its place yet.
const NEEDS_RECOVERY: u32 = 4;
const FEATURE_INCOMPAT: u64 = 1024 + 0x60;

/// The file system.
#[derive(Debug)]
pub(super) struct Ext {
    disk: PathBuf,
    /// Where it begins, in bytes.
    offset: u64,
}

/// What a folder has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    /// As stat(2) has it, with the kind.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Entry {
    pub(super) fn is_folder(&self) -> bool {
        self.mode & 0o170_000 == 0o040_000
    }

    pub(super) fn is_file(&self) -> bool {
        self.mode & 0o170_000 == 0o100_000
    }
}

/// What is done to it, in debugfs(8)'s words.
#[derive(Debug, Default)]
pub(super) struct Edits(String);

impl Edits {
    pub(super) fn remove_file(&mut self, path: &str) {
        let _infallible = writeln!(self.0, "rm \"{path}\"");
    }

    pub(super) fn remove_folder(&mut self, path: &str) {
        let _infallible = writeln!(self.0, "rmdir \"{path}\"");
    }

    /// Copies the file `from` of the host to where there is none.
    pub(super) fn create(&mut self, path: &str, from: &Path) {
        let _infallible = writeln!(self.0, "write \"{}\" \"{path}\"", from.display());
    }

    /// Puts the file `from` of the host in the place of one that is there, whose owner and mode stay.
    pub(super) fn replace(&mut self, path: &str, from: &Path, was: &Entry) {
        self.remove_file(path);
        self.create(path, from);
        for (field, value) in [
            ("mode", format!("0{:o}", was.mode)),
            ("uid", was.uid.to_string()),
            ("gid", was.gid.to_string()),
        ] {
            let _infallible = writeln!(self.0, "sif \"{path}\" {field} {value}");
        }
    }
}

impl Ext {
    /// The root file system of a raw disk.
    ///
    /// # Errors
    /// That it has none of this kind, or that it was not unmounted.
    pub(super) fn root_of(disk: &Path) -> Result<Self, ImageError> {
        let file = fs_err::File::open(disk)?.into_parts().0;
        let found = file_systems(&file);
        for place in found.iter().filter(|f| f.kind == "ext") {
            let ext = Self {
                disk: disk.to_owned(),
                offset: place.offset,
            };
            if ext.list("/etc")?.iter().any(|e| e.name == "passwd") {
                ext.check_unmounted(&file)?;
                return Ok(ext);
            }
        }
        let kinds: Vec<_> = found.iter().map(|f| f.kind).collect();
        let seen = if kinds.is_empty() {
            "none is known of those on it".to_owned()
        } else {
            format!("on it are {}", kinds.join(", "))
        };
        Err(unfit(format!(
            "has no ext2, ext3 or ext4 with /etc in it ({seen}): kvmc takes an identity out of these alone"
        )))
    }

    fn check_unmounted(&self, file: &File) -> Result<(), ImageError> {
        let mut word = [0; 4];
        file.read_exact_at(&mut word, self.offset + FEATURE_INCOMPAT)?;
        if u32::from_le_bytes(word) & NEEDS_RECOVERY == 0 {
            return Ok(());
        }
        Err(unfit(
            "was not unmounted: the machine was cut off; start it, and stop it by `kvmc stop`"
                .to_owned(),
        ))
    }

    /// What a folder has, without itself and its parent; nothing where it is not there.
    ///
    /// # Errors
    /// debugfs's.
    pub(super) fn list(&self, folder: &str) -> Result<Vec<Entry>, ImageError> {
        let said = self.debugfs(&["-R", &format!("ls -p \"{folder}\"")])?;
        Ok(said.lines().filter_map(entry).collect())
    }

    /// What there is at a path.
    ///
    /// # Errors
    /// debugfs's.
    pub(super) fn look(&self, path: &str) -> Result<Option<Entry>, ImageError> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let folder = if folder.is_empty() { "/" } else { folder };
        let entries = self.list(folder)?;
        Ok(entries.into_iter().find(|e| e.name == name))
    }

    /// Copies a file to the host.
    ///
    /// # Errors
    /// debugfs's, or the system's.
    pub(super) fn read(&self, path: &str, to: &Path) -> Result<Vec<u8>, ImageError> {
        self.debugfs(&["-R", &format!("dump \"{path}\" \"{}\"", to.display())])?;
        Ok(fs_err::read(to)?)
    }

    /// Carries out the edits; `folder` is to write them down in.
    ///
    /// # Errors
    /// A file system that is not whole afterwards.
    pub(super) fn apply(&self, edits: &Edits, folder: &Path) -> Result<(), ImageError> {
        let script = folder.join("edits");
        fs_err::write(&script, &edits.0)?;
        self.debugfs(&["-w", "-f", &script.display().to_string()])?;
        fs_err::remove_file(&script)?;
        // debugfs leaves a folder's free space and the counts as they come.
        exec::run("e2fsck", &["-f".to_owned(), "-p".to_owned(), self.place()]).or_else(
            |e| match e {
                ImageError::Program { status, .. } if status == "exit status: 1" => Ok(()),
                e => Err(e),
            },
        )
    }

    /// Its free blocks.
    ///
    /// # Errors
    /// dumpe2fs's.
    pub(super) fn free(&self) -> Result<Free, ImageError> {
        let said = exec::output("dumpe2fs", &[self.place()])?;
        Free::parse(&said, self.offset).ok_or_else(|| {
            unfit("has free blocks that dumpe2fs tells of in unknown words".to_owned())
        })
    }

    fn debugfs(&self, arguments: &[&str]) -> Result<String, ImageError> {
        let arguments = arguments.iter().map(|a| (*a).to_owned());
        exec::output(
            "debugfs",
            &arguments.chain([self.place()]).collect::<Vec<_>>(),
        )
    }

    /// As libext2fs has it: a file, and where in it.
    fn place(&self) -> String {
        match self.offset {
            0 => self.disk.display().to_string(),
            offset => format!("{}?offset={offset}", self.disk.display()),
        }
    }
}

fn unfit(why: String) -> ImageError {
    ImageError::Unfit {
        path: PathBuf::from("the disk"),
        why,
    }
}

/// A line of `ls -p`: `/inode/mode/uid/gid/name/size/`. Names that debugfs could not be told are none that
/// anything here looks for.
fn entry(line: &str) -> Option<Entry> {
    let mut fields = line.strip_prefix('/')?.split('/');
    fields.next().filter(|inode| *inode != "0")?;
    let mode = u32::from_str_radix(fields.next()?, 8).ok()?;
    let [uid, gid] = [fields.next()?, fields.next()?].map(|f| f.parse().ok());
    let name = fields.next()?;
    let is_speakable = !name.is_empty() && !name.contains(|c: char| c == '"' || c.is_control());
    (is_speakable && name != "." && name != "..").then_some(Entry {
        name: name.to_owned(),
        mode,
        uid: uid?,
        gid: gid?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folders_lines_are_read() {
        let file = entry("/12/100640/0/42/shadow/623/").unwrap();
        assert_eq!(
            (file.name.as_str(), file.mode, file.gid),
            ("shadow", 0o100_640, 42)
        );
        assert!(file.is_file() && !file.is_folder());
        assert!(entry("/11/040755/0/0/etc//").unwrap().is_folder());
        for none in [
            "/11/040755/0/0/..//",
            "/0/100644/0/0/gone/1/",
            "words",
            "/1/9/0/0/x/",
        ] {
            assert_eq!(entry(none), None, "{none}");
        }
    }
}
