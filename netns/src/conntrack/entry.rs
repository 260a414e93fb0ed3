//! The entries of conntrack as nfnetlink has them (linux/netfilter/nfnetlink_conntrack.h). Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::netlink::attributes;

/// Bytes of an nfgenmsg, which begins each message.
const GENERAL: usize = 4;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_TUPLE_IP: u16 = 1;
/// CTA_IP_V4_SRC and CTA_IP_V4_DST, CTA_IP_V6_SRC and CTA_IP_V6_DST.
const V4: [u16; 2] = [1, 2];
const V6: [u16; 2] = [3, 4];

/// What names one entry in a request to delete it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    family: u8,
    /// Its first tuple, and its id and zone as far as it has them. Without a tuple the kernel would delete all entries.
    names: Vec<u8>,
}

impl Entry {
    /// Reads an entry from a message's body if one of its addresses is meant.
    pub(super) fn read(body: &[u8], is_meant: &impl Fn(IpAddr) -> bool) -> Option<Self> {
        let family = *body.first()?;
        let all = body.get(GENERAL..)?;
        let tuples = attributes(all).filter(|a| matches!(a.kind, CTA_TUPLE_ORIG | CTA_TUPLE_REPLY));
        let mut addresses = tuples.flat_map(|tuple| addresses(tuple.value));
        if !addresses.any(is_meant) {
            return None;
        }
        let mut names = Vec::new();
        attributes(all).find(|a| a.kind == CTA_TUPLE_ORIG)?;
        for named in attributes(all) {
            if matches!(named.kind, CTA_TUPLE_ORIG | CTA_ID | CTA_ZONE) {
                names.extend(named.whole);
                names.resize(names.len().next_multiple_of(4), 0);
            }
        }
        Some(Self { family, names })
    }

    /// The body of a request to delete it.
    pub(super) fn request(&self) -> Vec<u8> {
        let mut body = general(self.family).to_vec();
        body.extend(&self.names);
        body
    }
}

/// An nfgenmsg of version 0 (NFNETLINK_V0).
pub(super) const fn general(family: u8) -> [u8; GENERAL] {
    [family, 0, 0, 0]
}

/// The addresses of a tuple.
fn addresses(tuple: &[u8]) -> impl Iterator<Item = IpAddr> {
    let ip = attributes(tuple).filter(|a| a.kind == CTA_TUPLE_IP);
    let all = ip.flat_map(|ip| attributes(ip.value));
    all.filter_map(|address| match address.kind {
        kind if V4.contains(&kind) => {
            let octets: [u8; 4] = address.value.try_into().ok()?;
            Some(Ipv4Addr::from(octets).into())
        }
        kind if V6.contains(&kind) => {
            let octets: [u8; 16] = address.value.try_into().ok()?;
            Some(Ipv6Addr::from(octets).into())
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NESTED: u16 = 0x8000;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = (u16::try_from(value.len()).unwrap() + 4)
            .to_ne_bytes()
            .to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn tuple(kind: u16, from: [u8; 4], to: [u8; 4]) -> Vec<u8> {
        let ip = [attribute(V4[0], &from), attribute(V4[1], &to)].concat();
        let proto = attribute(2 | NESTED, &attribute(1, &[6]));
        attribute(
            kind | NESTED,
            &[attribute(CTA_TUPLE_IP | NESTED, &ip), proto].concat(),
        )
    }

    const GUEST: [u8; 4] = [192, 0, 2, 8];
    const HOST: [u8; 4] = [198, 51, 100, 1];
    const OUTSIDE: [u8; 4] = [198, 51, 100, 2];

    fn is_guest(address: IpAddr) -> bool {
        address == IpAddr::from(GUEST)
    }

    fn body(original: &[u8], reply: &[u8]) -> Vec<u8> {
        let zone = attribute(CTA_ZONE, &[0, 7]);
        let id = attribute(CTA_ID, &[1, 2, 3, 4]);
        let status = attribute(3, &[0, 0, 0, 8]);
        let all = [&general(2)[..], original, reply, &status, &id, &zone];
        all.concat()
    }

    #[test]
    fn an_entry_is_meant_by_any_of_its_four_addresses() {
        let of = |original: [[u8; 4]; 2], reply: [[u8; 4]; 2]| {
            let original = tuple(CTA_TUPLE_ORIG, original[0], original[1]);
            let reply = tuple(CTA_TUPLE_REPLY, reply[0], reply[1]);
            Entry::read(&body(&original, &reply), &is_guest).is_some()
        };
        assert!(of([GUEST, OUTSIDE], [OUTSIDE, HOST]), "masqueraded");
        assert!(of([OUTSIDE, HOST], [GUEST, OUTSIDE]), "forwarded");
        assert!(of([HOST, GUEST], [GUEST, HOST]));
        assert!(!of([OUTSIDE, HOST], [HOST, OUTSIDE]), "the host's own");
    }

    #[test]
    fn a_request_names_the_first_tuple_with_id_and_zone_as_the_kernel_told_them() {
        let original = tuple(CTA_TUPLE_ORIG, GUEST, OUTSIDE);
        let reply = tuple(CTA_TUPLE_REPLY, OUTSIDE, HOST);
        let entry = Entry::read(&body(&original, &reply), &is_guest).unwrap();
        let request = entry.request();
        let read: Vec<_> = attributes(&request[GENERAL..]).collect();
        let kinds: Vec<_> = read.iter().map(|a| a.kind).collect();
        assert_eq!(kinds, [CTA_TUPLE_ORIG, CTA_ID, CTA_ZONE]);
        assert_eq!(read[0].whole, original);
        assert_eq!(request[..GENERAL], [2, 0, 0, 0]);
    }

    #[test]
    fn an_entry_without_its_first_tuple_is_no_entry() {
        let reply = tuple(CTA_TUPLE_REPLY, GUEST, HOST);
        assert_eq!(Entry::read(&body(&[], &reply), &is_guest), None);
    }

    proptest! {
        #[test]
        fn a_request_to_delete_always_names_a_tuple(bytes: Vec<u8>) {
            if let Some(entry) = Entry::read(&bytes, &|_| true) {
                let request = entry.request();
                let mut all = attributes(&request[GENERAL..]);
                prop_assert!(all.any(|a| a.kind == CTA_TUPLE_ORIG));
            }
        }

        #[test]
        fn a_damaged_entry_names_its_tuple_or_nothing(at in 4_usize..140, byte: u8) {
            let original = tuple(CTA_TUPLE_ORIG, GUEST, OUTSIDE);
            let mut bytes = body(&original, &tuple(CTA_TUPLE_REPLY, OUTSIDE, HOST));
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Some(entry) = Entry::read(&bytes, &is_guest) {
                let request = entry.request();
                let mut all = attributes(&request[GENERAL..]);
                prop_assert!(all.any(|a| a.kind == CTA_TUPLE_ORIG));
            }
        }
    }
}
