//! qcow2: reads a header, writes an overlay.
//!
//! Reference: QEMU's docs/interop/qcow2.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

mod flaw;
mod header;
mod layout;

pub(crate) use self::flaw::Flaw;
pub use self::header::Header;
use self::header::{LARGEST, LONGEST_NAME, MAGIC, parse};
use crate::error::ImageError;

const CLUSTER_BITS: u32 = 16;
pub(crate) const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// Bytes that one L2 table's clusters hold.
pub(crate) const PER_L1_ENTRY: u64 = CLUSTER / 8 * CLUSTER;
const HEADER_LENGTH: u32 = 104;
/// Header extension with the backing file's format.
const BACKING_FORMAT: u32 = 0xe279_2aca;

/// Reads the header of an image.
///
/// # Errors
/// The file is not a qcow2, or is dirty, corrupt or encrypted, or has an external data file.
pub fn inspect(path: &Path) -> Result<Header, ImageError> {
    examine(path)?.map_err(|flaw| ImageError::Unfit {
        path: path.to_owned(),
        why: flaw.to_string(),
    })
}

/// As [`inspect`], but returns what is wrong with the header.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn examine(path: &Path) -> Result<Result<Header, Flaw>, ImageError> {
    Ok(parse(&start(path)?.0))
}

/// As [`examine`], and compares the tables that the header names with the file.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn examine_whole(path: &Path) -> Result<Result<Header, Flaw>, ImageError> {
    let (bytes, length) = start(path)?;
    Ok(parse(&bytes).and_then(|header| layout::check(&bytes, length).map(|()| header)))
}

/// As [`examine_whole`], for an image whose flaws have no cure.
///
/// # Errors
/// As [`inspect`], or a table of the image is impossible.
pub(crate) fn inspect_whole(path: &Path) -> Result<Header, ImageError> {
    examine_whole(path)?.map_err(|flaw| ImageError::Unfit {
        path: path.to_owned(),
        why: flaw.to_string(),
    })
}

/// The first bytes of a file, with its header and extensions, and its length.
fn start(path: &Path) -> Result<(Vec<u8>, u64), ImageError> {
    let mut bytes = Vec::new();
    let file = fs_err::File::open(path)?;
    let length = file.metadata()?.len();
    file.take(CLUSTER).read_to_end(&mut bytes)?;
    Ok((bytes, length))
}

/// Makes `path` an empty overlay of `size` bytes on the qcow2 `backing`.
///
/// # Errors
/// `size` is less than the backing image's, which qemu-img would not report; or `path` exists.
pub fn create_overlay(path: &Path, backing: &Path, size: u64) -> Result<(), ImageError> {
    let unfit = |why: String| ImageError::Unfit {
        path: path.to_owned(),
        why,
    };
    let below = inspect(backing)?.virtual_size;
    if size < below {
        return Err(unfit(format!(
            "would have {size} bytes; expected at least its template's {below} bytes"
        )));
    }
    let name = backing.as_os_str().as_bytes();
    if name.len() > LONGEST_NAME {
        return Err(unfit(format!(
            "has a template with a path of {} bytes; expected at most {LONGEST_NAME}",
            name.len()
        )));
    }
    create(path, name, size)
}

/// Makes `path` an empty image of `size` bytes without a backing file.
///
/// # Errors
/// `path` exists or cannot be written, or no image can be so large.
pub fn create_empty(path: &Path, size: u64) -> Result<(), ImageError> {
    create(path, b"", size)
}

fn create(path: &Path, name: &[u8], size: u64) -> Result<(), ImageError> {
    let unfit = |why: String| ImageError::Unfit {
        path: path.to_owned(),
        why,
    };
    let entries = size.div_ceil(PER_L1_ENTRY);
    let l1_clusters = (entries * 8).div_ceil(CLUSTER);
    // One refcount block counts half a cluster of clusters, far more than the tables of the largest disk take.
    let used = 3 + l1_clusters;
    let entries = u32::try_from(entries).ok().filter(|_| size <= LARGEST);
    let entries = entries.ok_or_else(|| unfit(format!("cannot be of {size} bytes")))?;

    let file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(ImageError::io(format!("create {}", path.display())))?;
    let write = || {
        file.set_len(used * CLUSTER)?;
        let mut header = header(name, size, entries);
        header.resize(header.len().next_multiple_of(8), 0);
        (&file).write_all(&header)?;
        file.write_all_at(&(2 * CLUSTER).to_be_bytes(), CLUSTER)?;
        let counts: Vec<u8> = (0..used).flat_map(|_| 1_u16.to_be_bytes()).collect();
        file.write_all_at(&counts, 2 * CLUSTER)
    };
    write().map_err(|source| {
        let _half_made = std::fs::remove_file(path);
        ImageError::Io {
            what: format!("write {}", path.display()),
            source,
        }
    })
}

