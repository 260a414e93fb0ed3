//! Which client has an address: reservations, clones that send one identifier, clients that return.

use proptest::prelude::*;

use super::*;

#[test]
fn p30_a_node_gets_its_address_and_name_whatever_it_calls_itself() {
    let mut table = table();
    let id = (61, vec![1, 2, 3]);
    let name = (12, b"worker0".to_vec());
    let discover = message(MessageType::Discover, NODE, &[id, name]);
    let (offer, to) = ask(&mut table, &discover).unwrap();
    assert_eq!(
        (offer.kind, offer.yiaddr, offer.xid),
        (MessageType::Offer, NODE_ADDRESS, 7)
    );
    let address = NODE_ADDRESS;
    assert_eq!(to, Destination::Client { address, mac: NODE });
    assert_eq!(offer.option(12), Some(&b"master0"[..]));
    assert_eq!(offer.number(26), Some(1400));
}

#[test]
fn p30_a_stranger_cannot_have_a_nodes_address() {
    let mut table = table();
    let discover = message(MessageType::Discover, GUEST, &[requested(NODE_ADDRESS)]);
    let (offer, _) = ask(&mut table, &discover).unwrap();
    assert_ne!(offer.yiaddr, NODE_ADDRESS);
    let request = message(
        MessageType::Request,
        GUEST,
        &[requested(NODE_ADDRESS), ours()],
    );
    let (nak, _) = ask(&mut table, &request).unwrap();
    assert_eq!(nak.kind, MessageType::Nak);
}

#[test]
fn p28_a_client_that_comes_back_late_gets_its_address_again() {
    let mut table = table();
    lease(&mut table, GUEST, FREE);
    let long_after = 1000 + 30 * u64::from(HOUR);
    let discover = message(MessageType::Discover, GUEST, &[]);
    let offer = at(&mut table, long_after, &discover).reply.unwrap();
    let offer = read(&offer);
    assert_eq!(offer.yiaddr, FREE);
    let reboot = message(MessageType::Request, GUEST, &[requested(FREE)]);
    lease(&mut table, GUEST, FREE);
    let ack = at(&mut table, 2 * long_after, &reboot).reply.unwrap();
    let ack = read(&ack);
    assert_eq!(ack.kind, MessageType::Ack);
}

#[test]
fn p28_a_clock_that_jumps_changes_no_address() {
    let mut table = table();
    lease(&mut table, GUEST, FREE);
    for now in [0, 1000, 4_000_000_000, 1000] {
        let mut renew = message(MessageType::Request, GUEST, &[]);
        renew.set_ciaddr(FREE);
        let ack = at(&mut table, now, &renew).reply.unwrap();
        let ack = read(&ack);
        assert_eq!((ack.kind, ack.yiaddr), (MessageType::Ack, FREE));
    }
}

#[test]
fn p14_clients_with_one_identifier_get_their_own_addresses_and_are_told_of_once() {
    let mut table = table();
    let id = (61, b"\xffthe same machine-id".to_vec());
    let (mut addresses, mut told) = (Vec::new(), 0);
    for n in 0..7 {
        let mac = MacAddr([2, 0, 0, 0, 0, n]);
        for _ in 0..2 {
            let discover = message(MessageType::Discover, mac, std::slice::from_ref(&id));
            let (offer, _) = ask(&mut table, &discover).unwrap();
            let options = [requested(offer.yiaddr), ours(), id.clone()];
            let outcome = at(
                &mut table,
                1000,
                &message(MessageType::Request, mac, &options),
            );
            let shared = |n: &&Notice| n.kind == NoticeKind::SharedIdentifier;
            told += outcome.notices.iter().filter(shared).count();
            addresses.push(offer.yiaddr);
        }
    }
    addresses.dedup();
    assert_eq!(addresses.len(), 7, "{addresses:?}");
    assert_eq!(told, 1);
}

#[test]
fn p14_a_client_that_was_installed_anew_keeps_its_address() {
    let mut table = table();
    for id in [b"first", b"again"] {
        let id = (61, id.to_vec());
        let discover = message(MessageType::Discover, GUEST, std::slice::from_ref(&id));
        let (offer, _) = ask(&mut table, &discover).unwrap();
        lease(&mut table, GUEST, offer.yiaddr);
        assert_eq!(offer.yiaddr, Ipv4Addr::new(192, 168, 80, 254));
    }
}

proptest! {
    #[test]
    fn p14_no_two_clients_are_given_one_address(clients in proptest::collection::vec((0_u8..40, 0_u64..20), 1..200)) {
        let mut table = table();
        let mut now = 0;
        for (client, pause) in clients {
            now += pause;
            let mac = MacAddr([2, 0, 0, 0, 0, client]);
            let discover = message(MessageType::Discover, mac, &[]);
            let Some(offer) = at(&mut table, now, &discover).reply else { continue };
            let address = read(&offer).yiaddr;
            prop_assert_ne!(address, NODE_ADDRESS);
            prop_assert!(table.leases(now).all(|l| l.address != address || l.mac == mac));
            let options = [requested(address), ours()];
            let request = message(MessageType::Request, mac, &options);
            prop_assert!(at(&mut table, now, &request).reply.is_some());
        }
    }
}
