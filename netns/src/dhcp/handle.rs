//! Handles one packet and returns at most one reply: RFC 2131 section 4.3. docs/DHCP.md covers it sentence by sentence.

use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, MessageType};

use super::lease_query;
use super::message::ReplyMessage;
use super::notice::{Notice, NoticeKind};
use super::reply::{Reply, destination};
use super::request::Request;
use super::table::{Offer, Table};

/// The outcome of one packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The reply, if any.
    pub reply: Option<Reply>,
    /// Notices about the client.
    pub notices: Vec<Notice>,
    /// An address to probe by ARP. Without a reply beside it, the packet has to be handled again after the probe: after
    /// [`Table::unanswered`], or after [`super::observe_arp`] of an answer.
    pub probe: Option<Ipv4Addr>,
}

/// Handles one packet; `now` is in seconds after the epoch. A malformed packet has an empty outcome.
#[must_use]
pub fn handle(table: &mut Table, now: u64, packet: &[u8]) -> Outcome {
    let Some(request) = Request::read(packet) else {
        return Outcome::default();
    };
    // A relay that is not on this link gets no reply: a guest could make the server send packets to any address.
    let giaddr = request.message.giaddr();
    if !giaddr.is_unspecified() && (!table.contains(giaddr) || giaddr == table.config.server) {
        return Outcome::default();
    }
    let ciaddr = request.message.ciaddr();
    match request.kind {
        MessageType::Discover => discover(table, now, &request),
        MessageType::Request => request_address(table, now, &request),
        MessageType::Decline => decline(table, now, &request),
        MessageType::Release if is_for_us(table, &request) != Some(false) => {
            table.release(request.mac, ciaddr, now);
            noted(table, NoticeKind::Released, &request, Some(ciaddr))
        }
        MessageType::Inform if table.contains(ciaddr) => Outcome {
            reply: reply(table, &request, MessageType::Ack, None),
            ..noted(table, NoticeKind::Informed, &request, Some(ciaddr))
        },
        MessageType::LeaseQuery => Outcome {
            reply: lease_query::answer(table, now, &request),
            ..Outcome::default()
        },
        _ => Outcome::default(),
    }
}

/// RFC 2131 section 4.3.1. A client that accepts it gets its lease at once, RFC 4039.
fn discover(table: &mut Table, now: u64, request: &Request) -> Outcome {
    let address = match table.offer(request.mac, request.requested_address(), now) {
        Offer::Ready(address) => address,
        Offer::Unprobed(address) => {
            return Outcome {
                probe: Some(address),
                ..Outcome::default()
            };
        }
        Offer::Full => return noted(table, NoticeKind::RangeFull, request, None),
    };
    if request.rapid_commit() {
        return bind(table, now, request, address);
    }
    Outcome {
        reply: reply(table, request, MessageType::Offer, Some(address)),
        ..noted(table, NoticeKind::Offered, request, Some(address))
    }
}

/// The four states of RFC 2131 section 4.3.2.
fn request_address(table: &mut Table, now: u64, request: &Request) -> Outcome {
    let ciaddr = request.message.ciaddr();
    let is_new = ciaddr.is_unspecified();
    let wanted = match (is_for_us(table, request), request.requested_address()) {
        // The client selected another server, so its offer ends.
        (Some(false), _) => {
            table.retract(request.mac);
            return Outcome::default();
        }
        // SELECTING
        (Some(true), Some(wanted)) if is_new => wanted,
        // INIT-REBOOT: a client without a record gets no reply, unless it is on the wrong network.
        (None, Some(wanted)) if is_new => match table.on_record(request.mac) {
            None if table.contains(wanted) => return Outcome::default(),
            Some(address) if address != wanted => return refuse(table, request, wanted),
            _ => wanted,
        },
        // RENEWING and REBINDING. A client whose lease is not on record keeps its address if it is free.
        (_, None) if !is_new => ciaddr,
        _ => return Outcome::default(),
    };
    bind(table, now, request, wanted)
}

