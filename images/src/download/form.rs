//! What a file is, by its first bytes: the forms that are taken, and the rest refused by name.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::{ImageError, exec, qcow2};

/// A disk unpacked is never larger, in bytes: what a few kilobytes of zeros can claim to be.
const LARGEST: u64 = 256 << 30;
const SECTOR: usize = 512;
/// Where an ISO 9660 volume descriptor begins.
const ISO_9660: u64 = 0x8000;

/// A form that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Qcow2,
    /// A disk as it is, with a partition table.
    Raw,
    Xz,
    Zstd,
    Gzip,
}

/// Looks what a file is.
///
/// # Errors
/// What it is instead.
pub(crate) fn probe(path: &Path) -> Result<Form, ImageError> {
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

fn judge(head: &[u8], is_iso: bool) -> Result<Form, String> {
    let begins = |with: &[u8]| head.starts_with(with);
    let not = |what: &str| Err(format!("is not a disk image that can be used: {what}"));
    let text: String = head
        .iter()
        .skip_while(|b| b.is_ascii_whitespace())
        .take(64)
        .map(|b| char::from(b.to_ascii_lowercase()))
        .collect();
    if head.is_empty() {
        return Err("is empty".to_owned());
    }
    if begins(b"QFI\xfb") {
        return Ok(Form::Qcow2);
    }
    if begins(b"\xfd7zXZ\0") {
        return Ok(Form::Xz);
    }
    if begins(b"\x28\xb5\x2f\xfd") {
        return Ok(Form::Zstd);
    }
    if begins(b"\x1f\x8b") {
        return Ok(Form::Gzip);
    }
    if text.starts_with("<!doctype") || text.starts_with("<html") || text.starts_with("<?xml") {
        return not("it is a web page; look at the address");
    }
    for (magic, what) in [
        (
            b"KDMV".as_slice(),
            "it is a VMDK; `qemu-img convert -O qcow2` makes it one that can",
        ),
        (
            b"# Disk DescriptorFile",
            "it is a VMDK; `qemu-img convert -O qcow2` makes it one that can",
        ),
        (
            b"conectix",
            "it is a VHD; `qemu-img convert -O qcow2` makes it one that can",
        ),
        (
            b"vhdxfile",
            "it is a VHDX; `qemu-img convert -O qcow2` makes it one that can",
        ),
        (
            b"<<< ",
            "it is a VDI; `qemu-img convert -O qcow2` makes it one that can",
        ),
        (b"BZh", "it is packed with bzip2; unpack it first"),
        (b"PK\x03\x04", "it is a zip archive; unpack it first"),
        (b"LUKS", "it is encrypted"),
        (
            b"QED\0",
            "it is a QED; `qemu-img convert -O qcow2` makes it one that can",
        ),
    ] {
        if begins(magic) {
            return not(what);
        }
    }
    if head.get(257..262) == Some(b"ustar".as_slice()) {
        return not(
            "it is a tar archive; `kvmc image import` takes those that `kvmc image export` made",
        );
    }
    // The sign of a boot sector, in a GPT disk too: the protective MBR.
    if head.get(SECTOR - 2..SECTOR) == Some(&[0x55, 0xaa]) {
        return if is_iso {
            not("it is an installer (ISO 9660), not an installed system")
        } else {
            Ok(Form::Raw)
        };
    }
    if is_iso {
        return not("it is an installer (ISO 9660), not an installed system");
    }
    not("it has no partition table, so there is nothing to boot")
}

/// Unpacks a file of a packed form.
///
/// # Errors
/// Damage, no room, or more than any disk has.
pub(crate) fn unpack(form: Form, from: &Path, to: &Path) -> Result<(), ImageError> {
    let reader = BufReader::with_capacity(1 << 18, fs_err::File::open(from)?);
    let mut reader: Box<dyn Read> = match form {
        Form::Xz => Box::new(liblzma::read::XzDecoder::new_multi_decoder(reader)),
        Form::Zstd => Box::new(zstd::Decoder::new(reader)?),
        Form::Gzip => Box::new(flate2::read::MultiGzDecoder::new(reader)),
        Form::Qcow2 | Form::Raw => {
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

/// Copies with holes where there are zeros; returns the length.
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

/// Makes `disk` a whole qcow2 that lies on nothing, from a file of a form that is not packed; the file
/// is moved, or converted and left.
///
/// # Errors
/// A backing or data file, encryption, damage; or the system's.
pub(crate) fn settle(form: Form, from: &Path, disk: &Path) -> Result<(), ImageError> {
    let text = |p: &Path| p.display().to_string();
    match form {
        Form::Qcow2 => {
            judge_qcow2(from)?;
            fs_err::rename(from, disk)?;
        }
        _ => {
            // The form is named: a guest could have written a qcow2's head into a raw disk.
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

/// Refuses a qcow2 that would lead QEMU to other files, or is not whole.
///
/// # Errors
/// Why it is not fit.
pub(crate) fn judge_qcow2(path: &Path) -> Result<(), ImageError> {
    let header = qcow2::inspect(path)?;
    if let Some(backing) = header.backing_file {
        return Err(ImageError::Unfit {
            path: path.to_owned(),
            why: format!(
                "is not a whole disk: it lies on another file, `{}`; `qemu-img convert -O qcow2` makes it one",
                backing.display().to_string().escape_debug()
            ),
        });
    }
    // A cut file has a sound head, and reads as zeros past its end.
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
        assert_eq!(judge(&disk, false), Ok(Form::Raw));
        assert!(refused(&disk, true).contains("installer"));
        assert_eq!(judge(b"QFI\xfb\0\0\0\x03", false), Ok(Form::Qcow2));
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
        for (form, path) in [
            (Form::Xz, packed("x", xz.finish().unwrap())),
            (Form::Gzip, packed("g", gz.finish().unwrap())),
            (Form::Zstd, packed("z", zst)),
        ] {
            assert_eq!(probe(&path).unwrap(), form);
            let to = path.with_extension("plain");
            unpack(form, &path, &to).unwrap();
            assert_eq!(std::fs::read(&to).unwrap(), plain);
            assert_eq!(probe(&to).unwrap(), Form::Raw);
            let bytes = std::fs::read(&path).unwrap();
            let cut = packed("cut", bytes[..bytes.len() / 2].to_vec());
            let to = path.with_extension("cut");
            let error = unpack(form, &cut, &to).unwrap_err().to_string();
            assert!(error.contains("cannot be unpacked"), "{error}");
        }
    }
}
