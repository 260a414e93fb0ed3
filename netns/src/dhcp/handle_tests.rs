//! RFC by RFC. dhcproto, which is not ours, writes the requests and reads the replies.

use std::time::Duration;

use dhcproto::v4::{self, DhcpOption, Flags, MessageType, OptionCode};
use dhcproto::{Decodable, Encodable};
use proptest::prelude::*;

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

#[test]
fn p30_a_node_gets_its_address_and_name_whatever_it_calls_itself() {
    let mut table = table();
    let id = DhcpOption::ClientIdentifier(vec![1, 2, 3]);
    let name = DhcpOption::Hostname("worker0".to_owned());
    let discover = message(MessageType::Discover, NODE, &[id, name]);
    let (offer, to) = ask(&mut table, &discover).unwrap();
    assert_eq!(
        (kind(&offer), offer.yiaddr(), offer.xid()),
        (MessageType::Offer, NODE_ADDRESS, 7)
    );
    let address = NODE_ADDRESS;
    assert_eq!(to, Destination::Client { address, mac: NODE });
    let own = DhcpOption::Hostname("master0".to_owned());
    assert_eq!(offer.opts().get(OptionCode::Hostname), Some(&own));
    let mtu = DhcpOption::InterfaceMtu(1400);
    assert_eq!(offer.opts().get(OptionCode::InterfaceMtu), Some(&mtu));
}

#[test]
fn p30_a_stranger_cannot_have_a_nodes_address() {
    let mut table = table();
    let discover = message(MessageType::Discover, GUEST, &[requested(NODE_ADDRESS)]);
    let (offer, _) = ask(&mut table, &discover).unwrap();
    assert_ne!(offer.yiaddr(), NODE_ADDRESS);
    let request = message(
        MessageType::Request,
        GUEST,
        &[requested(NODE_ADDRESS), ours()],
    );
    let (nak, _) = ask(&mut table, &request).unwrap();
    assert_eq!(kind(&nak), MessageType::Nak);
}

#[test]
fn rfc6842_the_client_identifier_comes_back_in_every_reply() {
    let mut table = table();
    let id = DhcpOption::ClientIdentifier(vec![255, 0, 0, 0, 1, 0, 2]);
    let wrong = requested(FREE);
    for (kind, options) in [
        (MessageType::Discover, vec![id.clone()]),
        (MessageType::Request, vec![id.clone(), wrong, ours()]),
    ] {
        let (reply, _) = ask(&mut table, &message(kind, NODE, &options)).unwrap();
        assert_eq!(reply.opts().get(OptionCode::ClientIdentifier), Some(&id));
    }
}

#[test]
fn p26_selecting() {
    let mut table = table();
    let request = |options: &[DhcpOption]| message(MessageType::Request, NODE, options);
    let (ack, _) = ask(&mut table, &request(&[requested(NODE_ADDRESS), ours()])).unwrap();
    assert_eq!((kind(&ack), ack.yiaddr()), (MessageType::Ack, NODE_ADDRESS));
    let another = DhcpOption::ServerIdentifier(Ipv4Addr::new(192, 168, 80, 3));
    let to_another = request(&[requested(NODE_ADDRESS), another]);
    assert!(ask(&mut table, &to_another).is_none());
    assert!(ask(&mut table, &request(&[ours()])).is_none(), "of nothing");
    lease(&mut table, GUEST, FREE);
    let taken = message(MessageType::Request, STRANGER, &[requested(FREE), ours()]);
    assert_eq!(kind(&ask(&mut table, &taken).unwrap().0), MessageType::Nak);
}

#[test]
fn p26_an_offer_is_free_again_when_another_server_is_selected() {
    let mut table = table();
    let (offer, _) = ask(&mut table, &message(MessageType::Discover, GUEST, &[])).unwrap();
    let another = DhcpOption::ServerIdentifier(Ipv4Addr::new(192, 168, 80, 3));
    let request = message(MessageType::Request, GUEST, &[requested(FREE), another]);
    assert!(ask(&mut table, &request).is_none());
    lease(&mut table, STRANGER, offer.yiaddr());
}

