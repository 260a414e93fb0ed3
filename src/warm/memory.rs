//! Guest memory in a sealed memfd, and in a file between uses.
//!
//! QEMU cannot map the file itself, because QEMU before 8.2 opens a memory backend for writing even if the mapping is
//! private. An unprivileged QEMU would need write access to memory that all nodes share. A sealed memfd cannot be
//! changed even if it is open for writing, not even by a compromised QEMU.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, anyhow};
use memchr::memmem::Finder;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::{Whence, lseek64};

/// Bytes that are read, hashed and written at once.
const CHUNK: u64 = 2 << 20;
const PAGE: usize = 4096;

/// The memory of a guest.
#[derive(Debug)]
pub(crate) struct Memory {
    fd: File,
    size: u64,
}

impl Memory {
    /// The memfd's name, which its mappings have.
    pub(crate) const NAME: &str = "kvmc-ram";

    /// Makes zeroed memory of `size` bytes, which can be written until it is sealed.
    ///
    /// # Errors
    /// Fails if the memfd cannot be made.
    pub(crate) fn new(size: u64) -> Result<Self> {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let fd = memfd_create(Self::NAME, flags).context("cannot make a memfd")?;
        let fd = File::from(fd);
        fd.set_len(size).context("cannot resize a memfd")?;
        Ok(Self { fd, size })
    }

    /// Makes the memory unchangeable, fcntl(2) `F_ADD_SEALS`.
    ///
    /// # Errors
    /// Fails if a writable mapping of it exists.
    pub(crate) fn seal(&self) -> Result<()> {
        let seals = SealFlag::F_SEAL_WRITE
            | SealFlag::F_SEAL_SHRINK
            | SealFlag::F_SEAL_GROW
            | SealFlag::F_SEAL_SEAL;
        fcntl(self.fd.as_fd(), FcntlArg::F_ADD_SEALS(seals)).context("cannot seal a memfd")?;
        Ok(())
    }

    /// Another descriptor of the same memory.
    ///
    /// # Errors
    /// Fails if no descriptor is free.
    pub(crate) fn share(&self) -> Result<File> {
        self.fd.try_clone().context("cannot duplicate a memfd")
    }

    /// Offsets of all places that hold these bytes.
    ///
    /// # Errors
    /// Fails if the memory cannot be read.
    pub(super) fn find(&self, bytes: &[u8]) -> Result<Vec<u64>> {
        let finder = Finder::new(bytes);
        let mut found = Vec::new();
        let mut buffer = vec![0; usize::try_from(CHUNK)? + bytes.len()];
        for offset in with_data(&self.fd, self.size)? {
            // An occurrence may begin in this chunk and end in the next.
            let length = (CHUNK + u64::try_from(bytes.len() - 1)?).min(self.size - offset);
            let chunk = buffer
                .get_mut(..usize::try_from(length)?)
                .unwrap_or_default();
            self.fd.read_exact_at(chunk, offset)?;
            for at in finder.find_iter(chunk) {
                found.push(offset + u64::try_from(at)?);
            }
        }
        Ok(found)
    }

    /// Copies the memory to a new file with holes, and returns the digest.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub(crate) fn save(&self, path: &Path) -> Result<String> {
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        let digest = copy(&self.fd, &file, self.size)
            .with_context(|| format!("cannot write {}", path.display()))?;
        file.sync_all()
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(digest)
    }

    /// Loads a file into sealed memory, and returns the digest of what was read.
    ///
    /// # Errors
    /// Fails if the file cannot be read.
    pub(crate) fn load(path: &Path, size: u64) -> Result<(Self, String)> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let memory = Self::new(size)?;
        let digest = copy(&file, &memory.fd, size)
            .with_context(|| format!("cannot read {}", path.display()))?;
        memory.seal()?;
        Ok((memory, digest))
    }
}

/// Bytes that a file takes on its disk.
pub(crate) fn allocated(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).map_or(0, |m| m.blocks() * 512)
}

/// Bytes that the files of a folder take.
pub(super) fn size(dir: &Path) -> u64 {
    std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| allocated(&e.path()))
        .sum()
}

