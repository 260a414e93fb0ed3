//! Reverse names and zones, RFC 1035 section 3.5 and RFC 3596 section 2.5.

use std::net::IpAddr;

use hickory_proto::rr::Name;
use ipnetwork::IpNetwork;

/// The reverse zones of a network: several where its prefix does not end at a label; the zone around it where its prefix
/// is too long for a zone.
pub(super) fn zones(range: IpNetwork) -> Vec<Name> {
    // Bits of a label, and the longest prefix of a zone: all labels but the last.
    let (bits, deepest) = match range {
        IpNetwork::V4(_) => (8, 24),
        IpNetwork::V6(_) => (4, 124),
    };
    let cut = range.prefix().next_multiple_of(bits).min(deepest);
    let count = 1_u128 << cut.saturating_sub(range.prefix());
    let whole = bits_of(range.network());
    let width = width_of(range.network());
    (0..count)
        .map(|i| {
            let first = whole.wrapping_add(i << (width - u32::from(cut)));
            let labels = usize::from((deepest + bits - cut) / bits);
            let full = name(from_bits(first, range.network()));
            full.trim_to(usize::from(full.num_labels()) - labels)
        })
        .collect()
}

/// The reverse name of an address.
pub(super) fn name(address: IpAddr) -> Name {
    Name::from(address)
}

/// The address of a reverse name; `None` for any other name.
pub(super) fn address(name: &Name) -> Option<IpAddr> {
    let labels: Option<Vec<&str>> = name.iter().map(|l| std::str::from_utf8(l).ok()).collect();
    let labels = labels?;
    let arpa = |zone: &str, at: usize| {
        labels.len() == at + 2
            && labels.get(at).is_some_and(|l| l.eq_ignore_ascii_case(zone))
            && labels
                .last()
                .is_some_and(|l| l.eq_ignore_ascii_case("arpa"))
    };
    if arpa("in-addr", 4) {
        let mut octets = [0; 4];
        for (octet, label) in octets.iter_mut().rev().zip(&labels) {
            // `01` is another name than `1`.
            let plain = label.bytes().all(|b| b.is_ascii_digit())
                && (label.len() == 1 || !label.starts_with('0'));
            *octet = label.parse().ok().filter(|_| plain)?;
        }
        return Some(IpAddr::from(octets));
    }
    if arpa("ip6", 32) {
        let mut bits = 0_u128;
        for label in labels.iter().take(32).rev() {
            let digit = u128::from_str_radix(label, 16).ok()?;
            bits = bits << 4 | (label.len() == 1).then_some(digit)?;
        }
        return Some(IpAddr::from(bits.to_be_bytes()));
    }
    None
}

fn width_of(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn bits_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => u128::from(u32::from(a)),
        IpAddr::V6(a) => u128::from(a),
    }
}

fn from_bits(bits: u128, like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::from(u32::try_from(bits).unwrap_or(u32::MAX).to_be_bytes()),
        IpAddr::V6(_) => IpAddr::from(bits.to_be_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_the_zones_that_cover_it() {
        let text = |range: &str| -> Vec<String> {
            let zones = zones(range.parse().unwrap());
            zones.iter().map(Name::to_ascii).collect()
        };
        assert_eq!(text("192.168.80.0/24"), ["80.168.192.in-addr.arpa."]);
        assert_eq!(text("10.0.0.0/8"), ["10.in-addr.arpa."]);
        assert_eq!(
            text("192.168.80.0/23"),
            ["80.168.192.in-addr.arpa.", "81.168.192.in-addr.arpa."]
        );
        assert_eq!(text("192.168.80.64/26"), ["80.168.192.in-addr.arpa."]);
        assert_eq!(text("172.16.0.0/12").len(), 16);
        assert_eq!(
            text("fd00:1:2:3::/64"),
            ["3.0.0.0.2.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa."]
        );
    }

    #[test]
    fn addresses_and_their_names_go_both_ways() {
        for text in ["192.168.80.2", "fd00::12:f"] {
            let ip: IpAddr = text.parse().unwrap();
            assert_eq!(address(&name(ip)), Some(ip));
        }
        for not in [
            "2.80.168.in-addr.arpa.",
            "02.80.168.192.in-addr.arpa.",
            "256.80.168.192.in-addr.arpa.",
            "x.2.80.168.192.in-addr.arpa.",
            "2.80.168.192.in-addr.example.",
        ] {
            assert_eq!(address(&Name::from_ascii(not).unwrap()), None, "{not}");
        }
        let sign =
            Name::from_labels(["+2", "80", "168", "192", "in-addr", "arpa"]).unwrap_or_default();
        assert_eq!(address(&sign), None);
    }
}
