//! Messages on the wire: RFC 2131 section 2, options as RFC 2132 and RFC 3396 have them.
//!
//! Guests send these bytes. Decoding looks at what the server needs and keeps the rest unread; it neither
//! panics nor allocates more than the packet has.

use std::net::Ipv4Addr;

use crate::MacAddr;

/// Fixed fields and cookie.
pub(super) const FIXED: usize = 240;
/// Smallest message: what a BOOTP client expects, RFC 1542 section 2.1.
const SMALLEST: usize = 300;
/// What every client can take without saying so, RFC 2131 section 2: 576 bytes of IP datagram.
pub(super) const DEFAULT_SIZE: u16 = 576;
/// IP and UDP headers, which the maximum message size counts in.
pub(super) const HEADERS: u16 = 28;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// The broadcast bit of the flags.
pub(super) const BROADCAST: u16 = 0x8000;
/// `sname` and `file`, which option 52 makes into room for options.
const SNAME: std::ops::Range<usize> = 44..108;
const FILE: std::ops::Range<usize> = 108..236;

/// Codes of options, RFC 2132 unless said otherwise.
pub(super) mod code {
    pub(in super::super) const PAD: u8 = 0;
    pub(in super::super) const SUBNET_MASK: u8 = 1;
    pub(in super::super) const ROUTER: u8 = 3;
    pub(in super::super) const DOMAIN_NAME_SERVER: u8 = 6;
    pub(in super::super) const HOST_NAME: u8 = 12;
    pub(in super::super) const DOMAIN_NAME: u8 = 15;
    pub(in super::super) const INTERFACE_MTU: u8 = 26;
    pub(in super::super) const BROADCAST_ADDRESS: u8 = 28;
    pub(in super::super) const REQUESTED_ADDRESS: u8 = 50;
    pub(in super::super) const LEASE_TIME: u8 = 51;
    pub(in super::super) const OVERLOAD: u8 = 52;
    pub(in super::super) const MESSAGE_TYPE: u8 = 53;
    pub(in super::super) const SERVER_IDENTIFIER: u8 = 54;
    pub(in super::super) const PARAMETER_REQUEST_LIST: u8 = 55;
    pub(in super::super) const MAXIMUM_SIZE: u8 = 57;
    pub(in super::super) const RENEWAL_TIME: u8 = 58;
    pub(in super::super) const REBINDING_TIME: u8 = 59;
    pub(in super::super) const CLIENT_IDENTIFIER: u8 = 61;
    /// RFC 4039.
    pub(in super::super) const RAPID_COMMIT: u8 = 80;
    /// RFC 3046.
    pub(in super::super) const RELAY_AGENT: u8 = 82;
    /// RFC 4388.
    pub(in super::super) const LAST_TRANSACTION_TIME: u8 = 91;
    /// RFC 3442.
    pub(in super::super) const CLASSLESS_ROUTE: u8 = 121;
    pub(in super::super) const END: u8 = 255;
}

/// The message type, option 53.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Discover = 1,
    Offer = 2,
    Request = 3,
    Decline = 4,
    Ack = 5,
    Nak = 6,
    Release = 7,
    Inform = 8,
    LeaseQuery = 10,
    LeaseUnassigned = 11,
    LeaseUnknown = 12,
    LeaseActive = 13,
}

impl Kind {
    /// What clients and relays may send; a server's own messages are none of it.
    fn asked(value: u8) -> Option<Self> {
        use Kind::{Decline, Discover, Inform, LeaseQuery, Release, Request};
        [Discover, Request, Decline, Release, Inform, LeaseQuery]
            .into_iter()
            .find(|kind| *kind as u8 == value)
    }
}

