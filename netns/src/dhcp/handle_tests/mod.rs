//! RFC by RFC. dhcproto, which is not ours, writes the requests and reads the replies.

mod addresses;
mod decline_release_inform;
mod hostile;
mod relays;
mod replies;
mod states;

use std::time::Duration;

use dhcproto::v4::{self, DhcpOption, Flags, MessageType, OptionCode};
use dhcproto::{Decodable, Encodable};

use super::super::{Config, Reservation};
use super::*;

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 80, 1);
const NODE: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 1]);
const NODE_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 80, 2);
const GUEST: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 9]);
const STRANGER: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 10]);
const FREE: Ipv4Addr = Ipv4Addr::new(192, 168, 80, 50);
const NONE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const HOUR: u32 = 3600;

pub(in super::super) fn config() -> Config {
    Config {
        server: SERVER,
        subnet: "192.168.80.0/24".parse().unwrap(),
        router: Some(SERVER),
        routes: Vec::new(),
        dns: vec![SERVER],
        domain: Some("k80.internal".to_owned()),
        mtu: Some(1400),
        lease_time: Duration::from_secs(HOUR.into()),
        probe: false,
    }
}

fn table_of(config: Config) -> Table {
    let node = Reservation {
        mac: NODE,
        address: NODE_ADDRESS,
        hostname: "master0".to_owned(),
    };
    Table::new(config, vec![node])
}

fn table() -> Table {
    table_of(config())
}

fn message(kind: MessageType, mac: MacAddr, options: &[DhcpOption]) -> v4::Message {
    let mut message = v4::Message::default();
    message.set_xid(7).set_chaddr(&mac.0);
    message.opts_mut().insert(DhcpOption::MessageType(kind));
    for option in options {
        message.opts_mut().insert(option.clone());
    }
    message
}

fn at(table: &mut Table, now: u64, message: &v4::Message) -> Outcome {
    handle(table, now, &message.to_vec().unwrap())
}

fn ask(table: &mut Table, message: &v4::Message) -> Option<(v4::Message, Destination)> {
    let reply = at(table, 1000, message).reply?;
    assert!(reply.bytes.len() >= 300);
    Some((v4::Message::from_bytes(&reply.bytes).unwrap(), reply.to))
}

fn kind(message: &v4::Message) -> MessageType {
    message.opts().msg_type().unwrap()
}

fn requested(address: Ipv4Addr) -> DhcpOption {
    DhcpOption::RequestedIpAddress(address)
}

fn ours() -> DhcpOption {
    DhcpOption::ServerIdentifier(SERVER)
}

/// A lease for a client that nothing is reserved for.
fn lease(table: &mut Table, mac: MacAddr, address: Ipv4Addr) {
    let request = message(MessageType::Request, mac, &[requested(address), ours()]);
    let (ack, _) = ask(table, &request).unwrap();
    assert_eq!((kind(&ack), ack.yiaddr()), (MessageType::Ack, address));
}

/// The codes in the options field, in their order.
fn codes(bytes: &[u8]) -> Vec<u8> {
    let mut rest = &bytes[240..];
    let mut codes = Vec::new();
    while let [code, length, more @ ..] = rest
        && *code != 255
    {
        codes.push(*code);
        rest = &more[usize::from(*length)..];
    }
    codes
}
