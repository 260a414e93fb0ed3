//! Fields and names in the bytes of a DNS message, RFC 1035 section 4.

use std::net::{IpAddr, Ipv4Addr};

use hickory_proto::rr::Name;
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

/// Bytes of the header.
pub(super) const HEADER: usize = 12;
/// Largest datagram that we send and accept with EDNS, in bytes; it fits every path (DNS flag day 2020).
pub(super) const DATAGRAM: u16 = 1232;
/// Largest datagram without EDNS, in bytes, RFC 1035 section 2.3.4.
pub(super) const LEAST_DATAGRAM: u16 = 512;
/// Types of records.
pub(super) const OPT: u16 = 41;
pub(super) const SOA: u16 = 6;

/// Bits of the header's flags.
pub(super) mod flag {
    pub(crate) const RESPONSE: u16 = 0x8000;
    pub(crate) const OPCODE: u16 = 0x7800;
    pub(crate) const TRUNCATED: u16 = 0x0200;
    pub(crate) const RECURSION_DESIRED: u16 = 0x0100;
    pub(crate) const RECURSION_AVAILABLE: u16 = 0x0080;
    pub(crate) const AUTHENTIC: u16 = 0x0020;
    pub(crate) const CHECKING_DISABLED: u16 = 0x0010;
    pub(crate) const RCODE: u16 = 0x000f;
}

/// The 16 bits at `at`; zero beyond the end.
pub(super) fn word(bytes: &[u8], at: usize) -> u16 {
    match bytes.get(at..at + 2) {
        Some(&[a, b]) => u16::from_be_bytes([a, b]),
        _ => 0,
    }
}

/// The 32 bits at `at`; zero beyond the end.
pub(super) fn long(bytes: &[u8], at: usize) -> u32 {
    u32::from(word(bytes, at)) << 16 | u32::from(word(bytes, at + 2))
}

/// Writes `value` at `at`; writes nothing when it does not fit.
pub(super) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

/// The header's flags.
pub(super) fn flags(bytes: &[u8]) -> u16 {
    word(bytes, 2)
}

/// Where the labels of the name at `at` end; there is a zero unless a pointer follows.
pub(super) fn labels_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    while let length @ 1..=63 = *bytes.get(at)? {
        at += usize::from(length) + 1;
    }
    Some(at)
}

/// The position behind the name at `at`, which may end with a pointer.
pub(super) fn after_name(bytes: &[u8], at: usize) -> Option<usize> {
    let end = labels_end(bytes, at)?;
    match *bytes.get(end)? {
        0 => Some(end + 1),
        0xc0.. => (end + 2 <= bytes.len()).then_some(end + 2),
        _ => None,
    }
}

/// The name at `at`, with pointers followed.
pub(super) fn name(bytes: &[u8], at: usize) -> Option<Name> {
    let start = u16::try_from(at).ok().filter(|_| at < bytes.len())?;
    let mut decoder = BinDecoder::new(bytes).clone(start);
    Name::read(&mut decoder).ok()
}

/// The IPv4 address in a mapped address (RFC 4291) or one of NAT64 (RFC 6052); other addresses as they are.
pub(super) fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    let [a, b, c, d, e, f, _, _] = v6.segments();
    let [.., w, x, y, z] = v6.octets();
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0] => Ipv4Addr::new(w, x, y, z).into(),
        _ => address,
    }
}
