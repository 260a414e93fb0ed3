//! The folder of this host that `sync` copies: what is in it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use crate::hint::{add_hint, host_command};
use crate::model::Usage;

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Folder,
    File,
    /// A symbolic link, which is copied as it is.
    Link(Vec<u8>),
}

/// A path in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    /// Permissions; of links 0.
    pub(super) mode: u32,
    /// Bytes of a file, else 0.
    pub(super) size: u64,
    /// Nanoseconds since 1970, of files.
    pub(super) modified: i64,
    /// The last change of the inode, which also tells of changes that keep the times of a file.
    changed: i64,
}

impl Entry {
    pub(super) fn of(meta: &std::fs::Metadata, kind: Kind) -> Self {
        let is_file = kind == Kind::File;
        let nanoseconds = |s: i64, ns: i64| s.saturating_mul(1_000_000_000).saturating_add(ns);
        let of_file = |value| if is_file { value } else { 0 };
        Self {
            mode: match kind {
                Kind::Link(_) => 0,
                _ => meta.mode() & 0o7777,
            },
            size: if is_file { meta.len() } else { 0 },
            modified: of_file(nanoseconds(meta.mtime(), meta.mtime_nsec())),
            changed: of_file(nanoseconds(meta.ctime(), meta.ctime_nsec())),
            kind,
        }
    }
}

/// All that is in the folder, by paths below it. A folder comes before what is in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tree {
    pub(super) entries: BTreeMap<Vec<u8>, Entry>,
    /// Sockets, pipes and devices, which are left out.
    pub(super) special: usize,
    /// Paths that cannot be read, with the reasons.
    pub(super) unread: Vec<(String, String)>,
}

impl Tree {
    /// The paths that are new or other than in `before`, and those that are gone, each before its folder.
    pub(super) fn since<'a>(&'a self, before: &'a Self) -> (Vec<&'a [u8]>, Vec<&'a [u8]>) {
        let new = self.entries.iter();
        let new = new
            .filter(|(path, entry)| before.entries.get(*path) != Some(entry))
            .map(|(path, _)| path.as_slice());
        let gone = before.entries.keys().rev();
        let gone = gone.filter(|path| !self.entries.contains_key(*path));
        (new.collect(), gone.map(Vec::as_slice).collect())
    }
}

/// The folder, held open, and what is left out of it.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    folder: File,
    excluded: Gitignore,
}

