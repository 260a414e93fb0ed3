//! A resolver on the "internet", over UDP and TCP. A test sets its answers.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType, rdata};

use super::support::ip;

/// The questions that it received, each with the largest datagram that the client accepts.
#[derive(Clone, Default)]
pub(crate) struct Asked(Arc<Mutex<Vec<(String, u16)>>>);

impl Asked {
    pub(crate) fn names(&self) -> Vec<String> {
        let all = self.0.lock().unwrap();
        all.iter().map(|(name, _)| name.clone()).collect()
    }

    pub(crate) fn count(&self, name: &str) -> usize {
        self.names().iter().filter(|n| *n == name).count()
    }
}

/// Adds an address to this namespace and serves on it, until the namespace ends.
pub(crate) fn serve(address: Ipv4Addr) -> Asked {
    ip(&["address", "add", &format!("{address}/32"), "dev", "lo"]);
    let asked = Asked::default();
    let udp = UdpSocket::bind((address, 53)).unwrap();
    let tcp = TcpListener::bind((address, 53)).unwrap();
    let record = asked.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, client)) = udp.recv_from(&mut buffer) {
            if let Some(answer) = answer(address, &buffer[..length], &record, false) {
                udp.send_to(&answer, client).unwrap();
            }
        }
    });
    let record = asked.clone();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = tcp.accept() {
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut question).unwrap();
            if let Some(answer) = answer(address, &question, &record, true) {
                let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
                stream.write_all(&[&length[..], &answer].concat()).unwrap();
            }
        }
    });
    asked
}

fn answer(own: Ipv4Addr, question: &[u8], asked: &Asked, stream: bool) -> Option<Vec<u8>> {
    let question = Message::from_vec(question).unwrap();
    let name = question.queries[0].name().clone();
    let kind = question.queries[0].query_type();
    let text = name.to_ascii().to_ascii_lowercase();
    asked
        .0
        .lock()
        .unwrap()
        .push((text.clone(), question.max_payload()));
    let mut reply = question.into_response();
    reply.metadata.recursion_available = true;
    let host = text.split('.').next().unwrap();
    let data = match (host, kind) {
        ("silent", _) => return None,
        ("www", RecordType::A) => vec![a([203, 0, 113, 80])],
        ("www", RecordType::AAAA) => {
            vec![RData::AAAA(rdata::AAAA("2001:db8::80".parse().unwrap()))]
        }
        ("who", RecordType::TXT) => vec![txt(own.to_string())],
        ("evil", RecordType::A) => vec![a([203, 0, 113, 1]), a([192, 0, 2, 2])],
        ("alias", RecordType::A) => vec![RData::CNAME(rdata::CNAME(
            Name::from_ascii("master0.k80.internal.").unwrap(),
        ))],
        ("big", RecordType::TXT) => (0..20)
            .map(|i| txt(format!("{i:02}{}", "x".repeat(248))))
            .collect(),
        ("broken", _) => {
            reply.metadata.response_code = ResponseCode::ServFail;
            Vec::new()
        }
        _ => {
            let zone = Name::from_ascii("example.com.").unwrap();
            let soa = rdata::SOA::new(zone.clone(), zone.clone(), 1, 2, 3, 4, 30);
            reply.add_authority(Record::from_rdata(zone, 60, RData::SOA(soa)));
            if host != "www" {
                reply.metadata.response_code = ResponseCode::NXDomain;
            }
            Vec::new()
        }
    };
    for data in data {
        reply.add_answer(Record::from_rdata(name.clone(), 60, data));
    }
    if reply.to_vec().unwrap().len() > 1232 && !stream {
        reply = reply.truncate();
    }
    Some(reply.to_vec().unwrap())
}

fn a(octets: [u8; 4]) -> RData {
    match IpAddr::from(octets) {
        IpAddr::V4(v4) => RData::A(rdata::A(v4)),
        IpAddr::V6(_) => unreachable!(),
    }
}

fn txt(text: String) -> RData {
    RData::TXT(rdata::TXT::new(vec![text]))
}
