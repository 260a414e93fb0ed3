//! The files of a shared folder. No path leads out of the folder, and no link is followed: the guest follows links itself.
//! What a guest writes can become neither a program of another user's rights nor a device.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{
    AtFlags, OFlag, OpenHow, RenameFlags, ResolveFlag, openat2, readlinkat, renameat, renameat2,
};
use nix::sys::stat::{
    FileStat, Mode, UtimensatFlags, fchmod, fstat, fstatat, futimens, mkdirat, utimensat,
};
use nix::sys::statvfs::{Statvfs, fstatvfs};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat};

use super::wire::{Code, Wanted};

/// Most entries of a folder that are read at once.
pub(super) const MOST: usize = 1 << 20;

/// A shared folder.
#[derive(Debug)]
pub(super) struct Files {
    folder: File,
    read_only: bool,
}

/// Where something is: its folder, and its name there, which is `.` for the shared folder itself.
struct At {
    folder: OwnedFd,
    name: Vec<u8>,
}

impl At {
    fn name(&self) -> &OsStr {
        OsStr::from_bytes(&self.name)
    }
}

impl From<Errno> for Code {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV => Self::NoSuchFile,
            Errno::EACCES | Errno::EPERM | Errno::EROFS => Self::PermissionDenied,
            _ => Self::Failure,
        }
    }
}

