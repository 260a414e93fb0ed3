//! Writes and reads DHCP messages for tests without dhcproto, whose codec the server uses. smoltcp handles the header and
//! the options field. A reader of its own checks the rules of RFC 2131 section 4.1 that smoltcp does not check.

#![allow(dead_code, reason = "each test program uses a part")]

use std::net::Ipv4Addr;

use smoltcp::wire::{ArpHardware, DhcpFlags, DhcpOpCode, DhcpOption, DhcpPacket, EthernetAddress};

/// Values of option 53.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MessageType {
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

impl MessageType {
    const ALL: [Self; 12] = [
        Self::Discover,
        Self::Offer,
        Self::Request,
        Self::Decline,
        Self::Ack,
        Self::Nak,
        Self::Release,
        Self::Inform,
        Self::LeaseQuery,
        Self::LeaseUnassigned,
        Self::LeaseUnknown,
        Self::LeaseActive,
    ];
}

/// An option's code and value.
pub(crate) type Code = u8;
pub(crate) type Value = (Code, Vec<u8>);

pub(crate) fn requested(address: Ipv4Addr) -> Value {
    (50, address.octets().to_vec())
}

pub(crate) fn lease_time(seconds: u32) -> Value {
    (51, seconds.to_be_bytes().to_vec())
}

pub(crate) fn server(address: Ipv4Addr) -> Value {
    (54, address.octets().to_vec())
}

pub(crate) fn parameters(codes: &[Code]) -> Value {
    (55, codes.to_vec())
}

pub(crate) fn client_id(id: &[u8]) -> Value {
    (61, id.to_vec())
}

/// A request of a client or relay.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    mac: [u8; 6],
    xid: u32,
    ciaddr: Ipv4Addr,
    giaddr: Ipv4Addr,
    is_broadcast: bool,
    options: Vec<Value>,
}

impl Request {
    pub(crate) fn new(kind: MessageType, mac: [u8; 6], xid: u32, options: &[Value]) -> Self {
        let kind = (53, vec![kind as u8]);
        Self {
            mac,
            xid,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            giaddr: Ipv4Addr::UNSPECIFIED,
            is_broadcast: false,
            options: std::iter::once(kind)
                .chain(options.iter().cloned())
                .collect(),
        }
    }

    pub(crate) fn set_ciaddr(&mut self, address: Ipv4Addr) -> &mut Self {
        self.ciaddr = address;
        self
    }

    pub(crate) fn set_giaddr(&mut self, address: Ipv4Addr) -> &mut Self {
        self.giaddr = address;
        self
    }

    pub(crate) fn set_broadcast(&mut self) -> &mut Self {
        self.is_broadcast = true;
        self
    }

    /// The message, with an end option and no padding.
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        let length: usize = self.options.iter().map(|(_, v)| 2 + v.len()).sum();
        let mut bytes = vec![0; 240 + length + 1];
        let mut packet = DhcpPacket::new_unchecked(&mut bytes);
        packet.set_opcode(DhcpOpCode::Request);
        packet.set_hardware_type(ArpHardware::Ethernet);
        packet.set_hardware_len(6);
        packet.set_transaction_id(self.xid);
        packet.set_client_hardware_address(EthernetAddress(self.mac));
        packet.set_client_ip(self.ciaddr);
        packet.set_relay_agent_ip(self.giaddr);
        packet.set_magic_number(0x6382_5363);
        if self.is_broadcast {
            packet.set_flags(DhcpFlags::BROADCAST);
        }
        let mut options = packet.options_mut();
        for (kind, data) in &self.options {
            options.emit(DhcpOption { kind: *kind, data }).unwrap();
        }
        options.end().unwrap();
        bytes
    }
}

/// A reply that follows the RFCs.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) kind: MessageType,
    pub(crate) xid: u32,
    pub(crate) is_broadcast: bool,
    pub(crate) ciaddr: Ipv4Addr,
    pub(crate) yiaddr: Ipv4Addr,
    pub(crate) siaddr: Ipv4Addr,
    pub(crate) giaddr: Ipv4Addr,
    pub(crate) chaddr: [u8; 6],
    /// In the order of the message: options field, `file`, `sname`. Parts of one option are joined.
    pub(crate) options: Vec<Value>,
}