impl Source {
    /// `patterns` are lines of a `.gitignore`.
    ///
    /// # Errors
    /// Fails if there is no such folder, or at a pattern that cannot be read.
    pub(super) fn open(path: &Path, patterns: &[String]) -> Result<Self> {
        let shown = path.display();
        let folder = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => bail!("`{shown}` does not exist"),
            Err(e) => return Err(e).with_context(|| format!("`{shown}` cannot be read")),
        };
        if !folder.metadata().is_ok_and(|meta| meta.is_dir()) {
            return Err(add_hint(
                anyhow::anyhow!("`{shown}` is not a folder"),
                format!("{} copies files", host_command("cp FILE NODE:PATH")),
            ));
        }
        let mut builder = GitignoreBuilder::new("");
        for pattern in patterns {
            builder
                .add_line(None, pattern)
                .map_err(|e| Usage(format!("--exclude: `{pattern}` is no pattern: {e}")))?;
        }
        let excluded = builder.build().context("the patterns cannot be read")?;
        Ok(Self {
            path: path.to_owned(),
            folder,
            excluded,
        })
    }

    /// Whether a path is left out, by itself or with a folder above it.
    pub(super) fn leaves_out(&self, path: &[u8], is_folder: bool) -> bool {
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        // The matcher wants paths below its root.
        if path.is_absolute() {
            return true;
        }
        let matched = self.excluded.matched_path_or_any_parents(path, is_folder);
        matched.is_ignore()
    }

    /// Reads the whole folder. `enters` is called with each folder before it is read.
    ///
    /// # Errors
    /// Fails if the folder itself is gone, and with the error of `enters`.
    pub(super) fn read(&self, mut enters: impl FnMut(&Path) -> Result<()>) -> Result<Tree> {
        let now = std::fs::metadata(&self.path).ok();
        let held = self.folder.metadata().ok();
        let same = now
            .zip(held)
            .is_some_and(|(now, held)| (now.dev(), now.ino()) == (held.dev(), held.ino()));
        if !same {
            bail!("`{}` was removed or replaced", self.path.display());
        }
        let mut tree = Tree::default();
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            let here = self.path.join(&folder);
            enters(&here)?;
            let listed = match std::fs::read_dir(&here) {
                Ok(listed) => listed,
                // It was removed after its folder was read.
                Err(e) if e.kind() == io::ErrorKind::NotFound && !folder.as_os_str().is_empty() => {
                    continue;
                }
                Err(e) => {
                    tree.unread
                        .push((folder.display().to_string(), e.to_string()));
                    continue;
                }
            };
            for entry in listed {
                let entry = match entry {
                    Ok(entry) => entry,
                    Err(e) => {
                        let folder = folder.display().to_string();
                        tree.unread.push((folder, e.to_string()));
                        break;
                    }
                };
                let path = folder.join(entry.file_name());
                if self.add(&mut tree, &path) {
                    folders.push(path);
                }
            }
        }
        Ok(tree)
    }

    /// Adds a path to the tree. Returns whether it is a folder to look into.
    fn add(&self, tree: &mut Tree, path: &Path) -> bool {
        let full = self.path.join(path);
        let meta = match std::fs::symlink_metadata(&full) {
            Ok(meta) => meta,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return false,
            Err(e) => {
                tree.unread
                    .push((path.display().to_string(), e.to_string()));
                return false;
            }
        };
        let kind = meta.file_type();
        // The folders above it were asked before.
        if self.excluded.matched(path, kind.is_dir()).is_ignore() {
            return false;
        }
        let kind = if kind.is_dir() {
            Kind::Folder
        } else if kind.is_symlink() {
            match std::fs::read_link(&full) {
                Ok(target) => Kind::Link(target.into_os_string().into_vec()),
                Err(e) if e.kind() == io::ErrorKind::NotFound => return false,
                Err(e) => {
                    tree.unread
                        .push((path.display().to_string(), e.to_string()));
                    return false;
                }
            }
        } else if kind.is_socket()
            || kind.is_fifo()
            || kind.is_char_device()
            || kind.is_block_device()
        {
            tree.special += 1;
            return false;
        } else {
            Kind::File
        };
        let is_folder = kind == Kind::Folder;
        let name = path.as_os_str().as_bytes().to_vec();
        tree.entries.insert(name, Entry::of(&meta, kind));
        is_folder
    }

    /// Opens a file in the folder. No link on the way is followed.
    ///
    /// # Errors
    /// Fails if it is gone, is no file, or cannot be read.
    pub(super) fn file(&self, path: &[u8]) -> io::Result<File> {
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        let file = File::from(openat2(&self.folder, path, how)?);
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn source(dir: &Path, patterns: &[&str]) -> Source {
        let patterns: Vec<_> = patterns.iter().map(|p| (*p).to_owned()).collect();
        Source::open(dir, &patterns).unwrap()
    }

    fn paths(tree: &Tree) -> Vec<String> {
        let paths = tree.entries.keys();
        paths
            .map(|p| String::from_utf8_lossy(p).into_owned())
            .collect()
    }

    #[test]
    fn a_folder_is_read_without_links_specials_and_what_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("a/target/x")).unwrap();
        std::fs::create_dir(at("b")).unwrap();
        std::fs::write(at("a/one"), "1").unwrap();
        std::fs::write(at("a/keep.o"), "1").unwrap();
        std::fs::write(at("a/two.o"), "1").unwrap();
        std::fs::set_permissions(at("a/one"), std::fs::Permissions::from_mode(0o640)).unwrap();
        symlink("/etc", at("b/etc")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        let source = source(dir.path(), &["target/", "*.o", "!keep.o"]);
        let mut entered = 0;
        let tree = source
            .read(|_| {
                entered += 1;
                Ok(())
            })
            .unwrap();
        assert_eq!(paths(&tree), ["a", "a/keep.o", "a/one", "b", "b/etc"]);
        assert_eq!((tree.special, entered), (1, 3));
        assert_eq!(tree.entries[&b"a/one"[..]].mode, 0o640);
        assert_eq!(
            tree.entries[&b"b/etc"[..]].kind,
            Kind::Link(b"/etc".to_vec())
        );
        for (path, is_folder, expected) in [
            ("a/target", true, true),
            ("a/target/x/y", false, true),
            ("a/two.o", false, true),
            ("a/keep.o", false, false),
            ("/a", false, true),
        ] {
            let left_out = source.leaves_out(path.as_bytes(), is_folder);
            assert_eq!(left_out, expected, "{path}");
        }
        assert!(source.file(b"a/one").is_ok());
        for outside in ["b/etc/passwd", "b/etc", "../x", "/etc/passwd", "a"] {
            assert!(source.file(outside.as_bytes()).is_err(), "{outside}");
        }
    }

    #[test]
    fn trees_differ_by_what_is_new_changed_and_gone() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("gone")).unwrap();
        for name in ["gone/x", "same", "other"] {
            std::fs::write(at(name), "1").unwrap();
        }
        let source = source(dir.path(), &[]);
        let before = source.read(|_| Ok(())).unwrap();
        std::fs::remove_dir_all(at("gone")).unwrap();
        std::fs::write(at("other"), "22").unwrap();
        std::fs::write(at("new"), "").unwrap();
        let after = source.read(|_| Ok(())).unwrap();
        let (new, gone) = after.since(&before);
        assert_eq!(new, [&b"new"[..], b"other"]);
        assert_eq!(gone, [&b"gone/x"[..], b"gone"]);
        std::fs::remove_dir_all(dir.path()).unwrap();
        let error = source.read(|_| Ok(())).unwrap_err().to_string();
        assert!(error.ends_with("was removed or replaced"), "{error}");
    }

    #[test]
    fn what_is_no_folder_and_no_pattern_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let said = |path: &Path, pattern: &str| {
            let opened = Source::open(path, &[pattern.to_owned()]);
            opened.map(|_| ()).unwrap_err().to_string()
        };
        assert!(said(&file, "").contains("is not a folder"));
        assert!(said(&dir.path().join("no"), "").contains("does not exist"));
        assert!(said(dir.path(), "[z-a]").contains("`[z-a]` is no pattern"));
    }
}