fn how(flags: OFlag) -> OpenHow {
    OpenHow::new()
        .flags(flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        // What is mounted below, such as a chroot's /proc, is not shared.
        .resolve(
            ResolveFlag::RESOLVE_BENEATH
                | ResolveFlag::RESOLVE_NO_SYMLINKS
                | ResolveFlag::RESOLVE_NO_XDEV,
        )
}

/// Permissions without those that lend the owner's rights.
fn permissions(mode: u32) -> Mode {
    Mode::from_bits_truncate(mode & 0o777)
}

impl Files {
    /// # Errors
    /// Fails if the folder cannot be opened.
    pub(super) fn open(path: &Path, read_only: bool) -> std::io::Result<Self> {
        // The path was canonical when it was shared. A link in it may be another guest's.
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
        let folder = File::from(openat2(nix::fcntl::AT_FDCWD, path, how)?);
        match folder.metadata()?.is_dir() {
            true => Ok(Self { folder, read_only }),
            false => Err(std::io::ErrorKind::NotADirectory.into()),
        }
    }

    fn may_write(&self) -> Result<(), Code> {
        match self.read_only {
            true => Err(Code::PermissionDenied),
            false => Ok(()),
        }
    }

    fn at(&self, path: &[u8]) -> Result<At, Code> {
        let parts: Vec<_> = path
            .split(|b| *b == b'/')
            .filter(|part| !part.is_empty() && *part != b".")
            .collect();
        if parts.iter().any(|part| *part == b"..") {
            return Err(Code::NoSuchFile);
        }
        let (name, above) = match parts.split_last() {
            Some((name, above)) => (name.to_vec(), above.join(&b'/')),
            None => (b".".to_vec(), Vec::new()),
        };
        let above = match above.is_empty() {
            true => b".".to_vec(),
            false => above,
        };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let folder = openat2(&self.folder, above.as_slice(), how(flags))?;
        Ok(At { folder, name })
    }

    /// The same, for something that can be made, renamed or removed.
    fn below(&self, path: &[u8]) -> Result<At, Code> {
        self.may_write()?;
        let at = self.at(path)?;
        match at.name == b"." {
            true => Err(Code::PermissionDenied),
            false => Ok(at),
        }
    }

    pub(super) fn look(&self, path: &[u8]) -> Result<FileStat, Code> {
        let at = self.at(path)?;
        Ok(fstatat(
            &at.folder,
            at.name(),
            AtFlags::AT_SYMLINK_NOFOLLOW,
        )?)
    }

    /// Opens a file, by the flags of SFTP. Returns whether writes go to its end.
    pub(super) fn file(&self, path: &[u8], wanted: u32, mode: Option<u32>) -> Result<File, Code> {
        let has = |flag: u32| wanted & flag != 0;
        let mut flags = match (has(1), has(2)) {
            (true, true) => OFlag::O_RDWR,
            (_, true) => OFlag::O_WRONLY,
            _ => OFlag::O_RDONLY,
        };
        for (flag, of_open) in [
            (4, OFlag::O_APPEND),
            (8, OFlag::O_CREAT),
            (16, OFlag::O_TRUNC),
            (32, OFlag::O_EXCL),
        ] {
            flags.set(of_open, has(flag));
        }
        if has(2) || has(8) || has(16) {
            self.may_write()?;
        }
        let at = self.at(path)?;
        // A pipe or a device must not be opened, since that alone may do something.
        let there = fstatat(&at.folder, at.name(), AtFlags::AT_SYMLINK_NOFOLLOW);
        if there.is_ok_and(|stat| kind(&stat) != nix::libc::S_IFREG) {
            return Err(Code::Failure);
        }
        let mut how = how(flags | OFlag::O_NONBLOCK);
        if has(8) {
            how = how.mode(permissions(mode.unwrap_or(0o666)));
        }
        let file = File::from(openat2(&at.folder, at.name(), how)?);
        match fstat(&file).is_ok_and(|stat| kind(&stat) == nix::libc::S_IFREG) {
            true => Ok(file),
            false => Err(Code::Failure),
        }
    }

    /// The entries of a folder with their attributes.
    ///
    /// # Errors
    /// Fails if it has more than `most`.
    pub(super) fn entries(
        &self,
        path: &[u8],
        most: usize,
    ) -> Result<Vec<(Vec<u8>, FileStat)>, Code> {
        let at = self.at(path)?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let folder = openat2(&at.folder, at.name(), how(flags))?;
        let mut dir = nix::dir::Dir::from_fd(folder.try_clone().map_err(|_| Code::Failure)?)?;
        let mut entries = Vec::new();
        for entry in dir.iter() {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_bytes() == b".." {
                // The parent is not shared.
                continue;
            }
            if entries.len() >= most {
                return Err(Code::Failure);
            }
            // It may be removed meanwhile.
            if let Ok(stat) = fstatat(&folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
                entries.push((name.to_bytes().to_vec(), stat));
            }
        }
        Ok(entries)
    }

    pub(super) fn change(&self, path: &[u8], wanted: &Wanted) -> Result<(), Code> {
        self.may_write()?;
        let at = self.at(path)?;
        let stat = fstatat(&at.folder, at.name(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        if kind(&stat) == nix::libc::S_IFLNK {
            if let Some((accessed, modified)) = wanted.times {
                let (accessed, modified) = (seconds(accessed), seconds(modified));
                let flag = UtimensatFlags::NoFollowSymlink;
                utimensat(&at.folder, at.name(), &accessed, &modified, flag)?;
            }
            return Ok(());
        }
        if !matches!(kind(&stat), nix::libc::S_IFREG | nix::libc::S_IFDIR) {
            return Err(Code::Failure);
        }
        let flags = match wanted.size {
            Some(_) => OFlag::O_WRONLY,
            None => OFlag::O_RDONLY,
        };
        let opened = openat2(&at.folder, at.name(), how(flags | OFlag::O_NONBLOCK));
        // A file that its owner may not read.
        let opened = match (opened, wanted.size) {
            (Err(Errno::EACCES), None) => openat2(
                &at.folder,
                at.name(),
                how(OFlag::O_WRONLY | OFlag::O_NONBLOCK),
            ),
            (opened, _) => opened,
        };
        self.change_opened(&File::from(opened?), wanted)
    }

    pub(super) fn change_opened(&self, file: &File, wanted: &Wanted) -> Result<(), Code> {
        self.may_write()?;
        if let Some(size) = wanted.size {
            file.set_len(size).map_err(|e| code(&e))?;
        }
        if let Some(mode) = wanted.mode {
            fchmod(file, permissions(mode))?;
        }
        if let Some((accessed, modified)) = wanted.times {
            futimens(file, &seconds(accessed), &seconds(modified))?;
        }
        match wanted.owner {
            // Everything belongs to the user who shares it.
            Some(owner) => {
                let stat = fstat(file)?;
                match owner == (stat.st_uid, stat.st_gid) {
                    true => Ok(()),
                    false => Err(Code::PermissionDenied),
                }
            }
            None => Ok(()),
        }
    }

    pub(super) fn remove(&self, path: &[u8], is_folder: bool) -> Result<(), Code> {
        let at = self.below(path)?;
        let flag = match is_folder {
            true => UnlinkatFlags::RemoveDir,
            false => UnlinkatFlags::NoRemoveDir,
        };
        Ok(unlinkat(&at.folder, at.name(), flag)?)
    }

    pub(super) fn make_folder(&self, path: &[u8], mode: Option<u32>) -> Result<(), Code> {
        let at = self.below(path)?;
        Ok(mkdirat(
            &at.folder,
            at.name(),
            permissions(mode.unwrap_or(0o777)),
        )?)
    }

    pub(super) fn rename(&self, from: &[u8], to: &[u8], replaces: bool) -> Result<(), Code> {
        let (from, to) = (self.below(from)?, self.below(to)?);
        let (a, b) = (from.name(), to.name());
        match replaces {
            true => renameat(&from.folder, a, &to.folder, b)?,
            false => renameat2(
                &from.folder,
                a,
                &to.folder,
                b,
                RenameFlags::RENAME_NOREPLACE,
            )?,
        }
        Ok(())
    }

    pub(super) fn hard_link(&self, from: &[u8], to: &[u8]) -> Result<(), Code> {
        let (from, to) = (self.below(from)?, self.below(to)?);
        let flags = AtFlags::empty();
        Ok(linkat(
            &from.folder,
            from.name(),
            &to.folder,
            to.name(),
            flags,
        )?)
    }

    pub(super) fn link(&self, target: &[u8], path: &[u8]) -> Result<(), Code> {
        let at = self.below(path)?;
        Ok(symlinkat(target, &at.folder, at.name())?)
    }

    pub(super) fn target(&self, path: &[u8]) -> Result<Vec<u8>, Code> {
        let at = self.at(path)?;
        Ok(readlinkat(&at.folder, at.name())?.as_bytes().to_vec())
    }

    pub(super) fn room(&self) -> Result<Statvfs, Code> {
        Ok(fstatvfs(&self.folder)?)
    }
}

pub(super) const fn kind(stat: &FileStat) -> u32 {
    stat.st_mode & nix::libc::S_IFMT
}

fn seconds(seconds: u32) -> TimeSpec {
    TimeSpec::new(seconds.into(), 0)
}

pub(super) fn code(error: &std::io::Error) -> Code {
    Errno::from_raw(error.raw_os_error().unwrap_or_default()).into()
}
