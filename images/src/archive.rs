//! An image with its parents in one file: a tar archive, packed with zstd where its name ends in `.zst`.
//!
//! ```text
//! kvmc-image.json          format, the image's tag, and the images, the lowest layer first
//! <digest>/image.json      as in the store
//! <digest>/disk.qcow2 …    the files that image.json has the digests of
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::download::{Subject, judge_qcow2, most_unpacked};
use crate::error::ImageError;
use crate::image::Image;
use crate::image::{DISK, META, Meta};
use crate::layer::backing_name;
use crate::size::approximate;
use crate::store::Store;
use crate::{exec, qcow2};

const FORMAT: u32 = 1;
const CONTENTS: &str = "kvmc-image.json";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";
/// Largest `kvmc-image.json` and `image.json`, in bytes.
const LARGEST_TEXT: u64 = 1 << 20;
/// Most images in one archive: one with its longest chain of parents.
const MOST: usize = 33;

/// `kvmc-image.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Contents {
    format: u32,
    /// The image's tag where it was exported.
    tag: Option<String>,
    /// Digests, the lowest layer's first.
    images: Vec<String>,
}

/// An image from an archive.
#[derive(Debug)]
pub struct ImportedArchive {
    /// The image, not its parents.
    pub image: Image,
    /// Its tag where it was exported.
    pub tag: Option<String>,
}

impl Store {
    /// Writes an image with its parents to a new file, packed where the name ends in `.zst`.
    ///
    /// # Errors
    /// The file exists or cannot be written, or an image was changed. No part of the file stays.
    pub fn export(&self, image: &Image, to: &Path) -> Result<(), ImageError> {
        self.check_intact(&image.id)?;
        let folder = match to.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        if to.exists() {
            return Err(ImageError::Unfit {
                path: to.to_owned(),
                why: "exists; remove it, or name another file".to_owned(),
            });
        }
        let mut file = tempfile::Builder::new()
            .prefix(".kvmc-export-")
            .tempfile_in(folder)
            .map_err(ImageError::io(format!("write in {}", folder.display())))?;
        let write = |to: &mut dyn Write| self.write_archive(image, to);
        if to.extension().is_some_and(|e| e == "zst") {
            let mut packer = zstd::Encoder::new(file.as_file_mut(), 3)?;
            write(&mut packer)?;
            packer.finish()?;
        } else {
            write(file.as_file_mut())?;
        }
        file.as_file().sync_all()?;
        std::fs::set_permissions(
            file.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o644),
        )?;
        file.persist_noclobber(to)
            .map_err(|e| e.error)
            .map_err(ImageError::io(format!("make {}", to.display())))?;
        Ok(())
    }

    fn write_archive(&self, image: &Image, to: &mut dyn Write) -> Result<(), ImageError> {
        let mut chain = vec![image.clone()];
        while let Some(parent) = chain.last().and_then(|i| i.parent.clone()) {
            chain.push(self.get(&parent)?);
        }
        chain.reverse();
        let contents = Contents {
            format: FORMAT,
            tag: self.tags(&image.id).into_iter().next(),
            images: chain.iter().map(|i| i.id.clone()).collect(),
        };
        let mut archive = tar::Builder::new(Watched(to));
        let text = serde_json::to_vec_pretty(&contents).unwrap_or_default();
        append(
            &mut archive,
            CONTENTS,
            text.len() as u64,
            &mut text.as_slice(),
        )?;
        for image in &chain {
            let meta = Meta::parse(
                &image.directory.join(META),
                &fs_err::read(image.directory.join(META))?,
            )?;
            let text = serde_json::to_vec_pretty(&meta).unwrap_or_default();
            let name = |file: &str| format!("{}/{file}", image.id);
            append(
                &mut archive,
                &name(META),
                text.len() as u64,
                &mut text.as_slice(),
            )?;
            for file in Meta::files(image.boot) {
                let mut source = fs_err::File::open(image.directory.join(file))?;
                let length = source.metadata()?.len();
                append(&mut archive, &name(file), length, &mut source)?;
            }
        }
        archive.finish()?;
        Ok(())
    }

    /// Stores an image and its parents from a file that [`Self::export`] wrote, on this or another host.
    ///
    /// # Errors
    /// The archive is damaged, or `export` did not write it. Images that were read whole before the fault
    /// stay in the store.
    pub fn unpack(&self, from: &Path) -> Result<ImportedArchive, ImageError> {
        Reader { from, store: self }.read()
    }
}

