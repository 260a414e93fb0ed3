//! One request in, at most one reply out: RFC 2131 section 4.3.

use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, Flags, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Encodable};

use super::table::Table;
use crate::MacAddr;

/// Smallest reply: what a BOOTP client expects, RFC 1542 section 2.1.
const SMALLEST: usize = 300;
/// Fixed fields and cookie, RFC 2131 section 2.
const FIXED: usize = 240;
const COOKIE: [u8; 4] = [99, 130, 83, 99];

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
}

/// What comes of a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The reply, if there is one.
    pub reply: Option<Reply>,
    /// What happened, if anything did.
    pub notice: Option<Notice>,
}

/// Handles one packet; `now` is in seconds after the epoch. Anything malformed is met with silence.
#[must_use]
pub fn handle(table: &mut Table, now: u64, packet: &[u8]) -> Outcome {
    let Some(request) = decode(packet) else {
        return Outcome::default();
    };
    let Ok(chaddr) = <[u8; 6]>::try_from(request.chaddr()) else {
        return Outcome::default();
    };
    let mac = MacAddr(chaddr);
    match request.opts().msg_type() {
        Some(MessageType::Discover) => discover(table, now, &request, mac),
        Some(MessageType::Request) => requested(table, now, &request, mac),
        Some(MessageType::Decline) => {
            let address = requested_address(&request);
            if for_us(table, &request) != Some(false)
                && let Some(address) = address
            {
                table.decline(mac, address, now);
            }
            told(table, NoticeKind::Declined, mac, address)
        }
        Some(MessageType::Release) => {
            let address = request.ciaddr();
            if for_us(table, &request) != Some(false) {
                table.release(mac, Some(address));
            }
            told(table, NoticeKind::Released, mac, Some(address))
        }
        Some(MessageType::Inform) if !request.ciaddr().is_unspecified() => {
            let mut answer = told(table, NoticeKind::Informed, mac, Some(request.ciaddr()));
            answer.reply = reply(table, &request, mac, MessageType::Ack, None);
            answer
        }
        _ => Outcome::default(),
    }
}

/// What the decoder must not see, it does not see: it panics on a long hlen and on options whose
/// length is not what it should be, and ignores the cookie.
fn decode(packet: &[u8]) -> Option<Message> {
    let is_ours = packet.len() >= FIXED
        && packet.get(..3)? == [1, 1, 6]
        && packet.get(FIXED - 4..FIXED)? == COOKIE;
    is_ours.then(|| Message::from_bytes(&with_known_options(packet)?).ok())?
}

/// The packet with only those options that are looked at, each of a length that it can have; `None`
/// when an option runs over the end.
fn with_known_options(packet: &[u8]) -> Option<Vec<u8>> {
    const END: u8 = 255;
    let (fixed, mut rest) = packet.split_at_checked(FIXED)?;
    let mut known = fixed.to_vec();
    while let [code, more @ ..] = rest {
        rest = more;
        if *code == 0 {
            continue;
        }
        if *code == END {
            break;
        }
        let (length, more) = rest.split_first()?;
        let (value, more) = more.split_at_checked(usize::from(*length))?;
        rest = more;
        let is_known = match code {
            50 | 54 => value.len() == 4, // requested address, server identifier
            53 => value.len() == 1,      // message type
            61 => value.len() >= 2,      // client identifier
            _ => false,
        };
        if is_known {
            known.extend([*code, *length]);
            known.extend(value);
        }
    }
    known.push(END);
    Some(known)
}

fn discover(table: &mut Table, now: u64, request: &Message, mac: MacAddr) -> Outcome {
    let Some(address) = table.offer(mac, requested_address(request), now) else {
        return Outcome::default();
    };
    let mut answer = told(table, NoticeKind::Offered, mac, Some(address));
    answer.reply = reply(table, request, mac, MessageType::Offer, Some(address));
    answer
}

/// The four states of RFC 2131 section 4.3.2.
fn requested(table: &mut Table, now: u64, request: &Message, mac: MacAddr) -> Outcome {
    let ciaddr = request.ciaddr();
    let (wanted, known_client_only) = match (for_us(table, request), requested_address(request)) {
        // Another server was selected: what we offered is free again.
        (Some(false), _) => {
            if table.held(mac, now).is_none() {
                table.release(mac, None);
            }
            return Outcome::default();
        }
        (Some(true), Some(address)) => (address, false),
        (None, Some(address)) if ciaddr.is_unspecified() => (address, true), // INIT-REBOOT
        (None, _) if !ciaddr.is_unspecified() => (ciaddr, true),             // RENEWING, REBINDING
        _ => return Outcome::default(),
    };
    // A client that is not known gets silence, unless it is plainly on the wrong network.
    if known_client_only && table.held(mac, now).is_none() && table.contains(wanted) {
        return Outcome::default();
    }
    if table.contains(wanted) && table.bind(mac, wanted, now) {
        let mut answer = told(table, NoticeKind::Acked, mac, Some(wanted));
        answer.reply = reply(table, request, mac, MessageType::Ack, Some(wanted));
        return answer;
    }
    let mut answer = told(table, NoticeKind::Nak, mac, Some(wanted));
    answer.reply = reply(table, request, mac, MessageType::Nak, None);
    answer
}

