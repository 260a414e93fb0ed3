//! The client states of RFC 2131, and their effect on a lease.

use super::*;

#[test]
fn p26_selecting() {
    let mut table = table();
    let request = |options: &[Value]| message(MessageType::Request, NODE, options);
    let (ack, _) = ask(&mut table, &request(&[requested(NODE_ADDRESS), ours()])).unwrap();
    assert_eq!((ack.kind, ack.yiaddr), (MessageType::Ack, NODE_ADDRESS));
    let another = server(Ipv4Addr::new(192, 168, 80, 3));
    let to_another = request(&[requested(NODE_ADDRESS), another]);
    assert!(ask(&mut table, &to_another).is_none());
    assert!(ask(&mut table, &request(&[ours()])).is_none(), "of nothing");
    lease(&mut table, GUEST, FREE);
    let taken = message(MessageType::Request, STRANGER, &[requested(FREE), ours()]);
    assert_eq!(ask(&mut table, &taken).unwrap().0.kind, MessageType::Nak);
}

#[test]
fn p26_an_offer_is_free_again_when_another_server_is_selected() {
    let mut table = table();
    let (offer, _) = ask(&mut table, &message(MessageType::Discover, GUEST, &[])).unwrap();
    let another = server(Ipv4Addr::new(192, 168, 80, 3));
    let request = message(MessageType::Request, GUEST, &[requested(FREE), another]);
    assert!(ask(&mut table, &request).is_none());
    lease(&mut table, STRANGER, offer.yiaddr);
}

#[test]
fn p26_init_reboot() {
    let mut table = table();
    let request = |mac, address| message(MessageType::Request, mac, &[requested(address)]);
    let (ack, _) = ask(&mut table, &request(NODE, NODE_ADDRESS)).unwrap();
    assert_eq!((ack.kind, ack.yiaddr), (MessageType::Ack, NODE_ADDRESS));
    let (nak, to) = ask(&mut table, &request(NODE, FREE)).unwrap();
    assert_eq!((nak.kind, to), (MessageType::Nak, Destination::Broadcast));
    let elsewhere = Ipv4Addr::new(10, 0, 0, 5);
    let (nak, _) = ask(&mut table, &request(GUEST, elsewhere)).unwrap();
    assert_eq!(nak.kind, MessageType::Nak, "on another network");
    assert!(
        ask(&mut table, &request(GUEST, FREE)).is_none(),
        "a client that is not known"
    );
    lease(&mut table, GUEST, FREE);
    let (ack, _) = ask(&mut table, &request(GUEST, FREE)).unwrap();
    assert_eq!(ack.kind, MessageType::Ack);
    let another = Ipv4Addr::new(192, 168, 80, 51);
    let (nak, _) = ask(&mut table, &request(GUEST, another)).unwrap();
    assert_eq!(nak.kind, MessageType::Nak, "free, but not on its record");
}

#[test]
fn p26_renewing_and_rebinding() {
    let mut table = table();
    lease(&mut table, GUEST, FREE);
    let mut renew = message(MessageType::Request, GUEST, &[]);
    renew.set_ciaddr(FREE);
    let (ack, to) = ask(&mut table, &renew).unwrap();
    assert_eq!((ack.yiaddr, ack.ciaddr), (FREE, FREE));
    let mac = GUEST;
    assert_eq!(to, Destination::Client { address: FREE, mac });
    // A client whose lease is not on record keeps its address if it is free.
    let lost = Ipv4Addr::new(192, 168, 80, 77);
    let mut renew = message(MessageType::Request, STRANGER, &[]);
    renew.set_ciaddr(lost);
    assert_eq!(ask(&mut table, &renew).unwrap().0.yiaddr, lost);
    for (address, why) in [
        (FREE, "another's"),
        (NODE_ADDRESS, "reserved"),
        (SERVER, "ours"),
        (Ipv4Addr::new(192, 168, 80, 255), "broadcast"),
        (Ipv4Addr::new(10, 0, 0, 5), "another network's"),
    ] {
        renew.set_ciaddr(address);
        let (nak, to) = ask(&mut table, &renew).unwrap();
        assert_eq!(nak.kind, MessageType::Nak, "{why}");
        assert_eq!(to, Destination::Broadcast, "{why}");
    }
}