/// What a client or relay sent, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) kind: Kind,
    pub(super) xid: u32,
    pub(super) flags: u16,
    pub(super) ciaddr: Ipv4Addr,
    pub(super) giaddr: Ipv4Addr,
    pub(super) mac: MacAddr,
    pub(super) requested: Option<Ipv4Addr>,
    pub(super) server: Option<Ipv4Addr>,
    /// Seconds.
    pub(super) lease_time: Option<u32>,
    /// Codes, in the order in which the client wants them.
    pub(super) wanted: Option<Vec<u8>>,
    /// Longest IP datagram that the client takes, in bytes.
    pub(super) maximum_size: Option<u16>,
    pub(super) client_id: Option<Vec<u8>>,
    pub(super) rapid_commit: bool,
    pub(super) relay_agent: Option<Vec<u8>>,
}

/// A request, or `None` for anything that is not one: another op, hardware or cookie, no message type, an
/// option that runs over its end, an Ethernet address that no station has.
///
/// A lease query may come without an Ethernet address, as all zero.
pub(super) fn decode(packet: &[u8]) -> Option<Request> {
    let (fixed, field) = packet.split_at_checked(FIXED)?;
    if fixed.get(FIXED - 4..)? != COOKIE || fixed.first()? != &1 {
        return None;
    }
    let options = Options::read(fixed, field)?;
    let kind = Kind::asked(u8::from_be_bytes(options.exact(code::MESSAGE_TYPE)?))?;
    let mac = MacAddr(array(fixed, 28)?);
    let is_ethernet = fixed.get(1..3)? == [1, 6];
    if kind == Kind::LeaseQuery {
        // A query by address or identifier names no hardware, RFC 4388 section 6.2.
        let is_none = fixed.get(1..3)?.contains(&0) && mac == MacAddr([0; 6]);
        if !(is_ethernet || is_none) {
            return None;
        }
    } else if !is_ethernet || !mac.is_unicast() {
        return None;
    }
    let whole = |code| options.whole(code).map(<[u8]>::to_vec);
    Some(Request {
        kind,
        xid: u32::from_be_bytes(array(fixed, 4)?),
        flags: u16::from_be_bytes(array(fixed, 10)?),
        ciaddr: array::<4>(fixed, 12)?.into(),
        giaddr: array::<4>(fixed, 24)?.into(),
        mac,
        requested: options.exact::<4>(code::REQUESTED_ADDRESS).map(Into::into),
        server: options.exact::<4>(code::SERVER_IDENTIFIER).map(Into::into),
        lease_time: options.exact(code::LEASE_TIME).map(u32::from_be_bytes),
        wanted: whole(code::PARAMETER_REQUEST_LIST),
        maximum_size: options.exact(code::MAXIMUM_SIZE).map(u16::from_be_bytes),
        // A type and at least one byte of its own, section 9.14.
        client_id: whole(code::CLIENT_IDENTIFIER).filter(|id| id.len() >= 2),
        rapid_commit: options.exact::<0>(code::RAPID_COMMIT).is_some(),
        relay_agent: whole(code::RELAY_AGENT),
    })
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// The options that the server looks at; those that came in parts are joined, RFC 3396.
struct Options(Vec<(u8, Vec<u8>)>);

impl Options {
    fn read(fixed: &[u8], field: &[u8]) -> Option<Self> {
        let mut options = Self(Vec::with_capacity(8));
        options.add(field)?;
        // The order is that of RFC 3396 section 5: options, file, sname.
        let overload = options.exact(code::OVERLOAD).map_or(0, u8::from_be_bytes);
        if overload & 1 != 0 {
            options.add(fixed.get(FILE)?)?;
        }
        if overload & 2 != 0 {
            options.add(fixed.get(SNAME)?)?;
        }
        Some(options)
    }

    fn add(&mut self, mut rest: &[u8]) -> Option<()> {
        while let [code, more @ ..] = rest {
            rest = more;
            if *code == code::PAD {
                continue;
            }
            if *code == code::END {
                break;
            }
            let (length, more) = rest.split_first()?;
            let (value, more) = more.split_at_checked(usize::from(*length))?;
            rest = more;
            if !matches!(*code, 50..=55 | 57 | 61 | 80 | 82) {
                continue;
            }
            match self.0.iter_mut().find(|(known, _)| known == code) {
                Some((_, joined)) => joined.extend(value),
                None => self.0.push((*code, value.to_vec())),
            }
        }
        Some(())
    }

    fn get(&self, code: u8) -> Option<&[u8]> {
        let (_, value) = self.0.iter().find(|(known, _)| *known == code)?;
        Some(value)
    }

    /// An option's value if it has the length that it must have.
    fn exact<const N: usize>(&self, code: u8) -> Option<[u8; N]> {
        self.get(code)?.try_into().ok()
    }

    /// An option's value if one option can hold it: what comes back in a reply must.
    fn whole(&self, code: u8) -> Option<&[u8]> {
        self.get(code).filter(|value| value.len() <= 255)
    }
}

/// A reply before it is bytes.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) kind: Kind,
    pub(super) xid: u32,
    pub(super) flags: u16,
    pub(super) ciaddr: Ipv4Addr,
    pub(super) yiaddr: Ipv4Addr,
    pub(super) giaddr: Ipv4Addr,
    pub(super) mac: MacAddr,
    /// In the order in which they are written; those that find no room are left out from the end.
    pub(super) options: Vec<(u8, Vec<u8>)>,
    /// Comes last, RFC 3046 section 2.2, and always finds room before the others do.
    pub(super) relay_agent: Option<Vec<u8>>,
}