fn append(
    archive: &mut tar::Builder<impl Write>,
    name: &str,
    length: u64,
    source: &mut dyn Read,
) -> Result<(), ImageError> {
    let mut header = tar::Header::new_gnu();
    header.set_size(length);
    header.set_mode(0o644);
    header.set_mtime(0);
    Ok(archive.append_data(&mut header, name, source)?)
}

/// A reader or writer that fails when the user interrupts.
struct Watched<T>(T);

impl<T: Write> Write for Watched<T> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        heed()?;
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl<T: Read> Read for Watched<T> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        heed()?;
        self.0.read(bytes)
    }
}

fn heed() -> std::io::Result<()> {
    match exec::is_told_to_stop() {
        true => Err(std::io::Error::other("interrupted")),
        false => Ok(()),
    }
}

/// Whether a file is an archive of `export`'s, by its first bytes.
///
/// # Errors
/// There is no such file.
pub fn is_archive(path: &Path) -> Result<bool, ImageError> {
    let Ok(reader) = plain(path) else {
        return Ok(false);
    };
    let mut head = Vec::new();
    let _cut = reader.take(512).read_to_end(&mut head);
    Ok(head.starts_with(CONTENTS.as_bytes()) && head.get(257..262) == Some(b"ustar".as_slice()))
}

/// The archive, unpacked as it is read.
fn plain(path: &Path) -> Result<Box<dyn Read>, ImageError> {
    let mut file = fs_err::File::open(path)?.into_parts().0;
    let mut head = Vec::new();
    Read::by_ref(&mut file).take(4).read_to_end(&mut head)?;
    let file = BufReader::with_capacity(1 << 18, File::open(path)?);
    Ok(if head == ZSTD {
        Box::new(zstd::Decoder::with_buffer(file)?)
    } else {
        Box::new(file)
    })
}

/// An archive being read. Anybody may have made it, so the reader checks all of it.
struct Reader<'a> {
    from: &'a Path,
    store: &'a Store,
}

