//! A snapshot in one file, with all that it needs: a tar archive, packed with zstd where its name ends in `.zst`.
//!
//! ```text
//! kvmc-snapshot.json      format, the manifest, and the size and digest of each file
//! <name>/…                the files, in that order
//! ```

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::PAGE;
use super::manifest::Manifest;
use super::stored::Stored;

/// The format that this version writes, and the only one that it reads.
const FORMAT: u32 = 1;
const CONTENTS: &str = "kvmc-snapshot.json";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";
/// Largest `kvmc-snapshot.json`, in bytes.
const LARGEST_CONTENTS: u64 = 16 << 20;
/// Most files of an archive, more than 250 nodes with chains of 32 images have.
const MOST_FILES: usize = 10_000;
/// Longest name of a file and of each part of it, in bytes.
const LONGEST: usize = 100;
const LONGEST_PART: usize = 100;
/// Most folders that a file lies in, and one.
const MOST_PARTS: usize = 4;
/// Bytes that are read, hashed and written at once.
const CHUNK: usize = 1 << 20;

/// What an archive holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Contents {
    format: u32,
    /// The cluster that the snapshot is of.
    pub(crate) cluster: String,
    pub(crate) manifest: Manifest,
    /// For each node what must be the same in the cluster that it is imported to, as its exporter says it.
    pub(crate) identity: String,
    files: Vec<Entry>,
}

/// A file of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    name: String,
    #[serde(flatten)]
    stored: Stored,
}

/// A file to export, and its name in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

impl Contents {
    /// The names of the files.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.name.as_str())
    }

    /// Bytes that importing writes at most, with the second copy that images get in their store.
    pub(crate) fn size(&self) -> u64 {
        let size = |file: &Entry| match file.name.starts_with("images/") {
            true => file.stored.size.saturating_mul(2),
            false => file.stored.size,
        };
        let sizes = self.files.iter().map(size);
        sizes.fold(0, u64::saturating_add)
    }

    fn check(&self) -> Result<()> {
        ensure!(
            self.format == FORMAT,
            "it has format {}; this version of kvmc reads format {FORMAT}",
            self.format
        );
        ensure!(
            self.files.len() <= MOST_FILES,
            "it has more than {MOST_FILES} files"
        );
        let mut names: Vec<_> = self.names().collect();
        for name in &names {
            ensure!(
                is_safe(name),
                "it has a file with the name `{}`",
                name.escape_debug()
            );
        }
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        ensure!(names.len() == all, "it has two files of the same name");
        Ok(())
    }
}

/// Whether a file of this name lies below the folder that it is unpacked to.
fn is_safe(name: &str) -> bool {
    let parts = name.split('/');
    let is_part = |part: &str| {
        (1..=LONGEST_PART).contains(&part.len())
            && part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
    };
    name.len() <= LONGEST && parts.clone().count() <= MOST_PARTS && parts.into_iter().all(is_part)
}

/// Writes a new archive that only this user can read. `go_on` fails where the user interrupted.
///
/// # Errors
/// Fails if the file exists or cannot be written, or if a source cannot be read. No part of the file stays.
pub(crate) fn export(
    to: &Path,
    (cluster, identity): (&str, &str),
    manifest: &Manifest,
    sources: &[Source],
    go_on: &dyn Fn() -> Result<()>,
) -> Result<u64> {
    let mut files = Vec::new();
    for source in sources {
        let mut file = fs_err::File::open(&source.path)?;
        let name = source.name.clone();
        let stored = copy(&mut file, None, go_on)?;
        files.push(Entry { name, stored });
    }
    let contents = Contents {
        format: FORMAT,
        cluster: cluster.to_owned(),
        manifest: manifest.clone(),
        identity: identity.to_owned(),
        files,
    };
    contents.check()?;
    ensure!(!to.exists(), "{} exists", to.display());
    let folder = match to.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut file = tempfile::Builder::new()
        .prefix(".kvmc-export-")
        .tempfile_in(folder)
        .with_context(|| format!("cannot write in {}", folder.display()))?;
    let plain = BufWriter::with_capacity(CHUNK, file.as_file_mut());
    if to.extension().is_some_and(|ending| ending == "zst") {
        let mut packer = zstd::Encoder::new(plain, 3)?;
        fill(&mut packer, &contents, sources, go_on)?;
        packer.finish()?.flush()?;
    } else {
        let mut plain = plain;
        fill(&mut plain, &contents, sources, go_on)?;
        plain.flush()?;
    }
    file.as_file().sync_all()?;
    let size = file.as_file().metadata()?.len();
    file.persist_noclobber(to)
        .with_context(|| format!("cannot make {}", to.display()))?;
    Ok(size)
}

fn fill(
    to: &mut dyn Write,
    contents: &Contents,
    sources: &[Source],
    go_on: &dyn Fn() -> Result<()>,
) -> Result<()> {
    let mut archive = tar::Builder::new(to);
    let text = serde_json::to_vec_pretty(contents)?;
    append(
        &mut archive,
        CONTENTS,
        text.len() as u64,
        &mut text.as_slice(),
    )?;
    for (source, entry) in sources.iter().zip(&contents.files) {
        go_on()?;
        let file = fs_err::File::open(&source.path)?;
        let mut watched = Watched { file, go_on };
        append(&mut archive, &entry.name, entry.stored.size, &mut watched)?;
    }
    archive.finish()?;
    Ok(())
}

