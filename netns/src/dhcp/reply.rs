//! An encoded reply, and its destination.

use std::net::Ipv4Addr;

use dhcproto::v4::MessageType;

use super::message::ReplyMessage;
use super::request::Request;
use super::table::Table;
use crate::MacAddr;

/// Longest IP datagram on a link whose MTU is not known, in bytes.
const ETHERNET: u16 = 1500;
/// Longest IP datagram that every client accepts, in bytes, RFC 2131 section 2.
const DEFAULT_SIZE: u16 = 576;
/// Bytes of the IP and UDP headers, which count in the maximum message size.
const HEADERS: u16 = 28;

/// The destination of a reply, RFC 2131 section 4.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To all stations on the link.
    Broadcast,
    /// To one client, in a frame to its Ethernet address.
    Client {
        /// The packet's destination.
        address: Ipv4Addr,
        /// The frame's destination.
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
    /// Its destination.
    pub to: Destination,
    /// Whether it promises a lease, which has to be on disk before the reply is sent.
    pub promises: bool,
}

impl Reply {
    /// Encodes the reply to a request; `None` when dhcproto cannot.
    pub(super) fn new(
        table: &Table,
        request: &Request,
        message: ReplyMessage,
        to: Destination,
    ) -> Option<Self> {
        let bytes = message.encode(longest(table, request)).ok()?;
        let promises = false;
        Some(Self {
            bytes,
            to,
            promises,
        })
    }
}

/// The longest message, in bytes, that the client accepts (RFC 2132 section 9.10) and the link carries.
fn longest(table: &Table, request: &Request) -> usize {
    let link = table.config.mtu.unwrap_or(ETHERNET).max(DEFAULT_SIZE);
    let client = request.maximum_size().unwrap_or(DEFAULT_SIZE);
    usize::from(client.max(DEFAULT_SIZE).min(link) - HEADERS)
}

/// The destination of a reply of this kind; `yiaddr` is the client's address in it.
pub(super) fn destination(
    request: &Request,
    kind: MessageType,
    yiaddr: Option<Ipv4Addr>,
) -> Destination {
    if request.is_relayed() {
        return Destination::Relay(request.message.giaddr());
    }
    let (ciaddr, mac) = (request.message.ciaddr(), request.mac);
    match yiaddr {
        _ if kind == MessageType::Nak => Destination::Broadcast,
        _ if !ciaddr.is_unspecified() => Destination::Client {
            address: ciaddr,
            mac,
        },
        Some(address) if !request.message.flags().broadcast() => {
            Destination::Client { address, mac }
        }
        _ => Destination::Broadcast,
    }
}
