use std::time::Duration;

use proptest::prelude::*;

use super::super::{Config, Reservation};
use super::*;

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 80, 1);
const NODE: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 1]);
const NODE_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 80, 2);
const GUEST: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 9]);

fn table() -> Table {
    let config = Config {
        server: SERVER,
        subnet: "192.168.80.0/24".parse().unwrap(),
        router: Some(SERVER),
        dns: vec![SERVER],
        domain: Some("k80.internal".to_owned()),
        mtu: Some(1400),
        lease_time: Duration::from_secs(3600),
    };
    let node = Reservation {
        mac: NODE,
        address: NODE_ADDRESS,
        hostname: "master0".to_owned(),
    };
    Table::new(config, vec![node])
}

fn message(kind: MessageType, mac: MacAddr, options: &[DhcpOption]) -> Message {
    let mut message = Message::default();
    message.set_xid(7).set_chaddr(&mac.0);
    message.opts_mut().insert(DhcpOption::MessageType(kind));
    for option in options {
        message.opts_mut().insert(option.clone());
    }
    message
}

fn ask(table: &mut Table, message: &Message) -> Option<(Message, Destination)> {
    let reply = handle(table, 1000, &message.to_vec().unwrap()).reply?;
    assert!(reply.bytes.len() >= 300);
    Some((Message::from_bytes(&reply.bytes).unwrap(), reply.to))
}

fn kind(message: &Message) -> MessageType {
    message.opts().msg_type().unwrap()
}

#[test]
fn a_node_gets_its_address_and_name_whatever_it_calls_itself() {
    let mut table = table();
    let id = DhcpOption::ClientIdentifier(vec![1, 2, 3]);
    let (offer, to) = ask(
        &mut table,
        &message(MessageType::Discover, NODE, std::slice::from_ref(&id)),
    )
    .unwrap();
    assert_eq!(
        (kind(&offer), offer.yiaddr(), offer.xid()),
        (MessageType::Offer, NODE_ADDRESS, 7)
    );
    assert_eq!(
        to,
        Destination::Client {
            address: NODE_ADDRESS,
            mac: NODE
        }
    );
    assert_eq!(
        offer.opts().get(OptionCode::Hostname),
        Some(&DhcpOption::Hostname("master0".to_owned()))
    );
    assert_eq!(
        offer.opts().get(OptionCode::InterfaceMtu),
        Some(&DhcpOption::InterfaceMtu(1400))
    );
    assert_eq!(
        offer.opts().get(OptionCode::ClientIdentifier),
        Some(&id),
        "RFC 6842"
    );
}

#[test]
fn selecting_init_reboot_renewing_and_rebinding() {
    let mut table = table();
    let requested = DhcpOption::RequestedIpAddress(NODE_ADDRESS);
    let wrong = DhcpOption::RequestedIpAddress(Ipv4Addr::new(192, 168, 80, 77));
    let ours = DhcpOption::ServerIdentifier(SERVER);
    let others = DhcpOption::ServerIdentifier(Ipv4Addr::new(192, 168, 80, 3));
    let request = |options: &[DhcpOption]| message(MessageType::Request, NODE, options);
    let (ack, _) = ask(&mut table, &request(&[requested.clone(), ours])).unwrap();
    assert_eq!((kind(&ack), ack.yiaddr()), (MessageType::Ack, NODE_ADDRESS));
    assert!(ask(&mut table, &request(&[requested.clone(), others])).is_none());
    assert_eq!(
        kind(&ask(&mut table, &request(&[requested])).unwrap().0),
        MessageType::Ack
    );
    let (nak, to) = ask(&mut table, &request(&[wrong])).unwrap();
    assert_eq!(
        (kind(&nak), to, nak.yiaddr()),
        (
            MessageType::Nak,
            Destination::Broadcast,
            Ipv4Addr::UNSPECIFIED
        )
    );
    let mut renew = request(&[]);
    renew.set_ciaddr(NODE_ADDRESS);
    let (ack, to) = ask(&mut table, &renew).unwrap();
    assert_eq!(
        (kind(&ack), to),
        (
            MessageType::Ack,
            Destination::Client {
                address: NODE_ADDRESS,
                mac: NODE
            }
        )
    );
}

#[test]
fn an_unknown_client_is_met_with_silence_on_our_net_and_nak_on_another() {
    let mut table = table();
    let here = DhcpOption::RequestedIpAddress(Ipv4Addr::new(192, 168, 80, 50));
    let elsewhere = DhcpOption::RequestedIpAddress(Ipv4Addr::new(10, 0, 0, 5));
    assert!(ask(&mut table, &message(MessageType::Request, GUEST, &[here])).is_none());
    let (nak, _) = ask(
        &mut table,
        &message(MessageType::Request, GUEST, &[elsewhere]),
    )
    .unwrap();
    assert_eq!(kind(&nak), MessageType::Nak);
}

#[test]
fn other_clients_get_leases_that_decline_and_release_end() {
    let mut table = table();
    let discover = message(MessageType::Discover, GUEST, &[]);
    let first = ask(&mut table, &discover).unwrap().0.yiaddr();
    let options = [
        DhcpOption::RequestedIpAddress(first),
        DhcpOption::ServerIdentifier(SERVER),
    ];
    assert_eq!(
        kind(
            &ask(&mut table, &message(MessageType::Request, GUEST, &options))
                .unwrap()
                .0
        ),
        MessageType::Ack
    );
    assert_eq!(table.leases().count(), 1);
    assert!(ask(&mut table, &message(MessageType::Decline, GUEST, &options)).is_none());
    let second = ask(&mut table, &discover).unwrap().0.yiaddr();
    assert_ne!(first, second, "a declined address is not offered again");
    let mut release = message(
        MessageType::Release,
        GUEST,
        &[DhcpOption::ServerIdentifier(SERVER)],
    );
    release.set_ciaddr(second);
    assert!(ask(&mut table, &release).is_none());
    assert_eq!(table.leases().count(), 0);
}

