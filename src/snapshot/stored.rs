//! Streams on disk, with their digests.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;
use serde::{Deserialize, Serialize};

/// Bytes that are read, hashed and written at once.
const CHUNK: usize = 1 << 20;

/// What a file that is packed begins with, RFC 8878.
const ZSTD: &[u8; 4] = b"\x28\xb5\x2f\xfd";
/// Higher levels take twice the time for a tenth less.
const LEVEL: i32 = 1;
/// Bytes in a pipe, the most that a user may have.
const PIPE: i32 = 1 << 20;

/// Packs what is written to it.
pub(crate) type Packer<'a> = zstd::Encoder<'static, &'a mut Sink>;

/// A file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stored {
    /// In bytes.
    pub(crate) size: u64,
    /// BLAKE3, in hexadecimal digits.
    pub(crate) digest: String,
}

/// Takes what is written to a new file, and its digest.
#[derive(Debug)]
pub(crate) struct Sink {
    file: BufWriter<Digesting>,
}

#[derive(Debug)]
struct Digesting {
    file: File,
    hasher: blake3::Hasher,
    size: u64,
}

impl Write for Digesting {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// Writes a new file that only this user can read, and syncs it to disk. A file that cannot be written completely is
/// removed.
///
/// # Errors
/// Fails if the file exists or cannot be written, or if `content` fails.
pub(crate) fn write(path: &Path, content: impl FnOnce(&mut Sink) -> Result<()>) -> Result<Stored> {
    let file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot make {}", path.display()))?;
    let digesting = Digesting {
        file,
        hasher: blake3::Hasher::new(),
        size: 0,
    };
    let mut sink = Sink {
        file: BufWriter::with_capacity(CHUNK, digesting),
    };
    let written = content(&mut sink).and_then(|()| {
        sink.flush()?;
        let done = sink.file.get_ref();
        done.file.sync_all()?;
        Ok(Stored {
            size: done.size,
            digest: done.hasher.finalize().to_hex().to_string(),
        })
    });
    written
        .inspect_err(|_| {
            let _is_incomplete = std::fs::remove_file(path);
        })
        .with_context(|| format!("cannot write {}", path.display()))
}

/// As [`write`], but packed with zstd, of which [`feed`] knows.
///
/// # Errors
/// As [`write`].
pub(crate) fn pack(
    path: &Path,
    content: impl FnOnce(&mut Packer<'_>) -> Result<()>,
) -> Result<Stored> {
    write(path, |sink| {
        let mut packer = zstd::Encoder::new(sink, LEVEL)?;
        content(&mut packer)?;
        packer.finish()?;
        Ok(())
    })
}

/// Opens a stream for a QEMU to read. What is packed comes unpacked through a pipe, at most `most` bytes of it, so that it
/// takes no memory. This process must live until QEMU has read all. Where the file is damaged, QEMU finds the end too early.
///
/// # Errors
/// Fails if the file cannot be opened, or if no descriptor is free.
pub(crate) fn feed(path: &Path, most: u64) -> Result<File> {
    let file = fs_err::File::open(path)?.into_parts().0;
    let mut head = [0; ZSTD.len()];
    let is_packed = file.read_exact_at(&mut head, 0).is_ok() && head == *ZSTD;
    if !is_packed {
        return Ok(file);
    }
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).context("cannot make a pipe")?;
    // A user's pipes may have reached their limit, and then it stays small.
    let _larger = fcntl(writer.as_fd(), FcntlArg::F_SETPIPE_SZ(PIPE));
    let mut unpacked = zstd::Decoder::new(file)?.take(most);
    std::thread::Builder::new()
        .name("unpack".to_owned())
        .spawn(move || {
            let mut to = BufWriter::with_capacity(CHUNK, File::from(writer));
            let _reader_sees_the_end = std::io::copy(&mut unpacked, &mut to);
        })
        .context("cannot start a thread")?;
    Ok(File::from(reader))
}

/// Opens a file whose content has this digest, to be read from its beginning.
///
/// # Errors
/// Fails with both digests if the file has changed, or if it cannot be read.
pub(crate) fn verify(path: &Path, digest: &str) -> Result<File> {
    let mut file = fs_err::File::open(path)?.into_parts().0;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = file
            .read(&mut buffer)
            .with_context(|| format!("cannot read {}", path.display()))?;
        if read == 0 {
            break;
        }
        hasher.update(buffer.get(..read).unwrap_or_default());
    }
    let found = hasher.finalize().to_hex();
    ensure!(
        found.as_str() == digest,
        "{} has changed: its digest is `{found}`; expected `{digest}`",
        path.display()
    );
    file.rewind()
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_private_and_a_changed_byte_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.stream");
        let content = vec![5; 3 * CHUNK + 7];
        let stored = write(&path, |out| Ok(out.write_all(&content)?)).unwrap();
        assert_eq!(stored.size, u64::try_from(content.len()).unwrap());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        let mut read = Vec::new();
        let mut file = verify(&path, &stored.digest).unwrap();
        file.read_to_end(&mut read).unwrap();
        assert!(read == content);
        // A file that exists is somebody's, and stays.
        write(&path, |_| Ok(())).unwrap_err();
        assert!(path.exists());
        let mut changed = content;
        changed[CHUNK] ^= 1;
        std::fs::write(&path, &changed).unwrap();
        let error = verify(&path, &stored.digest).unwrap_err().to_string();
        assert!(error.contains("has changed"), "{error}");
        assert!(error.contains(&stored.digest), "{error}");
    }

    #[test]
    fn a_file_that_cannot_be_completed_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.stream");
        let error = write(&path, |out| {
            out.write_all(b"half")?;
            anyhow::bail!("the memory cannot be read")
        });
        let error = format!("{:#}", error.unwrap_err());
        assert!(error.ends_with("the memory cannot be read"), "{error}");
        assert!(!path.exists());
    }

    #[test]
    fn what_is_packed_is_fed_unpacked_and_a_reader_may_leave() {
        let dir = tempfile::tempdir().unwrap();
        let [packed, plain] = ["packed", "plain"].map(|name| dir.path().join(name));
        let content: Vec<u8> = (0..5_000_000_u32)
            .flat_map(|n| (n / 9).to_le_bytes())
            .collect();
        let stored = pack(&packed, |out| Ok(out.write_all(&content)?)).unwrap();
        assert!(stored.size < 10_000_000, "{stored:?}");
        verify(&packed, &stored.digest).unwrap();
        write(&plain, |out| Ok(out.write_all(&content)?)).unwrap();
        let fed = |path: &Path, most| {
            let mut read = Vec::new();
            feed(path, most).unwrap().read_to_end(&mut read).unwrap();
            read
        };
        assert!(fed(&packed, 1 << 30) == content);
        assert!(fed(&plain, 1 << 30) == content);
        assert!(fed(&packed, 1000) == content[..1000]);
        // The thread ends with the pipe.
        let mut byte = [0; 1];
        feed(&packed, 1 << 30)
            .unwrap()
            .read_exact(&mut byte)
            .unwrap();
        let mut damaged = std::fs::read(&packed).unwrap();
        damaged.truncate(damaged.len() / 2);
        std::fs::write(&packed, &damaged).unwrap();
        let read = fed(&packed, 1 << 30);
        assert!(read.len() < content.len() && content.starts_with(&read));
    }
}
