//! DECLINE, RELEASE and INFORM.

use super::*;

#[test]
fn p27_declined_addresses_are_left_alone_for_a_while() {
    let mut table = table();
    let discover = message(MessageType::Discover, GUEST, &[]);
    let first = ask(&mut table, &discover).unwrap().0.yiaddr;
    lease(&mut table, GUEST, first);
    let decline = message(MessageType::Decline, GUEST, &[requested(first), ours()]);
    let outcome = at(&mut table, 1000, &decline);
    assert_eq!(outcome.notices[0].kind, NoticeKind::Declined);
    assert_eq!((outcome.reply, outcome.probe), (None, Some(first)));
    assert_eq!(table.leases(1000).count(), 0);
    let second = ask(&mut table, &discover).unwrap().0.yiaddr;
    assert_ne!(first, second);
    let wish = message(MessageType::Discover, STRANGER, &[requested(first)]);
    assert_ne!(ask(&mut table, &wish).unwrap().0.yiaddr, first);
    let later = at(&mut table, 1000 + 601, &wish).reply.unwrap();
    let later = read(&later);
    // Its first offer has expired, and the address that it requests is free again.
    assert_eq!(later.yiaddr, first);
}

#[test]
fn p27_a_decline_by_another_or_for_another_server_is_none() {
    let mut table = table();
    lease(&mut table, GUEST, FREE);
    let other = server(Ipv4Addr::new(192, 168, 80, 3));
    for (mac, server) in [(STRANGER, ours()), (GUEST, other)] {
        let decline = message(MessageType::Decline, mac, &[requested(FREE), server]);
        assert_eq!(at(&mut table, 1000, &decline), Outcome::default());
        assert_eq!(table.leases(1000).count(), 1);
    }
}

#[test]
fn p27_a_node_that_declines_is_told_of_with_its_name_and_keeps_its_address() {
    let mut table = table();
    let decline = message(
        MessageType::Decline,
        NODE,
        &[requested(NODE_ADDRESS), ours()],
    );
    let outcome = at(&mut table, 1000, &decline);
    assert_eq!(outcome.notices[0].hostname.as_deref(), Some("master0"));
    assert_eq!(
        outcome.probe,
        Some(NODE_ADDRESS),
        "finds the station that uses it"
    );
    let discover = message(MessageType::Discover, NODE, &[]);
    assert_eq!(ask(&mut table, &discover).unwrap().0.yiaddr, NODE_ADDRESS);
}

/// systemd-networkd before 260 sends this.
#[test]
fn p27_a_decline_that_names_its_address_in_ciaddr_counts() {
    let mut table = table();
    lease(&mut table, GUEST, FREE);
    let mut decline = message(MessageType::Decline, GUEST, &[]);
    assert_eq!(at(&mut table, 1000, &decline), Outcome::default());
    decline.set_ciaddr(FREE);
    let outcome = at(&mut table, 1000, &decline);
    assert_eq!(outcome.notices[0].kind, NoticeKind::Declined);
    assert_eq!(table.leases(1000).count(), 0);
}

#[test]
fn p27_only_its_client_can_release_a_lease() {
    let mut table = table();
    lease(&mut table, GUEST, FREE);
    let mut release = message(MessageType::Release, STRANGER, &[ours()]);
    release.set_ciaddr(FREE);
    assert!(ask(&mut table, &release).is_none());
    assert_eq!(table.leases(1000).count(), 1);
    let mut release = message(MessageType::Release, GUEST, &[ours()]);
    release.set_ciaddr(FREE);
    assert!(ask(&mut table, &release).is_none());
    assert_eq!(table.leases(1000).count(), 0);
    let discover = message(MessageType::Discover, GUEST, &[]);
    let again = ask(&mut table, &discover).unwrap().0.yiaddr;
    assert_eq!(again, FREE, "a client that returns gets the same address");
}

#[test]
fn p27_inform_is_told_everything_but_an_address() {
    let mut table = table();
    let mut inform = message(MessageType::Inform, GUEST, &[]);
    assert!(
        ask(&mut table, &inform).is_none(),
        "without an address there is nowhere to answer"
    );
    inform.set_ciaddr(Ipv4Addr::new(10, 0, 0, 99));
    assert!(ask(&mut table, &inform).is_none(), "on another network");
    inform.set_ciaddr(FREE);
    let (ack, _) = ask(&mut table, &inform).unwrap();
    assert_eq!((ack.kind, ack.yiaddr), (MessageType::Ack, NONE));
    for none in [51, 58] {
        assert_eq!(ack.option(none), None, "{none}");
    }
    assert_eq!(table.leases(1000).count(), 0);
}