/// Binds an address and acknowledges it, or refuses it when it is not available for the client.
fn bind(table: &mut Table, now: u64, request: &Request, wanted: Ipv4Addr) -> Outcome {
    let seconds = table.config.lease_seconds(request.lease_time());
    if !table.contains(wanted) || !table.bind(request.mac, wanted, now, seconds) {
        return refuse(table, request, wanted);
    }
    let mut outcome = noted(table, NoticeKind::Acked, request, Some(wanted));
    let shared = request
        .client_id()
        .and_then(|id| table.identifiers.shared(id, request.mac));
    if let Some(other) = shared {
        let kind = NoticeKind::SharedIdentifier;
        outcome.notices.push(Notice {
            other: Some(other),
            ..Notice::new(table, kind, request.mac, Some(wanted))
        });
    }
    outcome.reply = reply(table, request, MessageType::Ack, Some(wanted));
    outcome
}

fn refuse(table: &Table, request: &Request, wanted: Ipv4Addr) -> Outcome {
    Outcome {
        reply: reply(table, request, MessageType::Nak, None),
        ..noted(table, NoticeKind::Nak, request, Some(wanted))
    }
}

/// RFC 2131 section 4.3.3. A reserved address stays reserved; a probe finds the station that uses it.
fn decline(table: &mut Table, now: u64, request: &Request) -> Outcome {
    // systemd-networkd before 260 names the address in `ciaddr`.
    let ciaddr = Some(request.message.ciaddr()).filter(|a| !a.is_unspecified());
    let Some(address) = request.requested_address().or(ciaddr) else {
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
        ..noted(table, NoticeKind::Declined, request, Some(address))
    }
}

/// Whether the request names this server, another, or none.
fn is_for_us(table: &Table, request: &Request) -> Option<bool> {
    request.server().map(|server| server == table.config.server)
}

/// An outcome with one notice and no reply.
fn noted(table: &Table, kind: NoticeKind, request: &Request, address: Option<Ipv4Addr>) -> Outcome {
    Outcome {
        notices: vec![Notice::new(table, kind, request.mac, address)],
        ..Outcome::default()
    }
}

/// Fields and options as RFC 2131 table 3 has them.
fn reply(
    table: &Table,
    request: &Request,
    kind: MessageType,
    yiaddr: Option<Ipv4Addr>,
) -> Option<Reply> {
    let config = &table.config;
    let lease = yiaddr.map(|_| config.lease_seconds(request.lease_time()));
    let mut message = ReplyMessage::new(kind, request);
    message
        .header
        .set_yiaddr(yiaddr.unwrap_or(Ipv4Addr::UNSPECIFIED));
    if kind == MessageType::Ack {
        message.header.set_ciaddr(request.message.ciaddr());
    }
    // The relay broadcasts a refusal on the client's link, section 4.3.2.
    if kind == MessageType::Nak && request.is_relayed() {
        let flags = request.message.flags().set_broadcast();
        message.header.set_flags(flags);
    }
    let options = &mut message.options;
    options.push(DhcpOption::ServerIdentifier(config.server));
    options.extend(lease.map(DhcpOption::AddressLeaseTime));
    if kind == MessageType::Ack && request.kind == MessageType::Discover {
        options.push(DhcpOption::RapidCommit);
    }
    // RFC 6842: the reply repeats the client's identifier.
    if let Some(id) = request.client_id() {
        options.push(DhcpOption::ClientIdentifier(id.to_vec()));
    }
    if kind != MessageType::Nak {
        let hostname = table.reservation(request.mac).map(|r| r.hostname.as_str());
        options.extend(config.parameters(request.parameters(), hostname, lease));
    }
    // A reservation is in the cluster's record, and needs no lease on disk.
    let promises =
        kind == MessageType::Ack && yiaddr.is_some() && table.reservation(request.mac).is_none();
    let to = destination(request, kind, yiaddr);
    Some(Reply {
        promises,
        ..Reply::new(table, request, message, to)?
    })
}

#[cfg(test)]
#[path = "handle_tests/mod.rs"]
pub(super) mod tests;