impl Reader<'_> {
    fn unfit(&self, why: impl Into<String>) -> ImageError {
        ImageError::Unfit {
            path: self.from.to_owned(),
            why: why.into(),
        }
    }

    fn damaged(&self, why: impl std::fmt::Display) -> ImageError {
        self.unfit(format!("is damaged or cut short: {why}"))
    }

    fn read(&self) -> Result<ImportedArchive, ImageError> {
        let mut archive = tar::Archive::new(Watched(plain(self.from)?));
        let (mut total, most) = (0_u64, most_unpacked(fs_err::metadata(self.from)?.len()));
        // Raw, since the crate reads a long name into memory, however long it says to be.
        let entries = archive.entries().map_err(|e| self.damaged(e))?;
        let mut entries = entries.raw(true);
        let mut next = |wanted: &str| -> Result<(u64, Box<dyn Read + '_>), ImageError> {
            let entry = entries
                .next()
                .ok_or_else(|| self.damaged(format!("it lacks {wanted}")))?
                .map_err(|e| self.damaged(e))?;
            let is_it = entry.path_bytes().as_ref() == wanted.as_bytes();
            let is_file = entry.header().entry_type().is_file();
            if !is_it || !is_file {
                let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
                return Err(self.unfit(format!(
                    "is not an exported image: it has {}`{}` where {wanted} is expected",
                    if is_file { "" } else { "a link or folder " },
                    name.escape_debug()
                )));
            }
            total = total.saturating_add(entry.size());
            if total > most {
                return Err(self.unfit(format!(
                    "holds more than {}, more than any sound archive of its size",
                    approximate(most)
                )));
            }
            Ok((entry.size(), Box::new(entry)))
        };
        let contents: Contents =
            serde_json::from_slice(&self.text(next(CONTENTS)?.1)?).map_err(|e| self.damaged(e))?;
        if contents.format != FORMAT {
            return Err(self.unfit(format!(
                "has format {}; this kvmc reads format {FORMAT}; use the kvmc that wrote it",
                contents.format
            )));
        }
        if contents.images.len() > MOST {
            return Err(self.unfit(format!("holds more than {MOST} images")));
        }
        let mut below: Option<Image> = None;
        for id in &contents.images {
            let text = self.text(next(&format!("{id}/{META}"))?.1)?;
            let meta = Meta::parse(&PathBuf::from(id).join(META), &text)?;
            if meta.parent != below.as_ref().map(|i| i.id.clone()) {
                return Err(self.unfit(format!("names another parent for {id}")));
            }
            let (folder, _lock) = self.store.workplace()?;
            for file in Meta::files(meta.boot) {
                let (size, mut source) = next(&format!("{id}/{file}"))?;
                self.check_room(folder.path(), size)?;
                let copied = self.copy(&mut *source, &folder.path().join(file))?;
                if copied < size {
                    return Err(self.damaged(format!("it ends within {file}")));
                }
            }
            self.judge(&folder.path().join(DISK), meta.parent.as_deref())?;
            let expected = meta.digests.clone();
            let fresh = Meta {
                digests: BTreeMap::new(),
                ..meta
            };
            // A changed file gives another digest.
            let came = self.store.admit_as(folder, fresh, Some((id, &expected)));
            below = Some(came.map_err(|e| match e {
                ImageError::Changed { path, .. } => self.damaged(format!(
                    "{} of {id} is not what was exported",
                    path.file_name().unwrap_or_default().display()
                )),
                e => e,
            })?);
        }
        let image = below.ok_or_else(|| self.unfit("holds no image"))?;
        Ok(ImportedArchive {
            image,
            tag: contents.tag.filter(|t| crate::tags::valid(t).is_ok()),
        })
    }

    fn unpacking(&self) -> String {
        format!("unpack {} into the store", self.from.display())
    }

    fn text(&self, source: impl Read) -> Result<Vec<u8>, ImageError> {
        let mut text = Vec::new();
        source
            .take(LARGEST_TEXT)
            .read_to_end(&mut text)
            .map_err(|e| self.damaged(e))?;
        Ok(text)
    }

    /// Refuses a file that does not fit on the disk, before a byte of it is written. Packed, it may be a thousand times
    /// smaller.
    fn check_room(&self, folder: &Path, needed: u64) -> Result<(), ImageError> {
        let stat = nix::sys::statvfs::statvfs(folder);
        let stat = stat.map_err(|e| ImageError::io(self.unpacking())(e.into()))?;
        let free = stat.blocks_available() * stat.fragment_size();
        match needed <= free {
            true => Ok(()),
            false => Err(ImageError::Room {
                at: folder.parent().unwrap_or(folder).to_owned(),
                needed,
                free,
            }),
        }
    }

    fn copy(&self, source: &mut dyn Read, to: &Path) -> Result<u64, ImageError> {
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .open(to)
            .map_err(ImageError::io(self.unpacking()))?;
        let copied = std::io::copy(source, &mut file);
        copied.map_err(|e| match e.kind() {
            std::io::ErrorKind::StorageFull => ImageError::io(self.unpacking())(e),
            _ if exec::is_told_to_stop() => ImageError::Interrupted,
            _ => self.damaged(e),
        })
    }

    /// Checks that a disk's backing file is its parent's disk, or none: its header could name any file of the host.
    fn judge(&self, disk: &Path, parent: Option<&str>) -> Result<(), ImageError> {
        let Some(parent) = parent else {
            return judge_qcow2(disk, Subject::File(self.from));
        };
        let header = qcow2::inspect_whole(disk);
        let header = header.map_err(|e| Subject::File(self.from).instead_of(disk, e))?;
        match header.backing_file {
            Some(named) if named == backing_name(parent) => Ok(()),
            named => Err(self.unfit(format!(
                "has a disk with the backing file `{}`; expected its parent's disk",
                named
                    .unwrap_or_default()
                    .display()
                    .to_string()
                    .escape_debug()
            ))),
        }
    }
}
