//! Relays: their option 82, the destination of replies, and their lease queries (RFC 3046, RFC 4388).

use super::*;

#[test]
fn rfc3046_what_a_relay_added_comes_back_to_it_last() {
    let mut table = table();
    let relay = Ipv4Addr::new(192, 168, 80, 4);
    let agent = [82, 6, 1, 4, b'p', b'o', b'r', b't'];
    let mut discover = message(MessageType::Discover, NODE, &[]);
    discover.set_giaddr(relay);
    let mut bytes = discover.to_vec();
    let end = bytes.iter().rposition(|b| *b == 255).unwrap();
    bytes.splice(end..end, agent);
    let reply = handle(&mut table, 1000, &bytes).reply.unwrap();
    assert_eq!(reply.to, Destination::Relay(relay));
    assert_eq!(read(&reply).codes().last(), Some(&82));
    assert!(reply.bytes.windows(agent.len()).any(|w| w == agent));
    assert_eq!(reply.bytes[24..28], relay.octets());
}

#[test]
fn p29_nothing_is_sent_to_a_relay_that_is_not_on_the_link() {
    let mut table = table();
    for relay in [Ipv4Addr::new(203, 0, 113, 9), SERVER] {
        for kind in [
            MessageType::Discover,
            MessageType::Request,
            MessageType::Inform,
        ] {
            let mut message = message(kind, NODE, &[requested(NODE_ADDRESS)]);
            message.set_giaddr(relay);
            assert_eq!(at(&mut table, 1000, &message), Outcome::default());
        }
    }
}

#[test]
fn rfc2131_a_relay_is_told_to_broadcast_a_nak() {
    let mut table = table();
    let relay = Ipv4Addr::new(192, 168, 80, 4);
    let mut request = message(MessageType::Request, NODE, &[requested(FREE), ours()]);
    request.set_giaddr(relay);
    let (nak, to) = ask(&mut table, &request).unwrap();
    assert_eq!(
        (nak.kind, to),
        (MessageType::Nak, Destination::Relay(relay))
    );
    assert!(nak.is_broadcast);
}

/// A lease query.
fn query(mac: Option<MacAddr>, ciaddr: Ipv4Addr) -> Vec<u8> {
    let mut query = message(MessageType::LeaseQuery, mac.unwrap_or(MacAddr([0; 6])), &[]);
    query.set_ciaddr(ciaddr);
    query.set_giaddr(Ipv4Addr::new(192, 168, 80, 4));
    let mut bytes = query.to_vec();
    if mac.is_none() {
        bytes[1..3].fill(0);
    }
    bytes
}

#[test]
fn rfc4388_a_relay_can_ask_who_has_an_address() {
    let mut table = table();
    lease(&mut table, GUEST, FREE);
    let mut ask = |query: &[u8], now| {
        let reply = handle(&mut table, now, query).reply.unwrap();
        read(&reply)
    };
    let active = ask(&query(None, FREE), 1600);
    assert_eq!(active.kind, MessageType::LeaseActive);
    assert_eq!((active.chaddr, active.ciaddr), (GUEST.0, FREE));
    let times = [51, 58, 59, 91].map(|code| active.number(code));
    assert_eq!(times, [3000, 1200, 2550, 600].map(Some));
    let by_mac = ask(&query(Some(GUEST), NONE), 1600);
    assert_eq!(
        (by_mac.kind, by_mac.ciaddr),
        (MessageType::LeaseActive, FREE)
    );
    let reserved = ask(&query(None, NODE_ADDRESS), 1600);
    assert_eq!(reserved.kind, MessageType::LeaseActive);
    let none = ask(&query(None, Ipv4Addr::new(192, 168, 80, 51)), 1600);
    assert_eq!(none.kind, MessageType::LeaseUnassigned);
    let ran_out = ask(&query(None, FREE), 99_999);
    assert_eq!(ran_out.kind, MessageType::LeaseUnassigned);
    for unknown in [
        query(None, Ipv4Addr::new(10, 0, 0, 1)),
        query(Some(STRANGER), NONE),
    ] {
        assert_eq!(ask(&unknown, 1600).kind, MessageType::LeaseUnknown);
    }
    let mut no_relay = query(None, FREE);
    no_relay[24..28].fill(0);
    assert_eq!(handle(&mut table, 1600, &no_relay).reply, None);
}
