//! The format of a disk image, by its first bytes: usable formats, and names of the others.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::error::ImageError;
use crate::{exec, qcow2};

/// Largest unpacked disk, in bytes: a few packed kilobytes can hold any number of zeros.
const LARGEST: u64 = 256 << 30;
const SECTOR: usize = 512;
/// Where an ISO 9660 volume descriptor begins.
const ISO_9660: u64 = 0x8000;

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
/// The format cannot be used; the error names it.
pub(crate) fn probe(path: &Path) -> Result<DiskFormat, ImageError> {
    let file = fs_err::File::open(path)?;
    let mut head = Vec::new();
    file.file().take(4096).read_to_end(&mut head)?;
    let mut iso = [0; 6];
    let is_iso = file.file().read_exact_at(&mut iso, ISO_9660).is_ok() && &iso[1..] == b"CD001";
    judge(&head, is_iso).map_err(|why| ImageError::Unfit {
        path: path.to_owned(),
        why,
    })
}

/// The first bytes of formats that can be used.
const USABLE: [(&[u8], DiskFormat); 4] = [
    (b"QFI\xfb", DiskFormat::Qcow2),
    (b"\xfd7zXZ\0", DiskFormat::Xz),
    (b"\x28\xb5\x2f\xfd", DiskFormat::Zstd),
    (b"\x1f\x8b", DiskFormat::Gzip),
];
const CONVERT: &str = "; `qemu-img convert -O qcow2` converts it";
/// The first bytes of unusable formats, their names, and hints.
const UNUSABLE: [(&[u8], &str, &str); 9] = [
    (b"KDMV", "a VMDK", CONVERT),
    (b"# Disk DescriptorFile", "a VMDK", CONVERT),
    (b"conectix", "a VHD", CONVERT),
    (b"vhdxfile", "a VHDX", CONVERT),
    (b"<<< ", "a VDI", CONVERT),
    (b"QED\0", "a QED", CONVERT),
    (b"BZh", "packed with bzip2", "; unpack it first"),
    (b"PK\x03\x04", "a zip archive", "; unpack it first"),
    (b"LUKS", "encrypted", ""),
];
/// How web pages begin, in lower case.
const PAGES: [&str; 3] = ["<!doctype", "<html", "<?xml"];

fn judge(head: &[u8], is_iso: bool) -> Result<DiskFormat, String> {
    let unusable = |what: &str| Err(format!("is not a usable disk image: it {what}"));
    if head.is_empty() {
        return Err("is empty".to_owned());
    }
    if let Some((_, format)) = USABLE.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Ok(*format);
    }
    let text: String = head
        .iter()
        .skip_while(|b| b.is_ascii_whitespace())
        .take(64)
        .map(|b| char::from(b.to_ascii_lowercase()))
        .collect();
    if PAGES.iter().any(|page| text.starts_with(page)) {
        return unusable("is a web page; check the address");
    }
    if let Some((_, what, cure)) = UNUSABLE.iter().find(|(magic, ..)| head.starts_with(magic)) {
        return unusable(&format!("is {what}{cure}"));
    }
    if head.get(257..262) == Some(b"ustar".as_slice()) {
        return unusable("is a tar archive, and not one of an exported image");
    }
    if is_iso {
        return unusable("is an installer (ISO 9660), not an installed system");
    }
    // A boot sector's signature; a GPT disk has it in its protective MBR.
    if head.get(SECTOR - 2..SECTOR) == Some(&[0x55, 0xaa]) {
        return Ok(DiskFormat::Raw);
    }
    unusable("has no partition table, so nothing can boot from it")
}

