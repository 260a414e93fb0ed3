//! ARP frames, RFC 826, and probes, RFC 5227 section 2.1.1.

use std::net::Ipv4Addr;

use crate::MacAddr;

/// Bytes of the Ethernet header.
const HEADER: usize = 14;
/// The first fields of an ARP packet for IPv4 over Ethernet.
const PACKET: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// A probe: it asks who has `address` without claiming it.
pub(crate) fn probe(from: MacAddr, address: Ipv4Addr) -> Vec<u8> {
    request(from, Ipv4Addr::UNSPECIFIED, address)
}

/// A request by a station that has the address `own`.
pub(crate) fn request(from: MacAddr, own: Ipv4Addr, address: Ipv4Addr) -> Vec<u8> {
    let parts: [&[u8]; 9] = [
        &MacAddr::BROADCAST.0,
        &from.0,
        &[8, 6],
        &PACKET,
        &[0, 1],
        &from.0,
        &own.octets(),
        &[0; 6],
        &address.octets(),
    ];
    parts.concat()
}

/// The sender of an ARP frame, request or reply, and its address.
pub(crate) fn sender(frame: &[u8]) -> Option<(MacAddr, Ipv4Addr)> {
    let packet = frame.get(HEADER..)?;
    if frame.get(12..HEADER)? != [8, 6] || packet.get(..6)? != PACKET {
        return None;
    }
    let by = MacAddr(packet.get(8..14)?.try_into().ok()?);
    let address = Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(14..18)?).ok()?);
    by.is_unicast().then_some((by, address))
}
