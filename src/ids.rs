//! Names, ids and clocks.

use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use kvmc_netns::MacAddr;
use rand::RngExt;
use sha2::{Digest, Sha256};

/// 32 random hex digits: a machine-id(5), or a UUID with dashes.
pub(crate) fn random_id() -> String {
    let mut bytes: [u8; 16] = rand::rng().random();
    // Version 4, variant 1 of RFC 9562, so that it is also a valid UUID.
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    hex(&bytes)
}

/// Formats the digits of [`random_id`] as a UUID.
pub(crate) fn uuid(id: &str) -> String {
    let part = |range: std::ops::Range<usize>| id.get(range).unwrap_or_default();
    [
        part(0..8),
        part(8..12),
        part(12..16),
        part(16..20),
        part(20..32),
    ]
    .join("-")
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut s, b| {
        let _infallible = write!(s, "{b:02x}");
        s
    })
}

/// A MAC address in QEMU's block (52:54:00), from a hash. The same node of the same cluster always gets the same
/// address, without a register.
pub(crate) fn mac(cluster: &str, thing: &str, attempt: u32) -> MacAddr {
    let digest = Sha256::digest(format!("{cluster}\0{thing}\0{attempt}"));
    MacAddr([0x52, 0x54, 0x00, digest[0], digest[1], digest[2]])
}

const FIRST_UID: u32 = 1_900_000_000;
const NODES: u32 = 1 << 10;
/// All ids that [`uid`] gives, which are group ids too.
pub(crate) const UIDS: std::ops::RangeInclusive<u32> =
    FIRST_UID..=FIRST_UID + u16::MAX as u32 * NODES + (NODES - 1);

/// The user id of a node's QEMU, in a range that systemd's UIDS-GIDS page leaves unused.
pub(crate) fn uid(cluster_dir: &Path, ordinal: u32) -> u32 {
    let digest = Sha256::digest(cluster_dir.as_os_str().as_encoded_bytes());
    let slot = u32::from(u16::from_be_bytes([digest[0], digest[1]]));
    FIRST_UID + slot * NODES + ordinal % NODES
}

/// The id of this boot of the host, random(4).
///
/// # Errors
/// Fails if /proc is not mounted.
pub(crate) fn boot_id() -> Result<String> {
    static ID: OnceLock<String> = OnceLock::new();
    if let Some(id) = ID.get() {
        return Ok(id.clone());
    }
    let text = fs_err::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(ID.get_or_init(|| text.trim().to_owned()).clone())
}

/// Seconds since 1970.
pub(crate) fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |d| d.as_secs_f64())
}

/// How long ago a time was, in seconds since 1970, in its largest unit. A time to come is 0 s ago.
pub(crate) fn ago(time: f64) -> String {
    format!("{} ago", age(time))
}

/// Like [`ago`], without the word: `5 min`.
pub(crate) fn age(time: f64) -> String {
    span(now() - time)
}

/// A number of seconds in its largest unit. A negative one counts as 0.
pub(crate) fn span(seconds: f64) -> String {
    let seconds = Duration::try_from_secs_f64(seconds).map_or(0, |d| d.as_secs());
    let (number, unit) = match seconds {
        0..60 => (seconds, "s"),
        60..3600 => (seconds / 60, "min"),
        3600..86400 => (seconds / 3600, "h"),
        _ => (seconds / 86400, "d"),
    };
    format!("{number} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_in_its_largest_unit() {
        assert_eq!(ago(now() + 100.0), "0 s ago");
        assert_eq!(ago(now() - 30.0), "30 s ago");
        assert_eq!(ago(now() - 7300.0), "2 h ago");
        assert_eq!(ago(f64::NAN), "0 s ago");
    }

    #[test]
    fn derived_names_are_stable_and_differ_between_nodes() {
        assert_eq!(mac("k80", "master0", 0), mac("k80", "master0", 0));
        assert_ne!(mac("k80", "master0", 0), mac("k80", "master1", 0));
        assert_ne!(mac("k80", "master0", 0), mac("k81", "master0", 0));
        let dir = Path::new("/s/clusters/k80");
        assert_ne!(uid(dir, 0), uid(dir, 1));
        assert!(uid(dir, 1023) < 2_147_483_647);
        assert!(UIDS.contains(&uid(dir, 1023)) && UIDS.contains(&uid(Path::new("/"), 0)));
    }

    #[test]
    fn ids_are_random_and_well_formed() {
        let id = random_id();
        assert_eq!(id.len(), 32);
        assert_ne!(id, random_id());
        assert_eq!(uuid(&id).len(), 36);
    }
}