/// Unpacks a file of a packed format.
///
/// # Errors
/// The file is damaged, there is no room, or it is larger than any disk.
pub(crate) fn unpack(format: DiskFormat, from: &Path, to: &Path) -> Result<(), ImageError> {
    let reader = BufReader::with_capacity(1 << 18, fs_err::File::open(from)?);
    let mut reader: Box<dyn Read> = match format {
        DiskFormat::Xz => Box::new(liblzma::read::XzDecoder::new_multi_decoder(reader)),
        DiskFormat::Zstd => Box::new(zstd::Decoder::new(reader)?),
        DiskFormat::Gzip => Box::new(flate2::read::MultiGzDecoder::new(reader)),
        DiskFormat::Qcow2 | DiskFormat::Raw => {
            return Err(ImageError::Unfit {
                path: from.to_owned(),
                why: "is not packed".to_owned(),
            });
        }
    };
    let file = File::options()
        .write(true)
        .create_new(true)
        .open(to)
        .map_err(ImageError::io(format!("make {}", to.display())))?;
    let failed = |source: std::io::Error| {
        if source.kind() == std::io::ErrorKind::StorageFull {
            ImageError::io(format!("unpack to {}", to.display()))(source)
        } else {
            ImageError::Unfit {
                path: from.to_owned(),
                why: format!("cannot be unpacked: {source}"),
            }
        }
    };
    let length = copy(&mut reader, &file).map_err(failed)?;
    file.set_len(length).map_err(failed)?;
    Ok(())
}

/// Copies, with holes in place of zeros; returns the length.
fn copy(reader: &mut dyn Read, mut file: &File) -> std::io::Result<u64> {
    use std::io::Seek;
    let mut buffer = vec![0; 1 << 18];
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
        if length > LARGEST {
            return Err(std::io::Error::other("it is larger than any disk"));
        }
        if part.iter().all(|b| *b == 0) {
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
pub(crate) fn settle(format: DiskFormat, from: &Path, disk: &Path) -> Result<(), ImageError> {
    let text = |p: &Path| p.display().to_string();
    match format {
        DiskFormat::Qcow2 => {
            judge_qcow2(from)?;
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
            exec::run("qemu-img", &arguments.map(str::to_owned))?;
        }
    }
    Ok(())
}

/// Refuses a qcow2 that has a backing file or is damaged.
///
/// # Errors
/// It has a backing or data file, or is encrypted or damaged.
pub(crate) fn judge_qcow2(path: &Path) -> Result<(), ImageError> {
    let header = qcow2::inspect(path)?;
    if let Some(backing) = header.backing_file {
        return Err(ImageError::Unfit {
            path: path.to_owned(),
            why: format!(
                "is not a whole disk: its backing file is `{}`; `qemu-img convert -O qcow2` makes it whole",
                backing.display().to_string().escape_debug()
            ),
        });
    }
    // A file that was cut short has a valid header, and reads as zeros past its end.
    let arguments = ["check", "-q", "-f", "qcow2", &path.display().to_string()];
    exec::run("qemu-img", &arguments.map(str::to_owned)).map_err(|e| match e {
        ImageError::Program { stderr, .. } => ImageError::Unfit {
            path: path.to_owned(),
            why: format!("is damaged or cut short: {stderr}"),
        },
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(head: &[u8], iso: bool) -> String {
        judge(head, iso).unwrap_err()
    }

    #[test]
    fn bad_input_20_what_is_no_disk_is_called_by_its_name() {
        assert!(refused(b"  <!DOCTYPE html>", false).contains("web page"));
        assert!(refused(b"<HTML><body>", false).contains("web page"));
        assert!(refused(b"KDMV", false).contains("VMDK"));
        assert!(refused(b"vhdxfile", false).contains("VHDX"));
        assert!(refused(b"LUKS\xba\xbe", false).contains("encrypted"));
        assert!(refused(b"", false).contains("empty"));
        assert!(refused(&[0; 4096], false).contains("no partition table"));
        assert!(refused(&[0; 4096], true).contains("installer"));
        let mut disk = [0; 4096];
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(judge(&disk, false), Ok(DiskFormat::Raw));
        assert!(refused(&disk, true).contains("installer"));
        assert_eq!(judge(b"QFI\xfb\0\0\0\x03", false), Ok(DiskFormat::Qcow2));
    }

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
            assert_eq!(probe(&path).unwrap(), format);
            let to = path.with_extension("plain");
            unpack(format, &path, &to).unwrap();
            assert_eq!(std::fs::read(&to).unwrap(), plain);
            assert_eq!(probe(&to).unwrap(), DiskFormat::Raw);
            let bytes = std::fs::read(&path).unwrap();
            let cut = packed("cut", bytes[..bytes.len() / 2].to_vec());
            let to = path.with_extension("cut");
            let error = unpack(format, &cut, &to).unwrap_err().to_string();
            assert!(error.contains("cannot be unpacked"), "{error}");
        }
    }
}
