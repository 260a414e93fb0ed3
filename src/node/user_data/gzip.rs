//! Unpacks gzip.

use std::io::Read;

/// Largest `user_data` in bytes, packed and unpacked; more than a person writes.
pub(super) const LONGEST: usize = 1 << 20;
pub(super) const MAGIC: &[u8] = b"\x1f\x8b";

/// # Errors
/// The bytes are damaged, or unpack to too many.
pub(super) fn gunzip(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut plain = Vec::new();
    let most = LONGEST as u64 + 1;
    flate2::read::MultiGzDecoder::new(bytes)
        .take(most)
        .read_to_end(&mut plain)
        .map_err(|e| format!("is packed with gzip and damaged: {e}"))?;
    if plain.len() > LONGEST {
        return Err(format!(
            "unpacks to more than {LONGEST} bytes; expected {LONGEST} or less"
        ));
    }
    Ok(plain)
}
