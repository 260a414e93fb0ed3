//! Router advertisements and solicitations as bytes. Pure.

use std::net::Ipv6Addr;

use ipnetwork::Ipv6Network;

use crate::MacAddr;

const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;

/// Types of options, RFC 4861 section 4.6 and RFC 8106.
mod option {
    pub(super) const SOURCE_LINK_LAYER_ADDRESS: u8 = 1;
    pub(super) const PREFIX_INFORMATION: u8 = 3;
    pub(super) const MTU: u8 = 5;
    pub(super) const RDNSS: u8 = 25;
}

/// The flags on-link and autonomous address-configuration.
const PREFIX_FLAGS: u8 = 0xc0;
/// An infinite lifetime, in seconds: addresses must outlast a router that is down.
const INFINITE: u32 = u32::MAX;
/// The longest lifetime of a default route that the RFC allows, in seconds.
const LONGEST_ROUTER: u16 = 9000;
/// The hop limit for hosts.
const HOP_LIMIT: u8 = 64;

/// The contents of a router advertisement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertisement {
    /// The router's Ethernet address.
    pub mac: MacAddr,
    /// The prefix of the hosts' addresses; they form addresses only with 64 bits.
    pub prefix: Ipv6Network,
    /// The link's MTU in bytes.
    pub mtu: u32,
    /// Whether hosts use it as their default router.
    pub is_router: bool,
    /// Resolvers, at most 127.
    pub dns: Vec<Ipv6Addr>,
}

impl Advertisement {
    /// The ICMPv6 message without its checksum, which the kernel adds (RFC 3542 section 3.1).
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let lifetime = if self.is_router { LONGEST_ROUTER } else { 0 };
        let mut bytes = vec![ROUTER_ADVERTISEMENT, 0, 0, 0, HOP_LIMIT, 0];
        bytes.extend(lifetime.to_be_bytes());
        // Reachable time and retransmission timer: hosts keep theirs.
        bytes.extend([0; 8]);

        bytes.extend([option::SOURCE_LINK_LAYER_ADDRESS, 1]);
        bytes.extend(self.mac.octets());

        bytes.extend([option::MTU, 1, 0, 0]);
        bytes.extend(self.mtu.to_be_bytes());

        bytes.extend([
            option::PREFIX_INFORMATION,
            4,
            self.prefix.prefix(),
            PREFIX_FLAGS,
        ]);
        bytes.extend(INFINITE.to_be_bytes());
        bytes.extend(INFINITE.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(self.prefix.network().octets());

        // The option's length is one byte, in units of eight bytes.
        let dns: Vec<_> = self.dns.iter().take(127).collect();
        if let Ok(count @ 1..) = u8::try_from(dns.len()) {
            bytes.extend([option::RDNSS, 1 + 2 * count, 0, 0]);
            bytes.extend(INFINITE.to_be_bytes());
            for address in dns {
                bytes.extend(address.octets());
            }
        }
        bytes
    }
}

/// Whether an ICMPv6 message is a valid router solicitation, RFC 4861 section 6.1.1. The kernel has checked its checksum.
///
/// `hop_limit` is the packet's; one that passed a router has less than 255.
#[must_use]
pub fn is_solicitation(message: &[u8], source: Ipv6Addr, hop_limit: u8) -> bool {
    let [ROUTER_SOLICITATION, 0, _, _, _, _, _, _, options @ ..] = message else {
        return false;
    };
    let mut options = options;
    while let [kind, units, ..] = options {
        let length = 8 * usize::from(*units);
        // A sender without an address must not name its Ethernet address.
        if *kind == option::SOURCE_LINK_LAYER_ADDRESS && source.is_unspecified() {
            return false;
        }
        match options.get(length..) {
            Some(rest) if length > 0 => options = rest,
            _ => return false,
        }
    }
    options.is_empty() && hop_limit == 255
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOST: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);

    fn advertisement() -> Advertisement {
        Advertisement {
            mac: MacAddr([0x52, 0x54, 0, 1, 2, 3]),
            prefix: "fd00:1:2:3::/64".parse().unwrap(),
            mtu: 1400,
            is_router: true,
            dns: vec!["fd00:1:2:3::1".parse().unwrap()],
        }
    }

    #[test]
    fn an_advertisement_is_what_rfc_4861_shows() {
        let bytes = advertisement().encode();
        assert_eq!(
            bytes[..16],
            [134, 0, 0, 0, 64, 0, 35, 40, 0, 0, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(bytes[16..24], [1, 1, 0x52, 0x54, 0, 1, 2, 3]);
        assert_eq!(bytes[24..32], [5, 1, 0, 0, 0, 0, 5, 120]);
        assert_eq!(bytes[32..36], [3, 4, 64, 0xc0]);
        assert_eq!(bytes[36..44], [0xff; 8]);
        assert_eq!(bytes[48..56], [0xfd, 0, 0, 1, 0, 2, 0, 3]);
        assert_eq!(bytes[64..66], [25, 3]);
        assert_eq!(bytes.len(), 88);
    }

    #[test]
    fn who_leads_nowhere_is_no_router() {
        let silent = Advertisement {
            is_router: false,
            dns: Vec::new(),
            ..advertisement()
        };
        let bytes = silent.encode();
        assert_eq!(bytes[6..8], [0, 0]);
        assert_eq!(bytes.len(), 64);
    }

    #[test]
    fn solicitations_are_told_from_what_only_looks_like_one() {
        let plain = [133, 0, 0, 0, 0, 0, 0, 0];
        let known = [&plain[..], &[1, 1, 2, 2, 2, 2, 2, 2]].concat();
        let none = Ipv6Addr::UNSPECIFIED;
        assert!(is_solicitation(&plain, HOST, 255));
        assert!(is_solicitation(&plain, none, 255));
        assert!(is_solicitation(&known, HOST, 255));
        assert!(!is_solicitation(&known, none, 255));
        assert!(!is_solicitation(&plain, HOST, 254), "it passed a router");
        assert!(!is_solicitation(&plain[..7], HOST, 255), "cut");
        assert!(!is_solicitation(&[134, 0, 0, 0, 0, 0, 0, 0], HOST, 255));
        assert!(!is_solicitation(&[133, 1, 0, 0, 0, 0, 0, 0], HOST, 255));
        let endless = [&plain[..], &[14, 0, 0, 0, 0, 0, 0, 0]].concat();
        assert!(
            !is_solicitation(&endless, HOST, 255),
            "an option without length"
        );
        let short = [&plain[..], &[14, 2, 0, 0, 0, 0, 0, 0]].concat();
        assert!(
            !is_solicitation(&short, HOST, 255),
            "an option beyond the end"
        );
    }

    proptest! {
        #[test]
        fn p25_no_packet_stops_it(message: Vec<u8>, source: u128, hop_limit: u8) {
            let _either = is_solicitation(&message, Ipv6Addr::from(source), hop_limit);
        }

        #[test]
        fn what_a_guest_appends_ends_the_look(rest in proptest::collection::vec(any::<u8>(), 0..300)) {
            let message = [&[133, 0, 0, 0, 0, 0, 0, 0][..], &rest].concat();
            let _either = is_solicitation(&message, HOST, 255);
        }
    }
}
