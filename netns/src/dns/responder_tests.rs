use std::net::IpAddr;
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, Record as ResourceRecord, RecordType, rdata};

use super::{
    Action, ForwardedQuery, Record, ReplyKind, Resolution, Responder, Zone, ZoneSpec, classify,
    parse_domain,
};
use crate::Protocol;

fn responder() -> Responder {
    let domain = parse_domain("k80.internal").unwrap();
    let range: ipnetwork::IpNetwork = "192.168.80.0/24".parse().unwrap();
    let long = format!("long TXT {}", "x".repeat(250));
    let records = ["out CNAME www.example.com.", "api A 192.168.80.9", &long];
    let host = |end: u8| vec![IpAddr::from([192, 168, 80, end])];
    let spec = ZoneSpec {
        gateway: host(1),
        subnets: vec![range],
        hosts: vec![("master0".to_owned(), host(2))],
        balancers: [host(4), host(5)].concat(),
        records: records
            .iter()
            .map(|r| Record::parse(r, &domain).unwrap())
            .collect(),
        serial: 1,
        domain,
    };
    Responder::new(Zone::new(&spec).unwrap(), vec![range])
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn question(text: &str, kind: RecordType, edns: Option<u16>) -> Vec<u8> {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name(text), kind));
    if let Some(size) = edns {
        let mut edns = Edns::new();
        edns.set_max_payload(size);
        message.set_edns(edns);
    }
    message.to_vec().unwrap()
}