/// Copies the parts that are not zero, on all cores, and returns the digest of the whole.
fn copy(from: &File, to: &File, size: u64) -> Result<String> {
    anyhow::ensure!(
        from.metadata()?.len() == size,
        "the size is not {size} bytes"
    );
    to.set_len(size)?;
    let chunks = with_data(from, size)?;
    let next = AtomicU64::new(0);
    let work = || -> Result<Vec<(u64, blake3::Hash)>> {
        let mut buffer = vec![0; usize::try_from(CHUNK)?];
        let mut hashes = Vec::new();
        loop {
            let turn = usize::try_from(next.fetch_add(1, Ordering::Relaxed))?;
            let Some(offset) = chunks.get(turn).copied() else {
                return Ok(hashes);
            };
            let length = usize::try_from(CHUNK.min(size - offset))?;
            let chunk = buffer.get_mut(..length).unwrap_or_default();
            from.read_exact_at(chunk, offset)?;
            let mut is_zero = true;
            for run in runs(chunk) {
                is_zero = false;
                let at = u64::try_from(run.start)?;
                to.write_all_at(chunk.get(run).unwrap_or_default(), offset + at)?;
            }
            // File systems report holes differently, so zeros never count.
            if !is_zero {
                hashes.push((offset, blake3::hash(chunk)));
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut all = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut all = Vec::new();
        for worker in workers {
            all.extend(
                worker
                    .join()
                    .map_err(|_| anyhow!("a copying thread panicked"))??,
            );
        }
        anyhow::Ok(all)
    })?;
    all.sort_unstable_by_key(|(offset, _)| *offset);
    let mut whole = blake3::Hasher::new();
    whole.update(&size.to_le_bytes());
    for (offset, hash) in all {
        whole.update(&offset.to_le_bytes());
        whole.update(hash.as_bytes());
    }
    Ok(whole.finalize().to_hex().to_string())
}

/// Offsets of the chunks that are not a hole, lseek(2) `SEEK_DATA`.
fn with_data(file: &File, size: u64) -> Result<Vec<u64>> {
    let mut chunks = Vec::new();
    let mut at = 0;
    while at < size {
        let data = match lseek64(file, i64::try_from(at)?, Whence::SeekData) {
            Ok(data) => u64::try_from(data)?,
            Err(nix::errno::Errno::ENXIO) => break,
            Err(e) => return Err(e.into()),
        };
        let chunk = data / CHUNK * CHUNK;
        chunks.push(chunk);
        at = chunk + CHUNK;
    }
    Ok(chunks)
}

/// Ranges of pages that are not zero.
fn runs(chunk: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
    for (n, page) in chunk.chunks(PAGE).enumerate() {
        // With words of 16 bytes, the compiler's code is as fast as the memory.
        if page.chunks(16).all(|w| w.iter().fold(0, |a, b| a | b) == 0) {
            continue;
        }
        let start = n * PAGE;
        let end = start + page.len();
        match runs.last_mut() {
            Some(run) if run.end == start => run.end = end,
            _ => runs.push(start..end),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_loaded_unchanged_and_a_flipped_byte_is_noticed() {
        let size = 3 * CHUNK + 8192;
        let memory = Memory::new(size).unwrap();
        memory.fd.write_all_at(b"first", 5000).unwrap();
        memory.fd.write_all_at(b"last", size - 4).unwrap();
        memory.seal().unwrap();
        memory.fd.write_all_at(b"x", 0).unwrap_err();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ram");
        let saved = memory.save(&path).unwrap();
        assert!(allocated(&path) <= 64 << 10, "holes stay holes");
        let (again, loaded) = Memory::load(&path, size).unwrap();
        assert_eq!(saved, loaded);
        let mut word = [0; 5];
        again.fd.read_exact_at(&mut word, 5000).unwrap();
        assert_eq!(&word, b"first");
        again.fd.write_all_at(b"x", 0).unwrap_err();
        // Flip a byte in data and one in a hole.
        for at in [5001, CHUNK + 9] {
            let file = File::options().write(true).read(true).open(&path).unwrap();
            let mut was = [0];
            file.read_exact_at(&mut was, at).unwrap();
            file.write_all_at(&[was[0] ^ 1], at).unwrap();
            assert_ne!(Memory::load(&path, size).unwrap().1, saved);
            file.write_all_at(&was, at).unwrap();
            // Written zeros are not a change.
            assert_eq!(Memory::load(&path, size).unwrap().1, saved);
        }
        Memory::load(&path, size + 4096).unwrap_err();
    }
}
