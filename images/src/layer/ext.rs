//! Reads and changes an ext2, ext3 or ext4 in a raw disk by e2fsprogs. kvmc never mounts it: a guest wrote it, and a
//! crafted file system can attack the host's kernel.

use std::fmt::Write;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::free::Free;
use super::partition::file_systems;
use crate::confine::{Job, Task};
use crate::error::ImageError;

/// In ext4's `s_feature_incompat`: the journal is not replayed yet.
const NEEDS_RECOVERY: u32 = 4;
const FEATURE_INCOMPAT: u64 = 1024 + 0x60;

/// Longest line of debugfs's script, in bytes. debugfs reads 8191 bytes at a time, and would take the rest for another
/// command.
const LONGEST_LINE: usize = 8000;

/// The file system.
#[derive(Debug)]
pub(super) struct Ext {
    disk: PathBuf,
    /// Its offset in the disk, in bytes.
    offset: u64,
}

/// An entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) inode: u32,
    pub(super) name: String,
    /// stat(2)'s `st_mode`, with the file's type.
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

/// Changes, as debugfs(8)'s commands.
#[derive(Debug, Default)]
pub(super) struct Edits {
    script: String,
    /// The host's files that it copies.
    sources: Vec<PathBuf>,
}

impl Edits {
    pub(super) fn remove_file(&mut self, path: &str) {
        let _infallible = writeln!(self.script, "rm \"{path}\"");
    }

    pub(super) fn remove_folder(&mut self, path: &str) {
        let _infallible = writeln!(self.script, "rmdir \"{path}\"");
    }

    /// Copies the host's file `from` to a path that does not exist yet.
    pub(super) fn create(&mut self, path: &str, from: &Path) {
        let _infallible = writeln!(self.script, "write \"{}\" \"{path}\"", from.display());
        self.sources.push(from.to_owned());
    }

    /// Replaces a file by the host's file `from`, keeping its owner and mode.
    pub(super) fn replace(&mut self, path: &str, from: &Path, was: &Entry) {
        self.remove_file(path);
        self.create(path, from);
        for (field, value) in [
            ("mode", format!("0{:o}", was.mode)),
            ("uid", was.uid.to_string()),
            ("gid", was.gid.to_string()),
        ] {
            let _infallible = writeln!(self.script, "sif \"{path}\" {field} {value}");
        }
    }
}