#[test]
fn p26_init_reboot() {
    let mut table = table();
    let request = |mac, address| message(MessageType::Request, mac, &[requested(address)]);
    let (ack, _) = ask(&mut table, &request(NODE, NODE_ADDRESS)).unwrap();
    assert_eq!((kind(&ack), ack.yiaddr()), (MessageType::Ack, NODE_ADDRESS));
    let (nak, to) = ask(&mut table, &request(NODE, FREE)).unwrap();
    assert_eq!((kind(&nak), to), (MessageType::Nak, Destination::Broadcast));
    let elsewhere = Ipv4Addr::new(10, 0, 0, 5);
    let (nak, _) = ask(&mut table, &request(GUEST, elsewhere)).unwrap();
    assert_eq!(kind(&nak), MessageType::Nak, "on another network");
    assert!(
        ask(&mut table, &request(GUEST, FREE)).is_none(),
        "a client that is not known"
    );
    lease(&mut table, GUEST, FREE);
    let (ack, _) = ask(&mut table, &request(GUEST, FREE)).unwrap();
    assert_eq!(kind(&ack), MessageType::Ack);
    let another = Ipv4Addr::new(192, 168, 80, 51);
    let (nak, _) = ask(&mut table, &request(GUEST, another)).unwrap();
    assert_eq!(kind(&nak), MessageType::Nak, "free, but not on its record");
}

#[test]
fn p26_renewing_and_rebinding() {
    let mut table = table();
    lease(&mut table, GUEST, FREE);
    let mut renew = message(MessageType::Request, GUEST, &[]);
    renew.set_ciaddr(FREE);
    let (ack, to) = ask(&mut table, &renew).unwrap();
    assert_eq!((ack.yiaddr(), ack.ciaddr()), (FREE, FREE));
    let mac = GUEST;
    assert_eq!(to, Destination::Client { address: FREE, mac });
    // Who has no lease here any more keeps the address if it can.
    let lost = Ipv4Addr::new(192, 168, 80, 77);
    let mut renew = message(MessageType::Request, STRANGER, &[]);
    renew.set_ciaddr(lost);
    assert_eq!(ask(&mut table, &renew).unwrap().0.yiaddr(), lost);
    for (address, why) in [
        (FREE, "another's"),
        (NODE_ADDRESS, "reserved"),
        (SERVER, "ours"),
        (Ipv4Addr::new(192, 168, 80, 255), "broadcast"),
        (Ipv4Addr::new(10, 0, 0, 5), "another network's"),
    ] {
        renew.set_ciaddr(address);
        let (nak, to) = ask(&mut table, &renew).unwrap();
        assert_eq!(kind(&nak), MessageType::Nak, "{why}");
        assert_eq!(to, Destination::Broadcast, "{why}");
    }
}

#[test]
fn p26_fields_of_a_nak() {
    let mut table = table();
    let mut request = message(MessageType::Request, NODE, &[requested(FREE), ours()]);
    request.set_flags(Flags::default().set_broadcast());
    let (nak, _) = ask(&mut table, &request).unwrap();
    assert_eq!(kind(&nak), MessageType::Nak);
    let zero = (nak.ciaddr(), nak.yiaddr(), nak.siaddr());
    assert_eq!(zero, (NONE, NONE, NONE));
    assert_eq!((nak.xid(), nak.chaddr()), (7, &NODE.0[..]));
    assert!(nak.flags().broadcast());
    let mut codes: Vec<u8> = nak.opts().iter().map(|(c, _)| (*c).into()).collect();
    codes.sort_unstable();
    assert_eq!(codes, [53, 54], "no parameters, no times");
}

#[test]
fn p13_the_reply_goes_where_the_client_hears_it() {
    let mut table = table();
    let mut discover = message(MessageType::Discover, NODE, &[]);
    let (_, to) = ask(&mut table, &discover).unwrap();
    let (address, mac) = (NODE_ADDRESS, NODE);
    assert_eq!(to, Destination::Client { address, mac });
    discover.set_flags(Flags::default().set_broadcast());
    let (_, to) = ask(&mut table, &discover).unwrap();
    assert_eq!(to, Destination::Broadcast);
    let mut inform = message(MessageType::Inform, NODE, &[]);
    inform
        .set_ciaddr(FREE)
        .set_flags(Flags::default().set_broadcast());
    let (_, to) = ask(&mut table, &inform).unwrap();
    assert_eq!(
        to,
        Destination::Client { address: FREE, mac },
        "ciaddr counts more"
    );
}