/// Whether the request names this server, another, or none.
fn for_us(table: &Table, request: &Message) -> Option<bool> {
    match request.opts().get(OptionCode::ServerIdentifier) {
        Some(DhcpOption::ServerIdentifier(server)) => Some(*server == table.config.server),
        _ => None,
    }
}

fn requested_address(request: &Message) -> Option<Ipv4Addr> {
    match request.opts().get(OptionCode::RequestedIpAddress) {
        Some(DhcpOption::RequestedIpAddress(address)) => Some(*address),
        _ => None,
    }
}

fn told(table: &Table, kind: NoticeKind, mac: MacAddr, address: Option<Ipv4Addr>) -> Outcome {
    let hostname = table.reservation(mac).map(|r| r.hostname.clone());
    Outcome {
        reply: None,
        notice: Some(Notice {
            kind,
            mac,
            address,
            hostname,
        }),
    }
}

/// Fields as RFC 2131 table 3 has them.
fn reply(
    table: &Table,
    request: &Message,
    mac: MacAddr,
    kind: MessageType,
    yiaddr: Option<Ipv4Addr>,
) -> Option<Reply> {
    let is_nak = kind == MessageType::Nak;
    let mut message = Message::default();
    message
        .set_opcode(Opcode::BootReply)
        .set_xid(request.xid())
        .set_flags(request.flags());
    message.set_giaddr(request.giaddr()).set_chaddr(&mac.0);
    message.set_yiaddr(yiaddr.unwrap_or(Ipv4Addr::UNSPECIFIED));
    if kind == MessageType::Ack {
        message.set_ciaddr(request.ciaddr());
    }
    let config = &table.config;
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(kind));
    options.insert(DhcpOption::ServerIdentifier(config.server));
    // RFC 6842: what the client calls itself comes back.
    if let Some(id) = request.opts().get(OptionCode::ClientIdentifier) {
        options.insert(id.clone());
    }
    if !is_nak {
        options.insert(DhcpOption::SubnetMask(config.subnet.mask()));
        options.insert(DhcpOption::BroadcastAddr(config.subnet.broadcast()));
        if let Some(router) = config.router {
            options.insert(DhcpOption::Router(vec![router]));
        }
        if !config.dns.is_empty() {
            options.insert(DhcpOption::DomainNameServer(config.dns.clone()));
        }
        if let Some(domain) = &config.domain {
            options.insert(DhcpOption::DomainName(domain.clone()));
        }
        if let Some(mtu) = config.mtu {
            options.insert(DhcpOption::InterfaceMtu(mtu));
        }
        if let Some(reservation) = table.reservation(mac) {
            options.insert(DhcpOption::Hostname(reservation.hostname.clone()));
        }
    }
    if yiaddr.is_some() {
        let seconds = u32::try_from(config.lease_time.as_secs()).unwrap_or(u32::MAX);
        options.insert(DhcpOption::AddressLeaseTime(seconds));
        options.insert(DhcpOption::Renewal(seconds / 2));
        options.insert(DhcpOption::Rebinding(seconds / 8 * 7));
    }
    let mut bytes = message.to_vec().ok()?;
    bytes.resize(bytes.len().max(SMALLEST), 0);
    Some(Reply {
        bytes,
        to: destination(request, mac, is_nak, yiaddr),
    })
}

fn destination(
    request: &Message,
    mac: MacAddr,
    is_nak: bool,
    yiaddr: Option<Ipv4Addr>,
) -> Destination {
    let giaddr = request.giaddr();
    if !giaddr.is_unspecified() {
        return Destination::Relay(giaddr);
    }
    let wants_broadcast = request.flags() != Flags::default() && request.flags().broadcast();
    match (request.ciaddr(), yiaddr) {
        _ if is_nak => Destination::Broadcast,
        (ciaddr, _) if !ciaddr.is_unspecified() => Destination::Client {
            address: ciaddr,
            mac,
        },
        (_, Some(address)) if !wants_broadcast => Destination::Client { address, mac },
        _ => Destination::Broadcast,
    }
}

#[cfg(test)]
#[path = "handle_tests.rs"]
mod tests;
