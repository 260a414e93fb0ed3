//! One request in, at most one reply out: RFC 2131 section 4.3. What it says and where that is tested is in
//! docs/DHCP.md.

use std::net::Ipv4Addr;

use super::query;
use super::table::{Offer, Table};
use super::wire::{self, BROADCAST, DEFAULT_SIZE, HEADERS, Kind, Message, Request, code};
use crate::MacAddr;

/// Longest IP datagram on a link whose MTU is not known, in bytes.
const ETHERNET: u16 = 1500;

/// Where a reply goes, RFC 2131 section 4.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To everyone on the link.
    Broadcast,
    /// To one client, in a frame to its Ethernet address.
    Client {
        /// IP address the packet bears.
        address: Ipv4Addr,
        /// Ethernet address the frame bears.
        mac: MacAddr,
    },
    /// To a relay's server port.
    Relay(Ipv4Addr),
}

/// A reply, encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The DHCP message, padded.
    pub bytes: Vec<u8>,
    /// Where it goes.
    pub to: Destination,
    /// Whether it promises a lease, which must be on disk before.
    pub promises: bool,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the messages of RFC 2131")]
pub enum NoticeKind {
    Offered,
    Acked,
    Nak,
    Released,
    Declined,
    Informed,
    /// No address is left for the client.
    RangeFull,
    /// Another station uses the client's address.
    InUse,
    /// Another client came with the same client identifier before. Both are served by their own addresses.
    SharedIdentifier,
}

/// What happened, to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What.
    pub kind: NoticeKind,
    /// The client.
    pub mac: MacAddr,
    /// The address in question.
    pub address: Option<Ipv4Addr>,
    /// The name the address is reserved under; never what the client calls itself.
    pub hostname: Option<String>,
    /// The other one, of those kinds that have one.
    pub other: Option<MacAddr>,
}

/// What comes of a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The reply, if there is one.
    pub reply: Option<Reply>,
    /// What happened, if anything did.
    pub notices: Vec<Notice>,
    /// An address to ask for by ARP. Without a reply beside it, the packet is to be handled again once it is
    /// known that nobody answers, by [`Table::silent`], or who does, by [`super::heard`].
    pub probe: Option<Ipv4Addr>,
}

/// Handles one packet; `now` is in seconds after the epoch. Anything malformed is met with silence.
#[must_use]
pub fn handle(table: &mut Table, now: u64, packet: &[u8]) -> Outcome {
    let Some(request) = wire::decode(packet) else {
        return Outcome::default();
    };
    // Another link's clients get nothing here. Nor is anything sent to a relay that is not on this link: it
    // would leave the link, to wherever a guest likes.
    let giaddr = request.giaddr;
    if !giaddr.is_unspecified() && (!table.contains(giaddr) || giaddr == table.config.server) {
        return Outcome::default();
    }
    match request.kind {
        Kind::Discover => discover(table, now, &request),
        Kind::Request => requested(table, now, &request),
        Kind::Decline => declined(table, now, &request),
        Kind::Release if is_for_us(table, &request) != Some(false) => {
            table.release(request.mac, request.ciaddr, now);
            told(table, NoticeKind::Released, &request, Some(request.ciaddr))
        }
        Kind::Inform if table.contains(request.ciaddr) => {
            let answer = told(table, NoticeKind::Informed, &request, Some(request.ciaddr));
            Outcome {
                reply: Some(reply(table, &request, Kind::Ack, None)),
                ..answer
            }
        }
        Kind::LeaseQuery => Outcome {
            reply: query::answer(table, now, &request),
            ..Outcome::default()
        },
        _ => Outcome::default(),
    }
}

/// RFC 2131 section 4.3.1; with RFC 4039, the lease at once when the client can take it.
fn discover(table: &mut Table, now: u64, request: &Request) -> Outcome {
    let address = match table.offer(request.mac, request.requested, now) {
        Offer::Ready(address) => address,
        Offer::Unasked(address) => {
            return Outcome {
                probe: Some(address),
                ..Outcome::default()
            };
        }
        Offer::Full => return told(table, NoticeKind::RangeFull, request, None),
    };
    if request.rapid_commit {
        return acked(table, now, request, address);
    }
    Outcome {
        reply: Some(reply(table, request, Kind::Offer, Some(address))),
        ..told(table, NoticeKind::Offered, request, Some(address))
    }
}

/// The four states of RFC 2131 section 4.3.2.
fn requested(table: &mut Table, now: u64, request: &Request) -> Outcome {
    let is_new = request.ciaddr.is_unspecified();
    let wanted = match (is_for_us(table, request), request.requested) {
        // Another server was selected: what we offered is free again.
        (Some(false), _) => {
            table.retract(request.mac);
            return Outcome::default();
        }
        // SELECTING
        (Some(true), Some(wanted)) if is_new => wanted,
        // INIT-REBOOT: a client that is not known gets silence, unless it is plainly on the wrong network.
        (None, Some(wanted)) if is_new => match table.on_record(request.mac) {
            None if table.contains(wanted) => return Outcome::default(),
            Some(address) if address != wanted => return refused(table, request, wanted),
            _ => wanted,
        },
        // RENEWING and REBINDING, which a server need not tell apart. A client whose lease this server has lost
        // keeps its address if nobody else has a claim on it.
        (_, None) if !is_new => request.ciaddr,
        _ => return Outcome::default(),
    };
    acked(table, now, request, wanted)
}