fn replied(responder: &mut Responder, bytes: &[u8]) -> Message {
    match responder.receive(Instant::now(), bytes, Protocol::Udp, true) {
        Action::Reply(reply) => Message::from_vec(&reply).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn asked(responder: &mut Responder, bytes: &[u8]) -> Box<ForwardedQuery> {
    match responder.receive(Instant::now(), bytes, Protocol::Udp, true) {
        Action::Forward(query) => query,
        other => panic!("{other:?}"),
    }
}

/// A resolver's answer to `ask` with `records`; the last one goes into the additional section if `extra`.
fn answer(ask: &ForwardedQuery, records: &[(&str, RData)], extra: bool) -> Vec<u8> {
    let sent = Message::from_vec(&ask.question(9, &[0xff; 32], false)).unwrap();
    let mut message = sent.into_response();
    message.metadata.recursion_available = true;
    message.metadata.authentic_data = true;
    for (i, (owner, data)) in records.iter().enumerate() {
        let record = ResourceRecord::from_rdata(name(owner), 300, data.clone());
        if extra && i + 1 == records.len() {
            message.add_additional(record);
        } else {
            message.add_answer(record);
        }
    }
    message.to_vec().unwrap()
}

fn a(text: &str) -> RData {
    RData::A(rdata::A(text.parse().unwrap()))
}

#[test]
fn names_of_ours_are_answered_at_once() {
    let mut responder = responder();
    let reply = replied(
        &mut responder,
        &question("MasTer0.k80.internal.", RecordType::A, Some(4096)),
    );
    assert_eq!(
        (reply.metadata.id, reply.metadata.response_code),
        (4711, ResponseCode::NoError)
    );
    assert!(reply.metadata.authoritative && reply.metadata.recursion_available);
    assert_eq!(reply.answers[0].data, a("192.168.80.2"));
    assert!(
        reply.queries[0]
            .name()
            .eq_case(&name("MasTer0.k80.internal."))
    );
    assert_eq!(reply.edns.unwrap().max_payload(), 1232);
    let none = replied(
        &mut responder,
        &question("nobody.k80.internal.", RecordType::A, None),
    );
    assert_eq!(none.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(none.authorities[0].record_type(), RecordType::SOA);
    assert!(none.edns.is_none());
    let nodata = replied(
        &mut responder,
        &question("master0.k80.internal.", RecordType::AAAA, None),
    );
    assert_eq!(nodata.metadata.response_code, ResponseCode::NoError);
    assert_eq!((nodata.answers.len(), nodata.authorities.len()), (0, 1));
}

#[test]
fn load_balancers_take_turns() {
    let mut responder = responder();
    let bytes = question("x.lb.k80.internal.", RecordType::A, None);
    let mut first = || replied(&mut responder, &bytes).answers[0].data.to_string();
    assert_ne!(first(), first());
}

#[test]
fn what_is_no_question_is_told_so_or_dropped() {
    let mut responder = responder();
    let whole = question("example.com.", RecordType::A, Some(1232));
    let mut ask = |bytes: &[u8]| responder.receive(Instant::now(), bytes, Protocol::Udp, true);
    assert!(matches!(ask(&[]), Action::Drop));
    assert!(matches!(ask(&whole[..11]), Action::Drop));
    let change = |at: usize, to: u8| {
        let mut bytes = whole.clone();
        bytes[at] = to;
        bytes
    };
    assert!(
        matches!(ask(&change(2, 0x81)), Action::Drop),
        "a reply is not a question"
    );
    for (bytes, code) in [
        (whole[..20].to_vec(), ResponseCode::FormErr),
        (change(5, 2), ResponseCode::FormErr),
        (change(2, 0x29), ResponseCode::NotImp),
        (
            question("example.com.", RecordType::AXFR, None),
            ResponseCode::Refused,
        ),
        (
            question("example.com.", RecordType::from(41), None),
            ResponseCode::FormErr,
        ),
        (change(2, 0), ResponseCode::Refused),
        (change(28, 3), ResponseCode::Refused),
        (change(35, 1), ResponseCode::BADVERS),
    ] {
        let Action::Reply(reply) = ask(&bytes) else {
            panic!("{bytes:?}");
        };
        let reply = Message::from_vec(&reply).unwrap();
        let high = reply.edns.as_ref().map_or(0, Edns::rcode_high);
        let low = reply.metadata.response_code.low();
        assert_eq!((high, low), (code.high(), code.low()), "{bytes:?}");
        assert_eq!(reply.metadata.id, 4711);
    }
}

#[test]
fn answers_of_others_come_as_they_are_and_are_kept() {
    let mut responder = responder();
    let bytes = question("WWW.example.com.", RecordType::A, Some(1232));
    let ask = asked(&mut responder, &bytes);
    let got = answer(&ask, &[("www.example.com.", a("203.0.113.7"))], false);
    let now = Instant::now();
    let resolution = responder.resolve(now, &ask, &got);
    let reply = Message::from_vec(&ask.reply(&resolution, 0)).unwrap();
    assert_eq!((reply.metadata.id, reply.answers[0].ttl), (4711, 300));
    assert!(reply.queries[0].name().eq_case(&name("WWW.example.com.")));
    assert!(
        !reply.metadata.authentic_data,
        "the client did not ask for it"
    );
    let later = now + Duration::from_secs(100);
    let Action::Reply(again) = responder.receive(later, &bytes, Protocol::Udp, true) else {
        panic!("it was not kept");
    };
    assert_eq!(Message::from_vec(&again).unwrap().answers[0].ttl, 200);
    let end = now + Duration::from_secs(300);
    assert!(matches!(
        responder.receive(end, &bytes, Protocol::Udp, true),
        Action::Forward(_)
    ));
    responder.forget();
    assert!(matches!(
        responder.receive(later, &bytes, Protocol::Udp, true),
        Action::Forward(_)
    ));
}

#[test]
fn p57_no_answer_from_outside_leads_inside() {
    let alias = |to: &str| RData::CNAME(rdata::CNAME(name(to)));
    let v6 = |text: &str| RData::AAAA(rdata::AAAA(text.parse().unwrap()));
    for records in [
        vec![("evil.example.", a("192.168.80.2"))],
        vec![
            ("evil.example.", a("203.0.113.1")),
            ("evil.example.", a("192.168.80.77")),
        ],
        vec![("evil.example.", a("127.0.0.1"))],
        vec![("evil.example.", a("0.0.0.0"))],
        vec![("evil.example.", v6("::1"))],
        vec![("evil.example.", v6("::"))],
        vec![("evil.example.", v6("::ffff:192.168.80.2"))],
        vec![("evil.example.", v6("64:ff9b::c0a8:5002"))],
        vec![
            ("evil.example.", alias("x.example.")),
            ("x.example.", a("192.168.80.2")),
        ],
        vec![("evil.example.", alias("Master0.k80.internal."))],
        vec![("evil.example.", alias("master0."))],
        vec![(
            "evil.example.",
            RData::SRV(rdata::SRV::new(1, 2, 80, name("master0.k80.internal."))),
        )],
    ] {
        for extra in [false, true] {
            let mut responder = responder();
            let ask = asked(
                &mut responder,
                &question("evil.example.", RecordType::A, Some(1232)),
            );
            let resolution =
                responder.resolve(Instant::now(), &ask, &answer(&ask, &records, extra));
            let bytes = ask.reply(&resolution, 0);
            let reply = Message::from_vec(&bytes).unwrap();
            assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
            assert!(
                reply.answers.is_empty() && reply.additionals.is_empty(),
                "{records:?}"
            );
            assert!(bytes.windows(2).any(|w| w == [0, 15]), "no extended error");
        }
    }
    let mut responder = responder();
    let ask = asked(
        &mut responder,
        &question("fine.example.", RecordType::A, None),
    );
    let fine = answer(&ask, &[("fine.example.", a("192.168.81.2"))], false);
    let resolution = responder.resolve(Instant::now(), &ask, &fine);
    let reply = Message::from_vec(&ask.reply(&resolution, 0)).unwrap();
    assert_eq!(
        reply.answers.len(),
        1,
        "a range of somebody else's is theirs to use"
    );
}

#[test]
fn an_alias_of_ours_leads_on() {
    let mut responder = responder();
    let ask = asked(
        &mut responder,
        &question("out.k80.internal.", RecordType::A, None),
    );
    let sent = Message::from_vec(&ask.question(9, &[0; 32], true)).unwrap();
    assert_eq!(sent.queries[0].name(), &name("www.example.com."));
    let got = answer(&ask, &[("www.example.com.", a("203.0.113.7"))], false);
    let resolution = responder.resolve(Instant::now(), &ask, &got);
    let reply = Message::from_vec(&ask.reply(&resolution, 0)).unwrap();
    assert_eq!(reply.queries[0].name(), &name("out.k80.internal."));
    let said: Vec<_> = reply.answers.iter().map(|r| r.data.to_string()).collect();
    assert_eq!(said, ["www.example.com.", "203.0.113.7"]);
}

#[test]
fn a_reply_is_as_long_as_the_client_takes() {
    let mut responder = responder();
    let texts: Vec<_> = (0..5)
        .map(|i| {
            (
                "big.example.",
                RData::TXT(rdata::TXT::new(vec![format!("{i}{}", "x".repeat(200))])),
            )
        })
        .collect();
    for (edns, whole) in [
        (None, false),
        (Some(512), false),
        (Some(1232), true),
        (Some(100), false),
    ] {
        let bytes = question("big.example.", RecordType::TXT, edns);
        let limit = usize::from(edns.unwrap_or(512).clamp(512, 1232));
        responder.forget();
        let ask = asked(&mut responder, &bytes);
        let resolution = responder.resolve(Instant::now(), &ask, &answer(&ask, &texts, false));
        let reply = ask.reply(&resolution, 0);
        assert!(reply.len() <= limit, "{} bytes for {edns:?}", reply.len());
        let reply = Message::from_vec(&reply).unwrap();
        assert_eq!(reply.metadata.truncation, !whole, "{edns:?}");
        assert_eq!(reply.answers.len(), if whole { 5 } else { 0 });
        let Action::Reply(stream) = responder.receive(Instant::now(), &bytes, Protocol::Tcp, true)
        else {
            panic!("not kept");
        };
        assert_eq!(Message::from_vec(&stream).unwrap().answers.len(), 5);
    }
}

#[test]
fn a_failure_says_what_it_is() {
    let mut responder = responder();
    let ask = asked(
        &mut responder,
        &question("example.com.", RecordType::A, Some(1232)),
    );
    let bytes = ask.reply(&Resolution::failed("the host has no resolver"), 0);
    let reply = Message::from_vec(&bytes).unwrap();
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    let text = b"the host has no resolver";
    assert!(bytes.windows(text.len()).any(|w| w == text));
}

#[test]
fn only_the_answer_to_the_question_is_heard() {
    let mut responder = responder();
    let ask = asked(
        &mut responder,
        &question("www.example.com.", RecordType::A, None),
    );
    let sent = ask.question(9, &[0b0101_0101; 32], false);
    let reply = |change: &dyn Fn(&mut Vec<u8>)| {
        let message = Message::from_vec(&sent).unwrap().into_response();
        let mut bytes = message.to_vec().unwrap();
        change(&mut bytes);
        classify(&sent, &bytes)
    };
    assert_eq!(reply(&|_| {}), ReplyKind::Answer);
    assert_eq!(reply(&|b| b[1] ^= 1), ReplyKind::Other, "another number");
    assert_eq!(reply(&|b| b[13] ^= 0x20), ReplyKind::Other, "another case");
    assert_eq!(reply(&|b| b[2] &= 0x7f), ReplyKind::Other, "a question");
    assert_eq!(reply(&|b| b[2] |= 2), ReplyKind::Truncated);
    assert_eq!(reply(&|b| b[3] |= 2), ReplyKind::Refusal);
    assert_eq!(reply(&|b| b.truncate(20)), ReplyKind::Other);
    assert!(sent.iter().any(u8::is_ascii_uppercase) && sent.iter().any(u8::is_ascii_lowercase));
    let plain = ask.question(9, &[0xff; 32], true);
    assert!(!plain.iter().any(u8::is_ascii_uppercase));
}