impl Ext {
    /// The root file system of a raw disk.
    ///
    /// # Errors
    /// The disk has no such file system, or one that was not unmounted.
    pub(super) fn root_of(disk: &Path) -> Result<Self, ImageError> {
        let file = fs_err::File::open(disk)?.into_parts().0;
        let found = file_systems(&file).map_err(unfit)?;
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
            "none that kvmc knows".to_owned()
        } else {
            format!("it has {}", kinds.join(", "))
        };
        Err(unfit(format!(
            "has no ext2, ext3 or ext4 with /etc/passwd ({seen}); kvmc can remove an identity only from these"
        )))
    }

    fn check_unmounted(&self, file: &File) -> Result<(), ImageError> {
        let mut word = [0; 4];
        file.read_exact_at(&mut word, self.offset + FEATURE_INCOMPAT)?;
        if u32::from_le_bytes(word) & NEEDS_RECOVERY == 0 {
            return Ok(());
        }
        Err(unfit(
            "was not unmounted: its machine ended without a shutdown; start the machine, and stop it again"
                .to_owned(),
        ))
    }

    /// A folder's entries without `.` and `..`; none if there is no such folder.
    ///
    /// # Errors
    /// debugfs cannot read the file system.
    pub(super) fn list(&self, folder: &str) -> Result<Vec<Entry>, ImageError> {
        let command = format!("ls -p \"{folder}\"");
        let listed = self.job(Task::List, &["-R", &command]);
        let said = listed.output()?;
        Ok(said.lines().filter_map(entry).collect())
    }

    /// The entry at a path.
    ///
    /// # Errors
    /// debugfs cannot read the file system.
    pub(super) fn look(&self, path: &str) -> Result<Option<Entry>, ImageError> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let folder = if folder.is_empty() { "/" } else { folder };
        let entries = self.list(folder)?;
        Ok(entries.into_iter().find(|e| e.name == name))
    }

    /// Copies a file to the host, and reads it.
    ///
    /// # Errors
    /// debugfs cannot read the file, or kvmc cannot write its copy.
    pub(super) fn read(&self, path: &str, to: &Path) -> Result<Vec<u8>, ImageError> {
        let command = format!("dump \"{path}\" \"{}\"", to.display());
        let mut job = self.job(Task::Extract, &["-R", &command]);
        job.writes.push(to);
        job.run()?;
        Ok(fs_err::read(to)?)
    }

    /// Makes the changes. Their script lies in `folder`.
    ///
    /// # Errors
    /// debugfs failed, or the file system is damaged afterwards.
    pub(super) fn apply(&self, edits: &Edits, folder: &Path) -> Result<(), ImageError> {
        if let Some(long) = edits.script.lines().find(|l| l.len() > LONGEST_LINE) {
            let word = long.split(' ').next().unwrap_or_default();
            return Err(unfit(format!(
                "would need an edit (`{word}`) of {} bytes",
                long.len()
            )));
        }
        let script = folder.join("edits");
        fs_err::write(&script, &edits.script)?;
        let mut job = self.job(Task::Edit, &["-w", "-f", &script.display().to_string()]);
        job.reads.push(&script);
        job.reads.extend(edits.sources.iter().map(PathBuf::as_path));
        job.writes.push(&self.disk);
        job.run()?;
        fs_err::remove_file(&script)?;
        // debugfs does not keep the counts of links and free blocks.
        let mut job = self.job(Task::Repair, &["-f", "-p"]);
        job.writes.push(&self.disk);
        job.run().or_else(|e| match e {
            ImageError::Program { status, .. } if status == "exit status: 1" => Ok(()),
            ImageError::Program { status, .. } => Err(unfit(format!(
                "has a damaged file system, which e2fsck does not repair by itself ({status}); repair it in the machine"
            ))),
            e => Err(e),
        })
    }

    /// Its free blocks.
    ///
    /// # Errors
    /// dumpe2fs failed, or printed something else.
    pub(super) fn free(&self) -> Result<Free, ImageError> {
        let said = self.dumpe2fs()?;
        Free::parse(&said, self.offset).ok_or_else(|| {
            unfit("has free blocks that dumpe2fs lists in an unknown form".to_owned())
        })
    }

    /// dumpe2fs's output. dumpe2fs of e2fsprogs 1.47.2 takes a name with `=` for a tag as in `UUID=…`, so it cannot take an
    /// offset. For a partition it therefore reads a copy of the metadata.
    fn dumpe2fs(&self) -> Result<String, ImageError> {
        if self.offset == 0 {
            return self.job(Task::Free, &[]).output();
        }
        let copy = self.disk.with_extension("metadata");
        let [from, to] = [&self.disk, &copy].map(|path| path.display().to_string());
        let offset = self.offset.to_string();
        let mut job = self.job(Task::Metadata, &[]);
        job.arguments = ["-r", "-o", &offset, &from, &to]
            .map(str::to_owned)
            .to_vec();
        job.writes.push(&copy);
        job.run()?;
        let mut job = self.job(Task::Free, &[]);
        job.arguments = vec![to];
        job.reads.push(&copy);
        let said = job.output();
        fs_err::remove_file(&copy)?;
        said
    }

    /// A program that reads the disk; its place is the last argument.
    fn job(&self, task: Task, arguments: &[&str]) -> Job<'_> {
        let arguments = arguments.iter().map(|a| (*a).to_owned());
        Job {
            task,
            arguments: arguments.chain([self.place()]).collect(),
            reads: vec![&self.disk],
            writes: Vec::new(),
            about: Path::new("the disk"),
            disk: std::fs::metadata(&self.disk).map_or(0, |meta| meta.len()),
        }
    }

    /// The file and its offset in libext2fs's notation.
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

/// A line of `ls -p`: `/inode/mode/uid/gid/name/size/`. Names that debugfs's quotes cannot hold are left out.
fn entry(line: &str) -> Option<Entry> {
    let mut fields = line.strip_prefix('/')?.split('/');
    let inode = fields.next()?.parse().ok().filter(|inode| *inode != 0)?;
    let mode = u32::from_str_radix(fields.next()?, 8).ok()?;
    let [uid, gid] = [fields.next()?, fields.next()?].map(|f| f.parse().ok());
    let name = fields.next()?;
    let is_quotable = !name.is_empty() && !name.contains(|c: char| c == '"' || c.is_control());
    (is_quotable && name != "." && name != "..").then_some(Entry {
        inode,
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
