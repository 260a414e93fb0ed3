//! Digests of files, in hex.

use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::ImageError;

/// The SHA-256 of a file.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn sha256(path: &Path) -> Result<String, ImageError> {
    of_file::<Sha256>(path)
}

/// A file's digest by any hash.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn of_file<D: Digest>(path: &Path) -> Result<String, ImageError> {
    let mut file = fs_err::File::open(path)?;
    let mut hash = D::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hash.finalize())),
            n => hash.update(buffer.get(..n).unwrap_or_default()),
        }
    }
}

/// Bytes as lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}