/// The lease, or the refusal if the client cannot have it.
fn acked(table: &mut Table, now: u64, request: &Request, wanted: Ipv4Addr) -> Outcome {
    let seconds = table.config.lease_seconds(request.lease_time);
    if !table.contains(wanted) || !table.bind(request.mac, wanted, now, seconds) {
        return refused(table, request, wanted);
    }
    let mut outcome = told(table, NoticeKind::Acked, request, Some(wanted));
    let shared = request
        .client_id
        .as_ref()
        .and_then(|id| table.identifiers.shared(id, request.mac));
    if let Some(other) = shared {
        let about = Notice {
            other: Some(other),
            ..notice(
                table,
                NoticeKind::SharedIdentifier,
                request.mac,
                Some(wanted),
            )
        };
        outcome.notices.push(about);
    }
    outcome.reply = Some(reply(table, request, Kind::Ack, Some(wanted)));
    outcome
}

fn refused(table: &Table, request: &Request, wanted: Ipv4Addr) -> Outcome {
    Outcome {
        reply: Some(reply(table, request, Kind::Nak, None)),
        ..told(table, NoticeKind::Nak, request, Some(wanted))
    }
}

/// RFC 2131 section 4.3.3. A reserved address stays reserved; who else has it is asked for, to be told.
fn declined(table: &mut Table, now: u64, request: &Request) -> Outcome {
    // systemd-networkd puts it where a client says what it has.
    let has = Some(request.ciaddr).filter(|a| !a.is_unspecified());
    let Some(address) = request.requested.or(has) else {
        return Outcome::default();
    };
    if is_for_us(table, request) == Some(false)
        || table.on_record_or_offer(request.mac) != Some(address)
    {
        return Outcome::default();
    }
    table.decline(request.mac, address, now);
    Outcome {
        probe: Some(address),
        ..told(table, NoticeKind::Declined, request, Some(address))
    }
}

/// Whether the request names this server, another, or none.
fn is_for_us(table: &Table, request: &Request) -> Option<bool> {
    request.server.map(|server| server == table.config.server)
}

pub(super) fn notice(
    table: &Table,
    kind: NoticeKind,
    mac: MacAddr,
    address: Option<Ipv4Addr>,
) -> Notice {
    Notice {
        kind,
        mac,
        address,
        hostname: table.reservation(mac).map(|r| r.hostname.clone()),
        other: None,
    }
}

fn told(table: &Table, kind: NoticeKind, request: &Request, address: Option<Ipv4Addr>) -> Outcome {
    Outcome {
        notices: vec![notice(table, kind, request.mac, address)],
        ..Outcome::default()
    }
}

/// Fields and options as RFC 2131 table 3 has them.
fn reply(table: &Table, request: &Request, kind: Kind, yiaddr: Option<Ipv4Addr>) -> Reply {
    let is_nak = kind == Kind::Nak;
    let config = &table.config;
    let lease = yiaddr.map(|_| config.lease_seconds(request.lease_time));
    let mut options = vec![(code::SERVER_IDENTIFIER, config.server.octets().to_vec())];
    if let Some(seconds) = lease {
        options.push((code::LEASE_TIME, seconds.to_be_bytes().to_vec()));
    }
    if kind == Kind::Ack && request.kind == Kind::Discover {
        options.push((code::RAPID_COMMIT, Vec::new()));
    }
    // RFC 6842: what the client calls itself comes back.
    if let Some(id) = &request.client_id {
        options.push((code::CLIENT_IDENTIFIER, id.clone()));
    }
    if !is_nak {
        let hostname = table.reservation(request.mac).map(|r| r.hostname.as_str());
        options.extend(config.parameters(request.wanted.as_deref(), hostname, lease));
    }
    let is_relayed = !request.giaddr.is_unspecified();
    let message = Message {
        kind,
        xid: request.xid,
        // The relay broadcasts a refusal on the client's link, section 4.3.2.
        flags: request.flags | if is_nak && is_relayed { BROADCAST } else { 0 },
        ciaddr: if kind == Kind::Ack {
            request.ciaddr
        } else {
            Ipv4Addr::UNSPECIFIED
        },
        yiaddr: yiaddr.unwrap_or(Ipv4Addr::UNSPECIFIED),
        giaddr: request.giaddr,
        mac: request.mac,
        options,
        relay_agent: request.relay_agent.clone(),
    };
    Reply {
        bytes: message.encode(longest(table, request)),
        to: destination(request, is_nak, yiaddr),
        // A reserved address is promised for ever, by the record of the cluster.
        promises: kind == Kind::Ack && yiaddr.is_some() && table.reservation(request.mac).is_none(),
    }
}

/// How many bytes of message the client takes, RFC 2132 section 9.10, and the link carries.
pub(super) fn longest(table: &Table, request: &Request) -> usize {
    let link = table.config.mtu.unwrap_or(ETHERNET).max(DEFAULT_SIZE);
    let client = request.maximum_size.unwrap_or(DEFAULT_SIZE);
    usize::from(client.max(DEFAULT_SIZE).min(link) - HEADERS)
}

fn destination(request: &Request, is_nak: bool, yiaddr: Option<Ipv4Addr>) -> Destination {
    if !request.giaddr.is_unspecified() {
        return Destination::Relay(request.giaddr);
    }
    let (ciaddr, mac) = (request.ciaddr, request.mac);
    match yiaddr {
        _ if is_nak => Destination::Broadcast,
        _ if !ciaddr.is_unspecified() => Destination::Client {
            address: ciaddr,
            mac,
        },
        Some(address) if request.flags & BROADCAST == 0 => Destination::Client { address, mac },
        _ => Destination::Broadcast,
    }
}

#[cfg(test)]
#[path = "handle_tests/mod.rs"]
pub(super) mod tests;
