//! The format of a disk image, by its first bytes: usable formats, and names of the others.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::Path;

use super::head::Head;
use super::subject::{Cure, Subject};
use super::tarball;
use super::unusable::{QCOW_1, Unusable, beside, decrypt};
use crate::confine::{Job, Task};
use crate::error::ImageError;
use crate::qcow2;
use crate::qcow2::Flaw;
use crate::shell::quote;
use crate::size::approximate;

/// Largest unpacked disk, in bytes: a few packed kilobytes can hold any number of zeros.
const LARGEST: u64 = 256 << 30;
/// A packed file may hold so many bytes, and so many times its own size.
const SMALL: u64 = 1 << 30;
const MOST_RATIO: u64 = 1024;
/// Bytes of memory that a file may ask for to be unpacked. The highest level of xz asks for 65 MiB. `zstd` refuses windows of
/// more than 2^27 bytes, too.
const MEMORY: u64 = 128 << 20;
const WINDOW: u32 = 27;

/// A format that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DiskFormat {
    Qcow2,
    /// A raw disk with a partition table.
    Raw,
    Xz,
    Zstd,
    Gzip,
}

/// Reads which format a file has.
///
/// # Errors
/// The format cannot be used; the error names it, with what makes a usable image of it.
pub(crate) fn probe(path: &Path, subject: Subject<'_>) -> Result<DiskFormat, ImageError> {
    let head = Head::of_file(path).map_err(|e| subject.instead_of(path, e))?;
    judge(path, &head).map_err(|unusable| {
        let why = format!("is not a usable disk image: it {}", unusable.what);
        subject.unusable(why, &unusable.cure)
    })
}

/// As [`probe`], for what a packed file holds.
///
/// # Errors
/// As [`probe`].
pub(crate) fn probe_packed(
    path: &Path,
    packer: DiskFormat,
    subject: Subject<'_>,
) -> Result<DiskFormat, ImageError> {
    let head = Head::of_file(path).map_err(|e| subject.instead_of(path, e))?;
    let found = match judge(path, &head) {
        Ok(inner) => match inner.packer() {
            None => return Ok(inner),
            Some((name, command)) => Unusable::packed_with(name, command),
        },
        Err(unusable) => unusable,
    };
    let (name, command) = packer.packer().unwrap_or_default();
    let found = found.packed(command, name);
    let why = format!("is not a usable disk image: it {}", found.what);
    Err(subject.unusable(why, &found.cure))
}

/// The first bytes of formats that can be used.
const USABLE: [(&[u8], DiskFormat); 4] = [
    (b"QFI\xfb", DiskFormat::Qcow2),
    (b"\xfd7zXZ\0", DiskFormat::Xz),
    (b"\x28\xb5\x2f\xfd", DiskFormat::Zstd),
    (b"\x1f\x8b", DiskFormat::Gzip),
];

impl DiskFormat {
    /// The name of the packing program, and the command that unpacks to standard output.
    const fn packer(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Xz => Some(("xz", "xz -dc")),
            Self::Zstd => Some(("zstd", "zstd -dc")),
            Self::Gzip => Some(("gzip", "gzip -dc")),
            Self::Qcow2 | Self::Raw => None,
        }
    }
}

fn judge(path: &Path, head: &Head) -> Result<DiskFormat, Unusable> {
    let mut usable = USABLE.iter();
    let usable = usable.find(|(magic, _)| head.start.starts_with(magic));
    match usable {
        Some((_, format)) if !head.start.starts_with(QCOW_1) => return Ok(*format),
        _ => {}
    }
    if let Some(unusable) = Unusable::of(head) {
        return Err(unusable);
    }
    if tarball::is_tar(head) {
        return Err(Unusable::tar(tarball::Contents::of(path)));
    }
    match head.is_bootable() {
        true => Ok(DiskFormat::Raw),
        false => Err(Unusable::without_table(head)),
    }
}

