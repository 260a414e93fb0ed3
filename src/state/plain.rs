//! Reads a plain file of a user's folder without following a link or waiting for a FIFO in its place.

use std::io::{ErrorKind, Read, Result};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// Bytes; larger files are not read, for kvmc's are smaller.
const LARGEST: u64 = 4 << 20;

/// What exists at a path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Nothing,
    Plain(Vec<u8>),
    /// Something else, in words.
    Other(&'static str),
}

impl Standing {
    /// Looks at a path with lstat(2), and reads a plain file.
    ///
    /// # Errors
    /// Fails if the path cannot be looked at or read.
    pub(crate) fn look(path: &Path) -> Result<Self> {
        let kind = match std::fs::symlink_metadata(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Self::Nothing),
            there => there?.file_type(),
        };
        let other = [
            (kind.is_dir(), "a directory"),
            (kind.is_symlink(), "a link"),
            (kind.is_fifo(), "a FIFO"),
            (kind.is_socket(), "a socket"),
            (!kind.is_file(), "a device"),
        ];
        if let Some((_, what)) = other.into_iter().find(|(is, _)| *is) {
            return Ok(Self::Other(what));
        }
        let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
        let file = std::fs::File::options()
            .read(true)
            .custom_flags(flags)
            .open(path)?;
        let mut bytes = Vec::new();
        file.take(LARGEST + 1).read_to_end(&mut bytes)?;
        Ok(match bytes.len() as u64 > LARGEST {
            true => Self::Other("a large file"),
            false => Self::Plain(bytes),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_plain_file_is_named_and_never_opened() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("d")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", at("l")).unwrap();
        nix::unistd::mkfifo(&at("f"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::fs::write(at("p"), "x").unwrap();
        let look = |name: &str| Standing::look(&at(name)).unwrap();
        assert_eq!(look("n"), Standing::Nothing);
        assert_eq!(look("p"), Standing::Plain(b"x".to_vec()));
        assert_eq!(look("d"), Standing::Other("a directory"));
        assert_eq!(look("l"), Standing::Other("a link"));
        assert_eq!(look("f"), Standing::Other("a FIFO"));
    }
}