#[test]
fn p27_declined_addresses_are_left_alone_for_a_while() {
    let mut table = table();
    let discover = message(MessageType::Discover, GUEST, &[]);
    let first = ask(&mut table, &discover).unwrap().0.yiaddr();
    lease(&mut table, GUEST, first);
    let decline = message(MessageType::Decline, GUEST, &[requested(first), ours()]);
    let outcome = at(&mut table, 1000, &decline);
    assert_eq!(outcome.notices[0].kind, NoticeKind::Declined);
    assert_eq!((outcome.reply, outcome.probe), (None, Some(first)));
    assert_eq!(table.leases(1000).count(), 0);
    let second = ask(&mut table, &discover).unwrap().0.yiaddr();
    assert_ne!(first, second);
    let wish = message(MessageType::Discover, STRANGER, &[requested(first)]);
    assert_ne!(ask(&mut table, &wish).unwrap().0.yiaddr(), first);
    let later = at(&mut table, 1000 + 601, &wish).reply.unwrap();
    let later = v4::Message::from_bytes(&later.bytes).unwrap();
    // Its first offer ran out, and the address that it wishes for is free again.
    assert_eq!(later.yiaddr(), first);
}

#[test]
fn p27_a_decline_by_another_or_for_another_server_is_none() {
    let mut table = table();
    lease(&mut table, GUEST, FREE);
    let other = DhcpOption::ServerIdentifier(Ipv4Addr::new(192, 168, 80, 3));
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
    assert_eq!(outcome.probe, Some(NODE_ADDRESS), "to learn who has it");
    let discover = message(MessageType::Discover, NODE, &[]);
    assert_eq!(ask(&mut table, &discover).unwrap().0.yiaddr(), NODE_ADDRESS);
}

/// As systemd-networkd before 260 does it.
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
    let again = ask(&mut table, &discover).unwrap().0.yiaddr();
    assert_eq!(again, FREE, "who comes back gets the same");
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
    assert_eq!((kind(&ack), ack.yiaddr()), (MessageType::Ack, NONE));
    for none in [OptionCode::AddressLeaseTime, OptionCode::Renewal] {
        assert!(ack.opts().get(none).is_none(), "{none:?}");
    }
    assert_eq!(table.leases(1000).count(), 0);
}

#[test]
fn p28_a_client_that_comes_back_late_gets_its_address_again() {
    let mut table = table();
    lease(&mut table, GUEST, FREE);
    let long_after = 1000 + 30 * u64::from(HOUR);
    let discover = message(MessageType::Discover, GUEST, &[]);
    let offer = at(&mut table, long_after, &discover).reply.unwrap();
    let offer = v4::Message::from_bytes(&offer.bytes).unwrap();
    assert_eq!(offer.yiaddr(), FREE);
    let reboot = message(MessageType::Request, GUEST, &[requested(FREE)]);
    lease(&mut table, GUEST, FREE);
    let ack = at(&mut table, 2 * long_after, &reboot).reply.unwrap();
    let ack = v4::Message::from_bytes(&ack.bytes).unwrap();
    assert_eq!(kind(&ack), MessageType::Ack);
}

#[test]
fn p28_a_clock_that_jumps_changes_no_address() {
    let mut table = table();
    lease(&mut table, GUEST, FREE);
    for now in [0, 1000, 4_000_000_000, 1000] {
        let mut renew = message(MessageType::Request, GUEST, &[]);
        renew.set_ciaddr(FREE);
        let ack = at(&mut table, now, &renew).reply.unwrap();
        let ack = v4::Message::from_bytes(&ack.bytes).unwrap();
        assert_eq!((kind(&ack), ack.yiaddr()), (MessageType::Ack, FREE));
    }
}