/// Unpacks a file of a packed format.
///
/// # Errors
/// The file is damaged, there is no room, or it is larger than any disk.
pub(crate) fn unpack(
    format: DiskFormat,
    from: &Path,
    to: &Path,
    subject: Subject<'_>,
) -> Result<(), ImageError> {
    let reader = BufReader::with_capacity(1 << 18, fs_err::File::open(from)?);
    let mut reader: Box<dyn Read> = match format {
        DiskFormat::Xz => {
            let stream =
                liblzma::stream::Stream::new_stream_decoder(MEMORY, liblzma::stream::CONCATENATED);
            let stream = stream.map_err(std::io::Error::other)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(reader, stream))
        }
        DiskFormat::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(reader)?;
            decoder.window_log_max(WINDOW)?;
            Box::new(decoder)
        }
        DiskFormat::Gzip => Box::new(flate2::read::MultiGzDecoder::new(reader)),
        DiskFormat::Qcow2 | DiskFormat::Raw => return Err(subject.unfit("is not packed")),
    };
    let name = format.packer().map_or("raw", |(name, _)| name);
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::StorageFull => {
            ImageError::io(format!("unpack {} into the store", subject.shown()))(source)
        }
        _ => subject.unfit(format!("cannot be unpacked as {name}: {source}")),
    };
    let file = File::options()
        .write(true)
        .create_new(true)
        .open(to)
        .map_err(failed)?;
    let packed = fs_err::metadata(from)?.len();
    let length = copy(&mut reader, &file, most_unpacked(packed)).map_err(failed)?;
    file.set_len(length).map_err(failed)?;
    Ok(())
}

/// The largest content of a packed file of so many bytes. Packed zeros take a thousandth of their size or less.
pub(crate) const fn most_unpacked(packed: u64) -> u64 {
    let most = SMALL.saturating_add(packed.saturating_mul(MOST_RATIO));
    if most < LARGEST { most } else { LARGEST }
}

/// Copies, with holes in place of zeros; returns the length.
fn copy(reader: &mut dyn Read, mut file: &File, most: u64) -> std::io::Result<u64> {
    use std::io::Seek;
    let mut buffer = vec![0; 1 << 18];
    let zeros = buffer.clone();
    let mut length = 0;
    loop {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|r| !r.is_empty()) {
            match reader.read(rest)? {
                0 => break,
                n => filled += n,
            }
        }
        let part = buffer.get(..filled).unwrap_or_default();
        if part.is_empty() {
            return Ok(length);
        }
        length += filled as u64;
        if length > most {
            return Err(std::io::Error::other(format!(
                "it is larger than {}, more than any sound disk is that takes so little packed",
                approximate(most)
            )));
        }
        if Some(part) == zeros.get(..filled) {
            file.seek_relative(i64::try_from(filled).unwrap_or(0))?;
        } else {
            file.write_all(part)?;
        }
    }
}

/// Makes `disk` a qcow2 without a backing file from an unpacked file. Moves a qcow2, and converts a raw disk.
///
/// # Errors
/// The file has a backing or data file, is encrypted or damaged, or cannot be written.
pub(crate) fn settle(
    format: DiskFormat,
    from: &Path,
    disk: &Path,
    subject: Subject<'_>,
) -> Result<(), ImageError> {
    let text = |p: &Path| p.display().to_string();
    match format {
        DiskFormat::Qcow2 => {
            judge_qcow2(from, subject)?;
            judge_content(from, subject)?;
            fs_err::rename(from, disk)?;
        }
        _ => {
            // The format is explicit, since a guest may have written a qcow2's header into a raw disk.
            let arguments = [
                "convert",
                "-f",
                "raw",
                "-O",
                "qcow2",
                &text(from),
                &text(disk),
            ];
            let job = Job {
                task: Task::Pack,
                arguments: arguments.map(str::to_owned).to_vec(),
                reads: vec![from],
                writes: vec![disk],
                about: from,
                disk: fs_err::metadata(from)?.len(),
            };
            job.run().map_err(|e| subject.instead_of(from, e))?;
        }
    }
    Ok(())
}

/// Refuses a qcow2 that has a backing file or is damaged.
///
/// # Errors
/// It has a backing or data file, unknown features, or is encrypted or damaged.
pub(crate) fn judge_qcow2(path: &Path, subject: Subject<'_>) -> Result<(), ImageError> {
    let header = match qcow2::examine_whole(path).map_err(|e| subject.instead_of(path, e))? {
        Ok(header) => header,
        Err(flaw) => return Err(refuse(subject, flaw)),
    };
    if let Some(backing) = header.backing_file {
        let why = format!(
            "is not a whole disk: its backing file is `{}`",
            backing.display().to_string().escape_debug()
        );
        return Err(subject.unusable(why, &whole("where the backing file is, ")));
    }
    // A file that was cut short has a valid header, and reads as zeros past its end.
    let arguments = ["check", "-q", "-f", "qcow2", &path.display().to_string()];
    let job = Job {
        task: Task::Check,
        arguments: arguments.map(str::to_owned).to_vec(),
        reads: vec![path],
        writes: Vec::new(),
        about: path,
        disk: header.virtual_size,
    };
    match job.run() {
        // qemu-img(1): clusters that nothing uses, which do no harm.
        Err(ImageError::Program { status, .. }) if status == "exit status: 3" => Ok(()),
        Err(ImageError::Program { stderr, .. }) => {
            let said = stderr.replace(&path.display().to_string(), &subject.shown());
            Err(subject.unusable(
                format!("is damaged or cut short: {said}"),
                &repair("copy or download it again, or "),
            ))
        }
        other => other.map_err(|e| subject.instead_of(path, e)),
    }
}