#[test]
fn only_what_changes_a_lease_counts_as_a_change() {
    let mut table = table();
    let mut changes = |kind, mac, options: &[DhcpOption], ciaddr: [u8; 4], at: u64| {
        let before = table.changes();
        let mut message = message(kind, mac, options);
        message.set_ciaddr(Ipv4Addr::from(ciaddr));
        let _replies_are_tested_above = handle(&mut table, at, &message.to_vec().unwrap());
        table.changes() - before
    };
    use MessageType::{Decline, Discover, Inform, Release, Request};
    let wanted = [192, 168, 80, 50];
    let selecting = [
        DhcpOption::RequestedIpAddress(wanted.into()),
        DhcpOption::ServerIdentifier(SERVER),
    ];
    let none = [0; 4];
    assert_eq!(changes(Discover, GUEST, &selecting[..1], none, 1000), 0);
    assert_eq!(changes(Request, GUEST, &selecting, none, 1000), 1);
    assert_eq!(changes(Request, GUEST, &selecting, none, 1000), 0);
    assert_eq!(changes(Request, GUEST, &[], wanted, 2000), 1, "renewed");
    assert_eq!(changes(Discover, GUEST, &[], none, 2000), 0);
    assert_eq!(changes(Inform, GUEST, &[], wanted, 2000), 0);
    assert_eq!(changes(Release, GUEST, &[], [192, 168, 80, 51], 2000), 0);
    assert_eq!(changes(Release, GUEST, &[], wanted, 2000), 1);
    assert_eq!(changes(Release, GUEST, &[], wanted, 2000), 0);
    assert_eq!(changes(Discover, GUEST, &selecting[..1], none, 2000), 0);
    assert_eq!(
        changes(Decline, GUEST, &selecting, none, 2000),
        0,
        "an offer"
    );
    let reserved = [
        DhcpOption::RequestedIpAddress(NODE_ADDRESS),
        DhcpOption::ServerIdentifier(SERVER),
    ];
    assert_eq!(changes(Request, NODE, &reserved, none, 2000), 0);
    let node = NODE_ADDRESS.octets();
    assert_eq!(changes(Release, NODE, &[], node, 2000), 0);
}

#[test]
fn inform_is_told_everything_but_an_address() {
    let mut table = table();
    let mut inform = message(MessageType::Inform, GUEST, &[]);
    assert!(
        ask(&mut table, &inform).is_none(),
        "without an address there is nowhere to answer"
    );
    inform.set_ciaddr(Ipv4Addr::new(192, 168, 80, 99));
    let (ack, _) = ask(&mut table, &inform).unwrap();
    assert_eq!(
        (kind(&ack), ack.yiaddr()),
        (MessageType::Ack, Ipv4Addr::UNSPECIFIED)
    );
    assert!(ack.opts().get(OptionCode::AddressLeaseTime).is_none());
}

#[test]
fn p25_malformed_packets_are_met_with_silence() {
    let good = message(MessageType::Discover, NODE, &[]).to_vec().unwrap();
    for (at, value) in [(0, 2), (1, 6), (2, 17), (2, 255), (236, 0)] {
        let mut bad = good.clone();
        bad[at] = value;
        assert_eq!(
            handle(&mut table(), 0, &bad),
            Outcome::default(),
            "byte {at} = {value}"
        );
    }
    assert_eq!(handle(&mut table(), 0, &good[..239]), Outcome::default());
}

proptest! {
    #[test]
    fn p25_no_bytes_make_it_fall_over(options in proptest::collection::vec(any::<u8>(), 0..400), fixed in proptest::collection::vec(any::<u8>(), 236)) {
        let mut packet = fixed;
        packet[..3].copy_from_slice(&[1, 1, 6]);
        packet.extend(COOKIE);
        packet.extend([53, 1, 1]);
        packet.extend(options);
        if let Some(reply) = handle(&mut table(), 0, &packet).reply {
            prop_assert!(reply.bytes.len() >= 300);
            prop_assert!(Message::from_bytes(&reply.bytes).is_ok());
        }
    }

    #[test]
    fn p14_no_two_clients_are_given_one_address(clients in proptest::collection::vec((0_u8..40, 0_u64..20), 1..200)) {
        let mut table = table();
        let mut now = 0;
        for (client, pause) in clients {
            now += pause;
            let mac = MacAddr([2, 0, 0, 0, 0, client]);
            let discover = message(MessageType::Discover, mac, &[]).to_vec().unwrap();
            let Some(offer) = handle(&mut table, now, &discover).reply else { continue };
            let address = Message::from_bytes(&offer.bytes).unwrap().yiaddr();
            prop_assert_ne!(address, NODE_ADDRESS);
            prop_assert!(table.leases().all(|l| l.address != address || l.mac == mac || l.expires <= now));
            let options = [DhcpOption::RequestedIpAddress(address), DhcpOption::ServerIdentifier(SERVER)];
            let request = message(MessageType::Request, mac, &options).to_vec().unwrap();
            prop_assert!(handle(&mut table, now, &request).reply.is_some());
        }
    }
}