#[test]
fn p14_clients_with_one_identifier_get_their_own_addresses_and_are_told_of_once() {
    let mut table = table();
    let id = DhcpOption::ClientIdentifier(b"\xffthe same machine-id".to_vec());
    let (mut addresses, mut told) = (Vec::new(), 0);
    for n in 0..7 {
        let mac = MacAddr([2, 0, 0, 0, 0, n]);
        for _ in 0..2 {
            let discover = message(MessageType::Discover, mac, std::slice::from_ref(&id));
            let (offer, _) = ask(&mut table, &discover).unwrap();
            let options = [requested(offer.yiaddr()), ours(), id.clone()];
            let outcome = at(
                &mut table,
                1000,
                &message(MessageType::Request, mac, &options),
            );
            let shared = |n: &&Notice| n.kind == NoticeKind::SharedIdentifier;
            told += outcome.notices.iter().filter(shared).count();
            addresses.push(offer.yiaddr());
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
        let id = DhcpOption::ClientIdentifier(id.to_vec());
        let discover = message(MessageType::Discover, GUEST, std::slice::from_ref(&id));
        let (offer, _) = ask(&mut table, &discover).unwrap();
        lease(&mut table, GUEST, offer.yiaddr());
        assert_eq!(offer.yiaddr(), Ipv4Addr::new(192, 168, 80, 254));
    }
}

#[test]
fn rfc4039_a_client_that_can_gets_its_lease_at_once() {
    let mut table = table();
    let mut discover = message(MessageType::Discover, GUEST, &[]).to_vec().unwrap();
    let end = discover.iter().rposition(|b| *b == 255).unwrap();
    discover.splice(end..end, [80, 0]);
    let reply = handle(&mut table, 1000, &discover).reply.unwrap();
    let ack = v4::Message::from_bytes(&reply.bytes).unwrap();
    assert_eq!(kind(&ack), MessageType::Ack);
    assert!(codes(&reply.bytes).contains(&80));
    assert!(reply.promises);
    assert_eq!(table.leases(1000).next().unwrap().address, ack.yiaddr());
}

#[test]
fn rfc2132_parameters_come_as_asked_for_and_no_others() {
    let mut table = table();
    let ask = |table: &mut Table, wanted: &[OptionCode]| {
        let list = DhcpOption::ParameterRequestList(wanted.to_vec());
        let discover = message(MessageType::Discover, NODE, &[list]);
        codes(&at(table, 1000, &discover).reply.unwrap().bytes)
    };
    use OptionCode::{DomainName, DomainNameServer, Hostname, NtpServers, Router, SubnetMask};
    let wanted = [Hostname, DomainName, NtpServers, DomainNameServer, Hostname];
    assert_eq!(ask(&mut table, &wanted), [53, 54, 51, 12, 15, 6]);
    let mask_last = [Router, SubnetMask];
    assert_eq!(
        ask(&mut table, &mask_last),
        [53, 54, 51, 1, 3],
        "section 3.3"
    );
    let discover = message(MessageType::Discover, NODE, &[]);
    let all = codes(&at(&mut table, 1000, &discover).reply.unwrap().bytes);
    assert_eq!(all, [53, 54, 51, 1, 3, 6, 12, 15, 26, 28, 58, 59]);
}

#[test]
fn rfc3442_routes_are_packed_and_the_default_is_among_them() {
    let mut config = config();
    let router = Ipv4Addr::new(192, 168, 80, 3);
    config.routes = vec![
        ("10.0.0.0/8".parse().unwrap(), router),
        ("10.229.0.128/25".parse().unwrap(), router),
    ];
    let mut table = table_of(config);
    let discover = message(MessageType::Discover, NODE, &[]);
    let bytes = at(&mut table, 1000, &discover).reply.unwrap().bytes;
    let packed = [
        &[121, 20][..],
        &[0, 192, 168, 80, 1],
        &[8, 10, 192, 168, 80, 3],
        &[25, 10, 229, 0, 128, 192, 168, 80, 3],
    ]
    .concat();
    assert!(bytes.windows(packed.len()).any(|w| w == packed));
}

#[test]
fn rfc2131_a_client_may_ask_for_a_shorter_lease() {
    let mut table = table();
    for (wish, given) in [(600, 600), (1, 60), (u32::MAX, HOUR)] {
        let options = [requested(FREE), ours(), DhcpOption::AddressLeaseTime(wish)];
        let (ack, _) = ask(&mut table, &message(MessageType::Request, GUEST, &options)).unwrap();
        let time = DhcpOption::AddressLeaseTime(given);
        assert_eq!(ack.opts().get(OptionCode::AddressLeaseTime), Some(&time));
        let ends = table.leases(1000).next().unwrap().expires;
        assert_eq!(ends, 1000 + u64::from(given));
    }
}

#[test]
fn rfc3046_what_a_relay_added_comes_back_to_it_last() {
    let mut table = table();
    let relay = Ipv4Addr::new(192, 168, 80, 4);
    let agent = [82, 6, 1, 4, b'p', b'o', b'r', b't'];
    let mut discover = message(MessageType::Discover, NODE, &[]);
    discover.set_giaddr(relay);
    let mut bytes = discover.to_vec().unwrap();
    let end = bytes.iter().rposition(|b| *b == 255).unwrap();
    bytes.splice(end..end, agent);
    let reply = handle(&mut table, 1000, &bytes).reply.unwrap();
    assert_eq!(reply.to, Destination::Relay(relay));
    assert_eq!(codes(&reply.bytes).last(), Some(&82));
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
        (kind(&nak), to),
        (MessageType::Nak, Destination::Relay(relay))
    );
    assert!(nak.flags().broadcast());
}