#[test]
fn p26_fields_of_a_nak() {
    let mut table = table();
    let mut request = message(MessageType::Request, NODE, &[requested(FREE), ours()]);
    request.set_broadcast();
    let (nak, _) = ask(&mut table, &request).unwrap();
    assert_eq!(nak.kind, MessageType::Nak);
    let zero = (nak.ciaddr, nak.yiaddr, nak.siaddr);
    assert_eq!(zero, (NONE, NONE, NONE));
    assert_eq!((nak.xid, nak.chaddr), (7, NODE.0));
    assert!(nak.is_broadcast);
    assert_eq!(nak.codes(), [53, 54], "no parameters, no times");
}

#[test]
fn rfc4039_a_client_that_can_gets_its_lease_at_once() {
    let mut table = table();
    let mut discover = message(MessageType::Discover, GUEST, &[]).to_vec();
    let end = discover.iter().rposition(|b| *b == 255).unwrap();
    discover.splice(end..end, [80, 0]);
    let reply = handle(&mut table, 1000, &discover).reply.unwrap();
    let ack = read(&reply);
    assert_eq!(ack.kind, MessageType::Ack);
    assert_eq!(ack.option(80), Some(&[][..]));
    assert!(reply.promises);
    assert_eq!(table.leases(1000).next().unwrap().address, ack.yiaddr);
}

#[test]
fn rfc2131_a_client_may_ask_for_a_shorter_lease() {
    let mut table = table();
    for (wish, given) in [(600, 600), (1, 60), (u32::MAX, HOUR)] {
        let options = [requested(FREE), ours(), lease_time(wish)];
        let (ack, _) = ask(&mut table, &message(MessageType::Request, GUEST, &options)).unwrap();
        assert_eq!(ack.number(51), Some(given));
        let ends = table.leases(1000).next().unwrap().expires;
        assert_eq!(ends, 1000 + u64::from(given));
    }
}

#[test]
fn only_what_changes_a_lease_counts_as_a_change() {
    let mut table = table();
    let mut changes = |kind, mac, options: &[Value], ciaddr: Ipv4Addr, now: u64| {
        let mut message = message(kind, mac, options);
        message.set_ciaddr(ciaddr);
        let _replies_are_tested_above = at(&mut table, now, &message);
        table.take_changes().len()
    };
    use MessageType::{Decline, Discover, Inform, Release, Request};
    let selecting = [requested(FREE), ours()];
    assert_eq!(changes(Discover, GUEST, &selecting[..1], NONE, 1000), 0);
    assert_eq!(changes(Request, GUEST, &selecting, NONE, 1000), 1);
    assert_eq!(changes(Request, GUEST, &selecting, NONE, 1000), 0);
    assert_eq!(changes(Request, GUEST, &[], FREE, 2000), 1, "renewed");
    assert_eq!(changes(Discover, GUEST, &[], NONE, 2000), 0);
    assert_eq!(changes(Inform, GUEST, &[], FREE, 2000), 0);
    let another = Ipv4Addr::new(192, 168, 80, 51);
    assert_eq!(changes(Release, GUEST, &[], another, 2000), 0);
    assert_eq!(changes(Release, GUEST, &[], FREE, 2000), 1);
    assert_eq!(changes(Release, GUEST, &[], FREE, 2000), 0);
    assert_eq!(changes(Discover, GUEST, &selecting[..1], NONE, 2000), 0);
    let reserved = [requested(NODE_ADDRESS), ours()];
    assert_eq!(changes(Request, NODE, &reserved, NONE, 2000), 0);
    assert_eq!(changes(Release, NODE, &[], NODE_ADDRESS, 2000), 0);
    assert_eq!(changes(Decline, NODE, &reserved, NONE, 2000), 0);
}