/// The error of a flaw in the header of a qcow2.
fn refuse(subject: Subject<'_>, flaw: Flaw) -> ImageError {
    let why = flaw.to_string();
    let cure: Cure = match flaw {
        Flaw::Encrypted(method) => {
            let format = if method == 1 { "aes" } else { "luks" };
            Box::new(move |file| decrypt("qcow2", &format!(",encrypt.format={format}"), file))
        }
        Flaw::Dirty | Flaw::Corrupt => repair(""),
        Flaw::DataFile(_) => whole("beside its data file, "),
        Flaw::Unknown(_) | Flaw::Version(_) => whole("with the version of QEMU that wrote it, "),
        Flaw::NotQcow2
        | Flaw::Cut
        | Flaw::BackingName(_)
        | Flaw::Clusters(_)
        | Flaw::Size(_)
        | Flaw::Layout(_) => Box::new(|_| "copy or download it again".to_owned()),
    };
    subject.unusable(why, &cure)
}

/// The command that makes a qcow2 whole, and where it does.
fn whole(place: &'static str) -> Cure {
    Box::new(move |file| {
        format!(
            "{place}`qemu-img convert -O qcow2 {} {}` makes it whole",
            quote(file),
            quote(&beside(file, "qcow2"))
        )
    })
}

fn repair(instead: &'static str) -> Cure {
    Box::new(move |file| {
        format!(
            "{instead}`qemu-img check -r all {}` repairs what can be repaired",
            quote(file)
        )
    })
}

/// Refuses a qcow2 whose disk no machine can boot from.
///
/// # Errors
/// The disk is empty, or holds something else than an installed system.
pub(crate) fn judge_content(path: &Path, subject: Subject<'_>) -> Result<(), ImageError> {
    let head = Head::of_qcow2(path).map_err(|e| subject.instead_of(path, e))?;
    let size = qcow2::inspect(path)
        .map_err(|e| subject.instead_of(path, e))?
        .virtual_size;
    let why = if head.is_blank() {
        format!(
            "is empty: its disk of {} has no partition table and nothing to boot from",
            approximate(size)
        )
    } else {
        match (Unusable::of(&head), head.is_bootable()) {
            (Some(unusable), _) => {
                let why = format!("is not a usable disk image: its disk {}", unusable.what);
                let cure: Cure = match unusable.converts {
                    true => Box::new(|_| "it was converted as if it were raw; convert the original by its own format".to_owned()),
                    false => unusable.cure,
                };
                return Err(subject.unusable(why, &cure));
            }
            (None, true) => return Ok(()),
            (None, false) => "is not a usable disk image: its disk has no partition table, so nothing can boot from it".to_owned(),
        }
    };
    Err(subject.unusable(why, &Unusable::without_table(&head).cure))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packed_form_comes_back_with_its_holes() {
        let dir = tempfile::tempdir().unwrap();
        let mut plain = vec![0_u8; 2 << 20];
        plain[510..512].copy_from_slice(&[0x55, 0xaa]);
        plain[1 << 20] = 7;
        let packed = |name: &str, bytes: Vec<u8>| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(&plain).unwrap();
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&plain).unwrap();
        let zst = zstd::encode_all(plain.as_slice(), 1).unwrap();
        for (format, path) in [
            (DiskFormat::Xz, packed("x", xz.finish().unwrap())),
            (DiskFormat::Gzip, packed("g", gz.finish().unwrap())),
            (DiskFormat::Zstd, packed("z", zst)),
        ] {
            let subject = Subject::File(&path);
            assert_eq!(probe(&path, subject).unwrap(), format);
            let to = path.with_extension("plain");
            unpack(format, &path, &to, subject).unwrap();
            assert_eq!(std::fs::read(&to).unwrap(), plain);
            let inner = probe_packed(&to, format, subject).unwrap();
            assert_eq!(inner, DiskFormat::Raw);
            let bytes = std::fs::read(&path).unwrap();
            let cut = packed("cut", bytes[..bytes.len() / 2].to_vec());
            let to = path.with_extension("cut");
            let error = unpack(format, &cut, &to, Subject::File(&cut))
                .unwrap_err()
                .to_string();
            assert!(error.contains("cannot be unpacked"), "{error}");
        }
    }
}