/// A reader that fails when the user interrupts.
struct Watched<'a> {
    file: fs_err::File,
    go_on: &'a dyn Fn() -> Result<()>,
}

impl Read for Watched<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        (self.go_on)().map_err(std::io::Error::other)?;
        self.file.read(bytes)
    }
}

fn append(
    archive: &mut tar::Builder<&mut dyn Write>,
    name: &str,
    length: u64,
    source: &mut dyn Read,
) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(length);
    header.set_mode(0o600);
    header.set_mtime(0);
    // A file that has become shorter meanwhile would make an archive that nobody can read.
    archive.append_data(&mut header, name, source.take(length))?;
    Ok(())
}

/// Reads what an archive holds, without its files.
///
/// # Errors
/// Fails if it is no archive of [`export`]'s.
pub(crate) fn inspect(from: &Path) -> Result<Contents> {
    let mut archive = tar::Archive::new(open(from)?);
    let named = || format!("{} is not an exported snapshot", from.display());
    let mut entries = archive.entries().with_context(named)?.raw(true);
    contents(&mut entries).with_context(named)
}

/// Unpacks an archive to an empty folder, and checks each file by its digest. Pages of zeros become holes. `go_on` fails
/// where the user interrupted.
///
/// # Errors
/// Fails if the archive is damaged, if [`export`] did not write it, or if it holds more than `most` bytes. The folder then
/// holds what was read.
pub(crate) fn import(
    from: &Path,
    folder: &Path,
    most: u64,
    go_on: &dyn Fn() -> Result<()>,
) -> Result<Contents> {
    let mut archive = tar::Archive::new(open(from)?);
    let named = || format!("{} is not an exported snapshot", from.display());
    let mut entries = archive.entries().with_context(named)?.raw(true);
    let contents = contents(&mut entries).with_context(named)?;
    ensure!(
        contents.size() <= most,
        "{} holds {} bytes; expected at most {most}",
        from.display(),
        contents.size()
    );
    for Entry { name, stored } in &contents.files {
        let damaged = || format!("{} is damaged or cut short at `{name}`", from.display());
        let mut entry = next(&mut entries, name).with_context(damaged)?;
        ensure!(
            entry.size() == stored.size,
            "{}: it has {} bytes; expected {}",
            damaged(),
            entry.size(),
            stored.size
        );
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            fs_err::create_dir_all(parent)?;
        }
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        let found = copy(&mut entry, Some(&file), go_on).with_context(damaged)?;
        ensure!(
            found == *stored,
            "{}: its digest is `{}`; expected `{}`",
            damaged(),
            found.digest,
            stored.digest
        );
        file.sync_all()
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(contents)
}

type Opened = Box<dyn Read>;

fn open(from: &Path) -> Result<Opened> {
    let file = fs_err::File::open(from)?.into_parts().0;
    let mut head = [0; 4];
    let _shorter = file.read_exact_at(&mut head, 0);
    let file = BufReader::with_capacity(CHUNK, file);
    Ok(match head.as_slice() == ZSTD {
        true => Box::new(zstd::Decoder::with_buffer(file)?),
        false => Box::new(file),
    })
}

fn contents(entries: &mut tar::Entries<'_, Opened>) -> Result<Contents> {
    let mut text = Vec::new();
    let entry = next(entries, CONTENTS)?;
    entry.take(LARGEST_CONTENTS).read_to_end(&mut text)?;
    let contents: Contents = serde_json::from_slice(&text)?;
    contents.check()?;
    Ok(contents)
}

/// The next file of an archive, which must have this name.
fn next<'a>(
    entries: &mut tar::Entries<'a, Opened>,
    wanted: &str,
) -> Result<tar::Entry<'a, Opened>> {
    let entry = entries.next();
    let entry = entry.with_context(|| format!("it lacks `{wanted}`"))??;
    let is_it = entry.path_bytes().as_ref() == wanted.as_bytes();
    if !is_it || !entry.header().entry_type().is_file() {
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        bail!(
            "it has `{}` where `{wanted}` is expected",
            name.escape_debug()
        );
    }
    Ok(entry)
}

/// Reads all bytes, and writes those that are not zeros to a file. Returns their number and digest.
fn copy(from: &mut dyn Read, to: Option<&File>, go_on: &dyn Fn() -> Result<()>) -> Result<Stored> {
    let mut hasher = blake3::Hasher::new();
    let mut size = 0_u64;
    let mut buffer = vec![0; CHUNK];
    loop {
        go_on()?;
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match from.read(rest)? {
                0 => break,
                read => filled += read,
            }
        }
        let chunk = buffer.get(..filled).unwrap_or_default();
        hasher.update(chunk);
        for (page, number) in chunk.chunks(PAGE).zip(0_u64..) {
            if let Some(to) = to.filter(|_| page.iter().any(|b| *b != 0)) {
                to.write_all_at(page, size + number * PAGE as u64)?;
            }
        }
        size += filled as u64;
        if filled < CHUNK {
            break;
        }
    }
    if let Some(to) = to {
        to.set_len(size)?;
    }
    Ok(Stored {
        size,
        digest: hasher.finalize().to_hex().to_string(),
    })
}

#[cfg(test)]
mod tests;
