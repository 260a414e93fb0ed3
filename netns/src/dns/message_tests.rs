use hickory_proto::op::{Edns as TheirEdns, Message as Theirs, MessageType, OpCode, Query};
use hickory_proto::rr::{RData, Record, RecordType, rdata};

use super::super::wire::embedded;
use super::*;

fn response() -> Theirs {
    let name = Name::from_ascii("www.Example.com.").unwrap();
    let mut message = Theirs::new(7, MessageType::Response, OpCode::Query);
    message.add_query(Query::query(name.clone(), RecordType::A));
    let alias = Name::from_ascii("host.example.com.").unwrap();
    message.add_answer(Record::from_rdata(
        name,
        300,
        RData::CNAME(rdata::CNAME(alias.clone())),
    ));
    message.add_answer(Record::from_rdata(
        alias,
        60,
        RData::A(rdata::A::new(192, 0, 2, 7)),
    ));
    let mut edns = TheirEdns::new();
    edns.set_max_payload(1232).set_dnssec_ok(true);
    message.set_edns(edns);
    message
}

#[test]
fn records_and_edns_are_found() {
    let bytes = response().to_vec().unwrap();
    let message = Message::parse(&bytes).unwrap();
    assert_eq!((message.kind(), message.class()), (1, 1));
    assert_eq!(message.spans.len(), 3);
    let [alias, address, _opt] = message.spans.as_slice() else {
        panic!("other spans");
    };
    let target = message.target(alias).unwrap();
    assert_eq!(target.to_ascii(), "host.example.com.");
    assert_eq!(message.addresses(address), [IpAddr::from([192, 0, 2, 7])]);
    let edns = message.edns().unwrap().unwrap();
    assert_eq!((edns.size, edns.dnssec, edns.version), (1232, true, 0));
    assert_eq!(message.ttl(), 60);
    let plain = message.without_opt();
    let plain = Message::parse(&plain).unwrap();
    assert_eq!(plain.spans.len(), 2);
    let later = plain.aged(70);
    let later = Theirs::from_vec(&later).unwrap();
    let ttls: Vec<_> = later.answers.iter().map(|r| r.ttl).collect();
    assert_eq!(ttls, [230, 0]);
}

#[test]
fn truncated_and_malformed_bytes_are_no_message() {
    let whole = response().to_vec().unwrap();
    for length in 0..whole.len() {
        assert!(Message::parse(&whole[..length]).is_none(), "{length}");
    }
    for second in [0, 12] {
        let mut pointer = whole.clone();
        pointer[HEADER..HEADER + 2].copy_from_slice(&[0xc0, second]);
        assert!(Message::parse(&pointer).is_none());
    }
    let mut two = whole;
    two[5] = 2;
    assert!(Message::parse(&two).is_none());
}

#[test]
fn a_negative_answer_has_the_ttl_of_its_soa() {
    let mut message = response();
    message.answers.clear();
    let zone = Name::from_ascii("example.com.").unwrap();
    let soa = rdata::SOA::new(zone.clone(), zone.clone(), 1, 2, 3, 4, 30);
    message.add_authority(Record::from_rdata(zone, 900, RData::SOA(soa)));
    let bytes = message.to_vec().unwrap();
    assert_eq!(Message::parse(&bytes).unwrap().ttl(), 30);
    message.authorities.clear();
    let bytes = message.to_vec().unwrap();
    assert_eq!(
        Message::parse(&bytes).unwrap().ttl(),
        0,
        "nothing says how long"
    );
}

#[test]
fn hints_of_https_records_are_addresses_too() {
    let mut bytes = vec![0, 7, 0x80, 0, 0, 1, 0, 1, 0, 0, 0, 0];
    bytes.extend(b"\x01a\x00\x00\x41\x00\x01");
    bytes.extend(b"\xc0\x0c\x00\x41\x00\x01\x00\x00\x00\x3c\x00\x13");
    bytes.extend(b"\x00\x01\x00\x00\x01\x00\x00\x00\x04\x00\x08\xc0\xa8\x50\x02\xcb\x00\x71\x01");
    let message = Message::parse(&bytes).unwrap();
    let found = message.addresses(&message.spans[0]);
    let wanted: Vec<IpAddr> = vec![[192, 168, 80, 2].into(), [203, 0, 113, 1].into()];
    assert_eq!(found, wanted);
}

#[test]
fn an_ipv4_address_in_an_ipv6_address_is_found() {
    for text in ["::ffff:192.168.80.2", "64:ff9b::c0a8:5002"] {
        assert_eq!(
            embedded(text.parse().unwrap()),
            IpAddr::from([192, 168, 80, 2])
        );
    }
    let plain: IpAddr = "2001:db8::1".parse().unwrap();
    assert_eq!(embedded(plain), plain);
}