/// A lease query of dhcproto's making.
fn query(mac: Option<MacAddr>, ciaddr: Ipv4Addr) -> Vec<u8> {
    let mut query = message(MessageType::LeaseQuery, mac.unwrap_or(MacAddr([0; 6])), &[]);
    query.set_ciaddr(ciaddr);
    query.set_giaddr(Ipv4Addr::new(192, 168, 80, 4));
    let mut bytes = query.to_vec().unwrap();
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
        v4::Message::from_bytes(&reply.bytes).unwrap()
    };
    let active = ask(&query(None, FREE), 1600);
    assert_eq!(kind(&active), MessageType::LeaseActive);
    assert_eq!((active.chaddr(), active.ciaddr()), (&GUEST.0[..], FREE));
    let left = DhcpOption::AddressLeaseTime(3000);
    assert_eq!(active.opts().get(OptionCode::AddressLeaseTime), Some(&left));
    let by_mac = ask(&query(Some(GUEST), NONE), 1600);
    assert_eq!(
        (kind(&by_mac), by_mac.ciaddr()),
        (MessageType::LeaseActive, FREE)
    );
    let reserved = ask(&query(None, NODE_ADDRESS), 1600);
    assert_eq!(kind(&reserved), MessageType::LeaseActive);
    let none = ask(&query(None, Ipv4Addr::new(192, 168, 80, 51)), 1600);
    assert_eq!(kind(&none), MessageType::LeaseUnassigned);
    let ran_out = ask(&query(None, FREE), 99_999);
    assert_eq!(kind(&ran_out), MessageType::LeaseUnassigned);
    for unknown in [
        query(None, Ipv4Addr::new(10, 0, 0, 1)),
        query(Some(STRANGER), NONE),
    ] {
        assert_eq!(kind(&ask(&unknown, 1600)), MessageType::LeaseUnknown);
    }
    let mut no_relay = query(None, FREE);
    no_relay[24..28].fill(0);
    assert_eq!(handle(&mut table, 1600, &no_relay).reply, None);
}

