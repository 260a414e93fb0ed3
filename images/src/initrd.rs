//! Writes the initrd: a cpio archive (newc, Linux's Documentation/driver-api/early-userspace) with busybox and the modules
//! that the root disk needs.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::ImageError;

/// Modules that an ext4 root on virtio-blk needs, and pvpanic, which reports a panic to the host. A module that is built
/// into the kernel has no file.
const MODULES: [&str; 8] = [
    "pvpanic_pci",
    "virtio",
    "virtio_ring",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_blk",
    "ext4",
];
const INIT: &[u8] = include_bytes!("../guest/init");
const FILE: u32 = 0o100_755;
const FOLDER: u32 = 0o040_755;

/// Makes the initrd of the kernel in `root`.
///
/// # Errors
/// `root` has no busybox, or a module cannot be read.
pub(crate) fn make(root: &Path, release: &str) -> Result<Vec<u8>, ImageError> {
    let busybox = fs_err::read(root.join("usr/bin/busybox"))?;
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "root", "modules"] {
        archive.add(folder, FOLDER, &[]);
    }
    archive.add("bin/busybox", FILE, &busybox);
    archive.add("init", FILE, INIT);
    let modules = root.join("usr/lib/modules").join(release);
    let listing = fs_err::read_to_string(modules.join("modules.dep"))?;
    for (number, path) in wanted(&listing).into_iter().enumerate() {
        // The initrd loads them in the order of their names.
        archive.add(
            &format!("modules/{number}.ko"),
            FILE,
            &module(&modules.join(path))?,
        );
    }
    Ok(archive.finish())
}

/// The files of [`MODULES`], each after those that it depends on.
fn wanted(listing: &str) -> Vec<PathBuf> {
    let mut order: Vec<PathBuf> = Vec::new();
    for name in MODULES {
        for line in listing.lines() {
            let Some((path, needs)) = line.split_once(':') else {
                continue;
            };
            let stem = path
                .rsplit('/')
                .next()
                .and_then(|f| f.split('.').next())
                .unwrap_or_default();
            if stem.replace('-', "_") != name {
                continue;
            }
            // modules.dep lists dependencies in reverse order.
            for each in needs.split_whitespace().rev().chain([path]) {
                let each = PathBuf::from(each);
                if !order.contains(&each) {
                    order.push(each);
                }
            }
        }
    }
    order
}

/// A module's bytes, unpacked here, so that guests need not unpack it at each boot.
fn module(path: &Path) -> Result<Vec<u8>, ImageError> {
    let packed = fs_err::read(path)?;
    let mut plain = Vec::new();
    let unpacked = match path.extension().and_then(|e| e.to_str()) {
        Some("xz") => liblzma::read::XzDecoder::new(packed.as_slice()).read_to_end(&mut plain),
        Some("zst") => zstd::stream::copy_decode(packed.as_slice(), &mut plain).map(|()| 0),
        _ => return Ok(packed),
    };
    unpacked.map_err(ImageError::io(format!("unpack {}", path.display())))?;
    Ok(plain)
}

#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    files: u32,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, data: &[u8]) {
        self.files += 1;
        let size = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let name_size = u32::try_from(name.len() + 1).unwrap_or(u32::MAX);
        self.bytes.extend(b"070701");
        // inode, mode, uid, gid, links, mtime, size, device, rdevice, length of name, check
        for field in [self.files, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0] {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_come_after_what_they_need() {
        let listing = "kernel/a/virtio_blk.ko.xz: kernel/a/virtio_ring.ko kernel/a/virtio.ko\nkernel/a/virtio_ring.ko: kernel/a/virtio.ko\nkernel/a/virtio.ko:\nkernel/b/other.ko:\n";
        let names: Vec<_> = wanted(listing)
            .iter()
            .map(|p| p.file_name().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["virtio.ko", "virtio_ring.ko", "virtio_blk.ko.xz"]);
    }

    #[test]
    fn a_module_is_unpacked_whatever_it_is_packed_by() {
        let dir = tempfile::tempdir().unwrap();
        let zst = zstd::encode_all(&b"code"[..], 0).unwrap();
        let mut xz = Vec::new();
        liblzma::read::XzEncoder::new(&b"code"[..], 6)
            .read_to_end(&mut xz)
            .unwrap();
        for (name, bytes) in [("a.ko", &b"code"[..]), ("a.ko.xz", &xz), ("a.ko.zst", &zst)] {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(module(&path).unwrap(), b"code", "{name}");
        }
        std::fs::write(dir.path().join("b.ko.zst"), "no zstd").unwrap();
        assert!(module(&dir.path().join("b.ko.zst")).is_err());
    }

    #[test]
    fn the_archive_is_newc() {
        let mut archive = Archive::default();
        archive.add("a", FILE, b"xyz");
        let bytes = archive.finish();
        assert_eq!(&bytes[..6], b"070701");
        assert_eq!(bytes.len() % 4, 0);
        assert!(bytes.windows(10).any(|w| w == b"TRAILER!!!"));
    }

    /// A `modules.dep` of a template's packages.
    #[test]
    fn fuzz_modules() {
        kvmc_fuzz::run("modules", |bytes| {
            wanted(&String::from_utf8_lossy(bytes)).len().to_string()
        });
    }
}
