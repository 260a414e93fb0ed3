//! Tests of the handler, by RFC. Codecs other than the server's write the requests and read the replies.

mod addresses;
mod decline_release_inform;
mod hostile;
mod relays;
mod replies;
mod states;

use std::time::Duration;

use super::super::judge::{self, MessageType, Value, lease_time, requested, server};
use super::super::{Config, Destination, Reservation};
use super::*;
use crate::MacAddr;

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

fn message(kind: MessageType, mac: MacAddr, options: &[Value]) -> judge::Request {
    judge::Request::new(kind, mac.0, 7, options)
}

fn at(table: &mut Table, now: u64, request: &judge::Request) -> Outcome {
    handle(table, now, &request.to_vec())
}

fn read(reply: &Reply) -> judge::Reply {
    judge::Reply::read(&reply.bytes).unwrap()
}

fn ask(table: &mut Table, request: &judge::Request) -> Option<(judge::Reply, Destination)> {
    let reply = at(table, 1000, request).reply?;
    Some((read(&reply), reply.to))
}

fn ours() -> Value {
    server(SERVER)
}

/// Gives a lease to a client without a reservation.
fn lease(table: &mut Table, mac: MacAddr, address: Ipv4Addr) {
    let request = message(MessageType::Request, mac, &[requested(address), ours()]);
    let (ack, _) = ask(table, &request).unwrap();
    assert_eq!((ack.kind, ack.yiaddr), (MessageType::Ack, address));
}