#[test]
fn only_what_changes_a_lease_counts_as_a_change() {
    let mut table = table();
    let mut changes = |kind, mac, options: &[DhcpOption], ciaddr: Ipv4Addr, now: u64| {
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

#[test]
fn p25_malformed_packets_are_met_with_silence() {
    let good = message(MessageType::Discover, NODE, &[]).to_vec().unwrap();
    let end = good.iter().rposition(|b| *b == 255).unwrap();
    let silence = |packet: &[u8], why: &str| {
        assert_eq!(handle(&mut table(), 0, packet), Outcome::default(), "{why}");
    };
    for (at, value, why) in [
        (0, 2, "op"),
        (1, 6, "htype"),
        (2, 17, "hlen"),
        (2, 255, "hlen"),
        (236, 0, "cookie"),
        (28, 0xff, "a group's Ethernet address"),
        (242, 2, "an offer, which servers send"),
        (242, 0, "no such type"),
        (241, 0, "a type without a value"),
    ] {
        let mut bad = good.clone();
        bad[at] = value;
        silence(&bad, why);
    }
    silence(&good[..239], "too short");
    let mut no_mac = good.clone();
    no_mac[28..34].fill(0);
    silence(&no_mac, "no Ethernet address");
    let mut over = good.clone();
    over.splice(end.., [61, 200, 1, 2]);
    silence(&over, "an option over its end");
    let mut twice = good.clone();
    twice.splice(end..end, [53, 1, 1]);
    silence(&twice, "two types");
    let answered = |with: &[u8], why: &str| {
        let mut odd = good.clone();
        odd.splice(end.., with.iter().copied());
        assert!(handle(&mut table(), 0, &odd).reply.is_some(), "{why}");
    };
    answered(&[], "no end");
    answered(&[61, 1, 9, 255], "a client identifier too short to be one");
    answered(
        &[12, 0, 12, 3, 0xff, 0xfe, 0, 255],
        "host names of no sense",
    );
    answered(
        &[[61, 254].as_slice(), &[7; 254], &[255]].concat(),
        "a long identifier",
    );
    answered(
        &[57, 2, 0, 1, 55, 0, 255],
        "a size of one byte, an empty list",
    );
}

#[test]
fn p25_ten_thousand_strangers_keep_out_neither_a_node_nor_the_one_who_means_it() {
    let mut table = table();
    let discover = |mac| message(MessageType::Discover, mac, &[]).to_vec().unwrap();
    for n in 0..10_000_u32 {
        let [_, a, b, c] = n.to_be_bytes();
        let _offered_or_not = handle(&mut table, 1000, &discover(MacAddr([2, 1, 1, a, b, c])));
    }
    let node = handle(&mut table, 1000, &discover(NODE)).reply.unwrap();
    assert_eq!(
        v4::Message::from_bytes(&node.bytes).unwrap().yiaddr(),
        NODE_ADDRESS
    );
    let offer = handle(&mut table, 1000, &discover(GUEST)).reply.unwrap();
    let address = v4::Message::from_bytes(&offer.bytes).unwrap().yiaddr();
    lease(&mut table, GUEST, address);
}

#[test]
fn p25_a_full_range_is_told_of() {
    let mut table = table();
    for n in 0..252 {
        let mac = MacAddr([2, 1, 1, 0, 0, n]);
        let (offer, _) = ask(&mut table, &message(MessageType::Discover, mac, &[])).unwrap();
        lease(&mut table, mac, offer.yiaddr());
    }
    let outcome = at(
        &mut table,
        1000,
        &message(MessageType::Discover, GUEST, &[]),
    );
    assert_eq!(outcome.notices[0].kind, NoticeKind::RangeFull);
    assert_eq!(outcome.reply, None);
    // An hour later the one that ran out first is reused.
    let later = at(
        &mut table,
        1000 + 3601,
        &message(MessageType::Discover, GUEST, &[]),
    );
    assert!(later.reply.is_some());
}

proptest! {
    #[test]
    fn p25_no_bytes_make_it_fall_over(
        options in proptest::collection::vec(any::<u8>(), 0..400),
        fixed in proptest::collection::vec(any::<u8>(), 236),
        kind in 0_u8..16,
    ) {
        let mut packet = fixed;
        packet[..3].copy_from_slice(&[1, 1, 6]);
        packet[24..28].copy_from_slice(&[0; 4]);
        packet[28] &= 0xfe;
        packet.extend([99, 130, 83, 99, 53, 1, kind]);
        packet.extend(options);
        if let Some(reply) = handle(&mut table(), 0, &packet).reply {
            prop_assert!(reply.bytes.len() >= 300);
            prop_assert!(v4::Message::from_bytes(&reply.bytes).is_ok());
        }
    }

    #[test]
    fn p14_no_two_clients_are_given_one_address(clients in proptest::collection::vec((0_u8..40, 0_u64..20), 1..200)) {
        let mut table = table();
        let mut now = 0;
        for (client, pause) in clients {
            now += pause;
            let mac = MacAddr([2, 0, 0, 0, 0, client]);
            let discover = message(MessageType::Discover, mac, &[]);
            let Some(offer) = at(&mut table, now, &discover).reply else { continue };
            let address = v4::Message::from_bytes(&offer.bytes).unwrap().yiaddr();
            prop_assert_ne!(address, NODE_ADDRESS);
            prop_assert!(table.leases(now).all(|l| l.address != address || l.mac == mac));
            let options = [requested(address), ours()];
            let request = message(MessageType::Request, mac, &options);
            prop_assert!(at(&mut table, now, &request).reply.is_some());
        }
    }
}