impl Message {
    /// The message in at most `limit` bytes, padded to what the smallest clients expect. When the options
    /// field has no room for all options, `file` and `sname` hold some of them, option 52.
    pub(super) fn encode(&self, limit: usize) -> Vec<u8> {
        let mut bytes = vec![0; FIXED];
        let mut put = |at: usize, value: &[u8]| {
            bytes.splice(at..at + value.len(), value.iter().copied());
        };
        put(0, &[2, 1, 6, 0]);
        put(4, &self.xid.to_be_bytes());
        put(10, &self.flags.to_be_bytes());
        put(12, &self.ciaddr.octets());
        put(16, &self.yiaddr.octets());
        put(24, &self.giaddr.octets());
        put(28, &self.mac.0);
        put(FIXED - 4, &COOKIE);
        let mut options = vec![code::MESSAGE_TYPE, 1, self.kind as u8];
        let mut last = Vec::new();
        if let Some(agent) = &self.relay_agent {
            append(&mut last, code::RELAY_AGENT, agent);
        }
        last.push(code::END);
        let field = limit.saturating_sub(FIXED + last.len());
        let needed: usize = self.options.iter().map(|(_, v)| written(v)).sum();
        if options.len() + needed <= field {
            for (code, value) in &self.options {
                append(&mut options, *code, value);
            }
        } else {
            options.extend([code::OVERLOAD, 1, 3]);
            // One byte of each is for its own end.
            let (mut file, mut sname) = (Vec::new(), Vec::new());
            for (code, value) in &self.options {
                let places = [
                    (&mut options, field),
                    (&mut file, FILE.len() - 1),
                    (&mut sname, SNAME.len() - 1),
                ];
                let found = places
                    .into_iter()
                    .find(|(place, size)| place.len() + written(value) <= *size);
                if let Some((place, _)) = found {
                    append(place, *code, value);
                }
            }
            for (place, range) in [(&mut file, FILE), (&mut sname, SNAME)] {
                place.push(code::END);
                bytes.splice(range.start..range.start + place.len(), place.drain(..));
            }
        }
        bytes.append(&mut options);
        bytes.append(&mut last);
        bytes.resize(bytes.len().max(SMALLEST), 0);
        bytes
    }
}

/// How many bytes [`append`] writes.
fn written(value: &[u8]) -> usize {
    value.len() + 2 * value.len().div_ceil(255).max(1)
}

/// Writes an option, in parts when it is longer than one can be, RFC 3396.
fn append(to: &mut Vec<u8>, code: u8, value: &[u8]) {
    let mut rest = value;
    loop {
        let (part, more) = rest.split_at(rest.len().min(255));
        to.push(code);
        // At most 255, by the line above.
        to.push(u8::try_from(part.len()).unwrap_or(u8::MAX));
        to.extend(part);
        rest = more;
        if rest.is_empty() {
            return;
        }
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