/// A header for an image with its first refcount block in cluster 2 and its L1 table in cluster 3.
pub(crate) fn header(backing: &[u8], size: u64, l1_entries: u32) -> Vec<u8> {
    let format = b"qcow2";
    let name_at = HEADER_LENGTH + 8 + 8 + 8;
    let name_length = u32::try_from(backing.len()).unwrap_or(0);
    // Without a backing file, both are zero.
    let name_at = if name_length > 0 { name_at } else { 0 };
    let mut bytes = Vec::with_capacity(256);
    bytes.extend(MAGIC);
    for word in [3, 0, name_at, name_length, CLUSTER_BITS] {
        bytes.extend(u32::to_be_bytes(word));
    }
    bytes.extend(size.to_be_bytes());
    bytes.extend(0_u32.to_be_bytes()); // no encryption
    bytes.extend(l1_entries.to_be_bytes());
    bytes.extend((3 * CLUSTER).to_be_bytes()); // L1 table
    bytes.extend(CLUSTER.to_be_bytes()); // refcount table
    bytes.extend(1_u32.to_be_bytes()); // of one cluster
    bytes.extend([0; 12]); // no snapshots
    bytes.extend([0; 24]); // no features
    bytes.extend(4_u32.to_be_bytes()); // refcounts of 16 bits
    bytes.extend(HEADER_LENGTH.to_be_bytes());
    if backing.is_empty() {
        bytes.extend([0; 8]); // end of extensions
        return bytes;
    }
    bytes.extend(BACKING_FORMAT.to_be_bytes());
    bytes.extend(5_u32.to_be_bytes());
    bytes.extend(format);
    bytes.extend([0; 3]);
    bytes.extend([0; 8]); // end of extensions
    bytes.extend(backing);
    bytes
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::*;

    fn template(dir: &Path, size: u64) -> PathBuf {
        // A header without a file behind it is enough for these tests.
        let path = dir.join("base.qcow2");
        let mut bytes = header(b"", size, 1);
        bytes[8..16].fill(0);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn an_overlay_says_what_was_asked() {
        let dir = tempfile::tempdir().unwrap();
        let base = template(dir.path(), 1 << 30);
        let over = dir.path().join("over.qcow2");
        create_overlay(&over, &base, 4 << 30).unwrap();
        assert_eq!(
            inspect(&over).unwrap(),
            Header {
                virtual_size: 4 << 30,
                backing_file: Some(base.clone())
            }
        );
        assert!(
            create_overlay(&over, &base, 4 << 30).is_err(),
            "an overlay that is there is not replaced"
        );
    }

    #[test]
    fn an_overlay_below_its_template_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let base = template(dir.path(), 1 << 30);
        let error = create_overlay(&dir.path().join("o"), &base, 1 << 29)
            .unwrap_err()
            .to_string();
        assert!(error.contains("expected at least"), "{error}");
        assert!(!dir.path().join("o").exists());
    }

    #[test]
    fn qemu_img_finds_no_fault_in_an_overlay() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base.qcow2");
        let text = |p: &Path| p.display().to_string();
        let create = ["create", "-f", "qcow2", &text(&base), "1G"].map(str::to_owned);
        if !["/usr/bin/qemu-img", "/bin/qemu-img"]
            .iter()
            .any(|p| Path::new(p).exists())
        {
            println!("skipped: qemu-img is not installed");
            return;
        }
        crate::exec::run("qemu-img", &create).unwrap();
        for size in [1_u64 << 30, 4 << 30, 3 << 40] {
            let over = dir.path().join(format!("o{size}"));
            create_overlay(&over, &base, size).unwrap();
            crate::exec::run("qemu-img", &["check".to_owned(), text(&over)]).unwrap();
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_fall_over(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), whole in any::<bool>()) {
            if whole && bytes.len() > 8 {
                bytes[..4].copy_from_slice(MAGIC);
                bytes[4..8].copy_from_slice(&3_u32.to_be_bytes());
            }
            let _either = parse(&bytes);
        }
    }

    #[test]
    fn fuzz_headers() {
        kvmc_fuzz::run("qcow2", |bytes| match parse(bytes) {
            Ok(header) => format!("{:?}", header.backing_file.is_some()),
            Err(flaw) => flaw.to_string(),
        });
    }
}