impl Reply {
    /// Reads a reply.
    ///
    /// # Errors
    /// The message breaks a rule; the error names it.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        let packet = DhcpPacket::new_checked(bytes).map_err(|e| e.to_string())?;
        let check = |holds: bool, rule: &str| holds.then_some(()).ok_or(rule.to_owned());
        check(bytes.len() >= 300, "RFC 1542, 2.1: at least 300 bytes")?;
        check(
            packet.opcode() == DhcpOpCode::Reply,
            "RFC 2131, 2: op is BOOTREPLY",
        )?;
        let hardware = (packet.hardware_type(), packet.hardware_len());
        check(
            hardware == (ArpHardware::Ethernet, 6),
            "RFC 2131, 2: Ethernet",
        )?;
        check(
            bytes[34..44] == [0; 10],
            "RFC 2131, 2: chaddr is padded with zeros",
        )?;
        check(
            (packet.hops(), packet.secs()) == (0, 0),
            "RFC 2131, table 3",
        )?;
        check(
            packet.magic_number() == 0x6382_5363,
            "RFC 2131, 3: the cookie",
        )?;
        let field = options_of(&bytes[240..])?;
        let by_smoltcp = packet.options().map(|o| (o.kind, o.data.to_vec()));
        check(
            by_smoltcp.eq(field.iter().cloned()),
            "smoltcp reads other options",
        )?;
        check(
            field.first().is_some_and(|(c, _)| *c == 53),
            "the type comes first",
        )?;
        let find = |code| field.iter().find(|(c, _)| *c == code).map(|(_, v)| v);
        let overload = match find(52).map(Vec::as_slice) {
            None => 0,
            Some([fields @ 1..=3]) => *fields,
            Some(_) => return Err("RFC 2132, 9.3: option 52 is 1, 2 or 3".to_owned()),
        };
        let agent = field.iter().position(|(c, _)| *c == 82);
        check(
            agent.is_none_or(|at| at + 1 == field.len()),
            "RFC 3046, 2.2: agent information comes last",
        )?;
        let mut parts = field.clone();
        for (bit, range) in [(1, 108..236), (2, 44..108)] {
            if overload & bit != 0 {
                parts.extend(options_of(&bytes[range])?);
            } else {
                check(
                    bytes[range].iter().all(|b| *b == 0),
                    "a name that nobody set",
                )?;
            }
        }
        let mut options: Vec<Value> = Vec::new();
        for (code, value) in parts {
            match options.iter_mut().find(|(c, _)| *c == code) {
                // RFC 3396, section 5: a value that is too long for one option is split.
                Some((_, joined)) if joined.len() % 255 == 0 => joined.extend(value),
                Some(_) => return Err(format!("RFC 2131, 4.1: option {code} comes twice")),
                None => options.push((code, value)),
            }
        }
        let kind = match find(53).map(Vec::as_slice) {
            Some([kind]) => MessageType::ALL.into_iter().find(|k| *k as u8 == *kind),
            _ => None,
        };
        Ok(Self {
            kind: kind.ok_or("RFC 2132, 9.6: no message type")?,
            xid: packet.transaction_id(),
            is_broadcast: packet.flags().contains(DhcpFlags::BROADCAST),
            ciaddr: packet.client_ip(),
            yiaddr: packet.your_ip(),
            siaddr: packet.server_ip(),
            giaddr: packet.relay_agent_ip(),
            chaddr: packet.client_hardware_address().0,
            options,
        })
    }

    pub(crate) fn option(&self, code: Code) -> Option<&[u8]> {
        let (_, value) = self.options.iter().find(|(c, _)| *c == code)?;
        Some(value)
    }

    /// An option whose value is 16 or 32 bits.
    pub(crate) fn number(&self, code: Code) -> Option<u32> {
        let value = self.option(code)?;
        assert!(matches!(value.len(), 2 | 4), "option {code}: {value:?}");
        Some(value.iter().fold(0, |n, b| n << 8 | u32::from(*b)))
    }

    pub(crate) fn codes(&self) -> Vec<Code> {
        self.options.iter().map(|(code, _)| *code).collect()
    }
}

/// The options of one field, which end with an end option and zeros.
fn options_of(field: &[u8]) -> Result<Vec<Value>, String> {
    let mut options = Vec::new();
    let mut rest = field;
    loop {
        match rest {
            [255, padding @ ..] if padding.iter().all(|b| *b == 0) => return Ok(options),
            [255, ..] => return Err("RFC 2132, 3.2: something follows the end".to_owned()),
            [0, more @ ..] => rest = more,
            [code, length, more @ ..] => {
                let value = more.get(..usize::from(*length));
                let value = value.ok_or(format!("option {code} runs over the end of its field"))?;
                options.push((*code, value.to_vec()));
                rest = &more[value.len()..];
            }
            _ => return Err("RFC 2131, 4.1: a field without an end option".to_owned()),
        }
    }
}
