//! Ethernet, IPv4 and UDP around a message.

use std::net::Ipv4Addr;

use dhcproto::v4::{CLIENT_PORT, SERVER_PORT};

use crate::MacAddr;

/// A frame from the server's port to a client's.
pub(super) fn frame(message: &[u8], from: (MacAddr, Ipv4Addr), to: (MacAddr, Ipv4Addr)) -> Vec<u8> {
    let udp_length = u16::try_from(8 + message.len()).unwrap_or(u16::MAX);
    let mut udp = Vec::with_capacity(usize::from(udp_length));
    for word in [SERVER_PORT, CLIENT_PORT, udp_length, 0] {
        udp.extend(word.to_be_bytes());
    }
    udp.extend(message);
    let mut covered = Vec::new();
    covered.extend(from.1.octets());
    covered.extend(to.1.octets());
    covered.extend([0, 17]);
    covered.extend(udp_length.to_be_bytes());
    covered.extend(&udp);
    // Zero would mean that there is none, RFC 768.
    let sum = match checksum(&covered) {
        0 => 0xffff,
        sum => sum,
    };
    udp.splice(6..8, sum.to_be_bytes());

    let mut ip = vec![0x45, 0];
    ip.extend((20 + udp_length).to_be_bytes());
    ip.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    ip.extend(from.1.octets());
    ip.extend(to.1.octets());
    let sum = checksum(&ip);
    ip.splice(10..12, sum.to_be_bytes());

    let mut frame = Vec::with_capacity(14 + ip.len() + udp.len());
    frame.extend(to.0.0);
    frame.extend(from.0.0);
    frame.extend([8, 0]);
    frame.extend(ip);
    frame.extend(udp);
    frame
}

/// The checksum of RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from))
        .sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p13_checksums_are_whole() {
        let from = (MacAddr([2; 6]), Ipv4Addr::new(192, 168, 80, 1));
        let to = (MacAddr([4; 6]), Ipv4Addr::new(192, 168, 80, 2));
        for length in [300, 301] {
            let frame = frame(&vec![7; length], from, to);
            assert_eq!(checksum(&frame[14..34]), 0, "IP header");
            let mut covered = frame[26..34].to_vec();
            covered.extend([0, 17]);
            covered.extend(&frame[38..40]);
            covered.extend(&frame[34..]);
            assert_eq!(checksum(&covered), 0, "UDP");
        }
    }
}
