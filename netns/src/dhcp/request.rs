//! A message from a client or a relay, RFC 2131 section 2, as dhcproto reads it.

use std::net::Ipv4Addr;

use dhcproto::Decodable as _;
use dhcproto::v4::{self, DhcpOption, MessageType, OptionCode};

use super::options::{HEADER, RawOptions};
use crate::MacAddr;

const BOOTREQUEST: u8 = 1;
/// Hardware type and address length of Ethernet.
const ETHERNET: [u8; 2] = [1, 6];

/// A request: header and options as dhcproto's types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) kind: MessageType,
    pub(super) mac: MacAddr,
    pub(super) message: v4::Message,
    /// The value of option 82, which the reply repeats byte for byte; dhcproto would sort its suboptions.
    pub(super) relay_agent: Option<Vec<u8>>,
}

impl Request {
    /// Reads a packet; `None` for anything that is not a request: another op, hardware or cookie, no message type, an
    /// option that runs over the end of its field, an Ethernet address that no station has.
    ///
    /// A lease query may have no Ethernet address, as all zero.
    pub(super) fn read(packet: &[u8]) -> Option<Self> {
        let (header, field) = packet.split_at_checked(HEADER)?;
        let [op, htype, hlen, ..] = *header else {
            return None;
        };
        if op != BOOTREQUEST || header.get(HEADER - v4::MAGIC.len()..)? != v4::MAGIC {
            return None;
        }
        let options = RawOptions::gather(header, field)?;
        let mut bytes = options.message(header);
        // dhcproto slices the Ethernet address by this length without a check.
        *bytes.get_mut(2)? = ETHERNET[1];
        let message = v4::Message::from_bytes(&bytes).ok()?;
        let kind = message.opts().msg_type()?;
        let mac = MacAddr(message.chaddr().try_into().ok()?);
        let is_ethernet = [htype, hlen] == ETHERNET;
        use MessageType::{Decline, Discover, Inform, LeaseQuery, Release, Request};
        let is_valid = match kind {
            Discover | Request | Decline | Release | Inform => is_ethernet && mac.is_unicast(),
            // A query by address or identifier names no hardware, RFC 4388 section 6.2.
            LeaseQuery => is_ethernet || (htype == 0 || hlen == 0) && mac == MacAddr([0; 6]),
            _ => false,
        };
        // An option 82 without a value does not count, RFC 3046 section 2.0.
        let relay_agent = options.get(OptionCode::RelayAgentInformation);
        let relay_agent = relay_agent.filter(|value| (1..=255).contains(&value.len()));
        is_valid.then(|| Self {
            kind,
            mac,
            message,
            relay_agent: relay_agent.map(<[u8]>::to_vec),
        })
    }

    pub(super) fn requested_address(&self) -> Option<Ipv4Addr> {
        match self.option(OptionCode::RequestedIpAddress)? {
            DhcpOption::RequestedIpAddress(address) => Some(*address),
            _ => None,
        }
    }

    pub(super) fn server(&self) -> Option<Ipv4Addr> {
        match self.option(OptionCode::ServerIdentifier)? {
            DhcpOption::ServerIdentifier(address) => Some(*address),
            _ => None,
        }
    }

    /// The lease time that the client requests, in seconds.
    pub(super) fn lease_time(&self) -> Option<u32> {
        match self.option(OptionCode::AddressLeaseTime)? {
            DhcpOption::AddressLeaseTime(seconds) => Some(*seconds),
            _ => None,
        }
    }

    /// The parameters that the client requests, in its order.
    pub(super) fn parameters(&self) -> Option<&[OptionCode]> {
        match self.option(OptionCode::ParameterRequestList)? {
            DhcpOption::ParameterRequestList(codes) => Some(codes),
            _ => None,
        }
    }

    /// Longest IP datagram that the client accepts, in bytes.
    pub(super) fn maximum_size(&self) -> Option<u16> {
        match self.option(OptionCode::MaxMessageSize)? {
            DhcpOption::MaxMessageSize(size) => Some(*size),
            _ => None,
        }
    }

    pub(super) fn client_id(&self) -> Option<&[u8]> {
        match self.option(OptionCode::ClientIdentifier)? {
            DhcpOption::ClientIdentifier(id) => Some(id),
            _ => None,
        }
    }

    /// Whether the client accepts a lease at once, RFC 4039.
    pub(super) fn rapid_commit(&self) -> bool {
        self.option(OptionCode::RapidCommit).is_some()
    }

    /// Whether a relay sent it.
    pub(super) fn is_relayed(&self) -> bool {
        !self.message.giaddr().is_unspecified()
    }

    fn option(&self, code: OptionCode) -> Option<&DhcpOption> {
        self.message.opts().get(code)
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
