//! Sends random messages through the whole name server except its sockets: a client's question, a resolver's
//! answer, the reply. The server must not panic, hang or grow. Another decoder than the server's checks the
//! replies.
//!
//! Every run replays `corpus.txt` and then some mutations of it. For a long run:
//!
//!     KVMC_FUZZ=10000000 cargo test --release -p kvmc-netns --test dns_fuzz -- --nocapture
//!
//! The driver mutates an input further when it behaves in a new way. With `KVMC_FUZZ_KEEP=1` it adds such inputs
//! to the corpus.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "test support is test code too"
)]

use std::collections::HashSet;
use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hickory_proto::op::Message;
use hickory_proto::rr::{Name, RData, Record as ResourceRecord, RecordType};
use kvmc_netns::Protocol;
use kvmc_netns::dns::{
    Action, ForwardedQuery, Record, Responder, Zone, ZoneSpec, classify, parse_domain,
};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Mutations in an ordinary run.
const FEW: u64 = 30_000;
/// Longest time for a single input, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(2);
/// KiB by which the process may grow after the first tenth of the inputs. This driver also keeps inputs.
const GROWTH: u64 = 8192;
const MOST_KEPT: usize = 4000;

fn corpus_file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/dns_fuzz/corpus.txt")
}

/// Lines of hex digits; `#` begins a comment.
fn corpus() -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(corpus_file()).unwrap();
    let lines = text
        .lines()
        .filter(|l| !l.starts_with('#') && !l.is_empty());
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    lines
        .map(|l| l.as_bytes().chunks(2).map(byte).collect())
        .collect()
}

fn responder() -> Responder {
    let domain = parse_domain("k80.internal").unwrap();
    let range: ipnetwork::IpNetwork = "192.168.80.0/24".parse().unwrap();
    let lines = [
        "out CNAME www.example.com.",
        "a A 192.168.80.9",
        "*.w TXT x",
        "s SRV 1 2 3 a",
    ];
    let host = |end: u8| vec![IpAddr::from([192, 168, 80, end])];
    let spec = ZoneSpec {
        gateway: host(1),
        subnets: vec![range],
        hosts: vec![("master0".to_owned(), host(2))],
        balancers: [host(4), host(5)].concat(),
        records: lines
            .iter()
            .map(|r| Record::parse(r, &domain).unwrap())
            .collect(),
        serial: 1,
        domain,
    };
    Responder::new(Zone::new(&spec).unwrap(), vec![range])
}

/// The behaviour of an input. The driver takes inputs of one behaviour for equal.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Behaviour(Vec<u8>);

struct Bench {
    responder: Responder,
    ask: Box<ForwardedQuery>,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let mut responder = responder();
        let now = Instant::now();
        let ask = question(&mut responder, now, b"\x03www\x07example\x03com");
        Self {
            responder,
            ask,
            now,
        }
    }

    /// Passes one input to every entry for bytes from outside.
    fn run(&mut self, input: &[u8]) -> Behaviour {
        self.now += Duration::from_millis(10);
        let mut seen = Vec::new();
        for (by, forwards) in [
            (Protocol::Udp, true),
            (Protocol::Tcp, true),
            (Protocol::Udp, false),
        ] {
            match self.responder.receive(self.now, input, by, forwards) {
                Action::Drop => seen.push(0),
                Action::Reply(reply) => {
                    self.check(&reply, by);
                    seen.extend([1, reply[2], reply[3], reply[7].min(3), reply[9].min(2)]);
                }
                Action::Forward(ask) => {
                    assert!(forwards, "an isolated network asked");
                    let sent = ask.question(0x1234, &[0xa5; 32], false);
                    Message::from_vec(&sent).expect("the question for a resolver is none");
                    let resolution = self.responder.resolve(self.now, &ask, input);
                    self.check(&ask.reply(&resolution, 7), by);
                    seen.push(2);
                }
            }
        }
        // As a resolver's answer to a question that was asked.
        let sent = self.ask.question(
            u16::from_be_bytes([input.first().copied().unwrap_or(0), 7]),
            &[0x5a; 32],
            false,
        );
        seen.push(classify(&sent, input) as u8);
        seen.push(classify(&self.ask.question(7, &[0; 32], true), input) as u8);
        let resolution = self.responder.resolve(self.now, &self.ask, input);
        let reply = self.ask.reply(&resolution, 3);
        self.check(&reply, Protocol::Udp);
        seen.extend([reply[3], reply[7].min(4), reply[9].min(4), reply[11].min(4)]);
        // As words in kvmc.toml.
        let text = String::from_utf8_lossy(input);
        let domain = parse_domain("k80.internal").unwrap();
        seen.push(u8::from(Record::parse(&text, &domain).is_ok()));
        seen.push(u8::from(parse_domain(&text).is_ok()));
        Behaviour(seen)
    }

    /// Checks that a reply to a client has the right length, and points inside only if our zone says so.
    fn check(&self, reply: &[u8], by: Protocol) {
        assert!(
            reply.len() >= 12 && reply[2] & 0x80 != 0,
            "no reply: {reply:02x?}"
        );
        let limit = if by == Protocol::Tcp { 65535 } else { 1232 };
        assert!(reply.len() <= limit, "{} bytes", reply.len());
        // Our own replies must parse whole. Those of others may hold anything except our addresses.
        let authoritative = reply[2] & 4 != 0;
        match Message::from_vec(reply) {
            Err(e) => assert!(!authoritative, "our own reply is malformed: {e}"),
            Ok(message) if !authoritative => {
                let aliases = message
                    .answers
                    .iter()
                    .take_while(|r| is_ours(&r.name))
                    .count();
                for record in message.all_sections().skip(aliases) {
                    assert!(!leads_inside(record), "{record}");
                }
            }
            Ok(_) => {}
        }
    }
}

fn is_ours(name: &Name) -> bool {
    parse_domain("k80.internal").unwrap().zone_of(name)
}

fn leads_inside(record: &ResourceRecord) -> bool {
    let inside = |a: IpAddr| {
        let range: ipnetwork::IpNetwork = "192.168.80.0/24".parse().unwrap();
        a.is_loopback() || a.is_unspecified() || range.contains(a)
    };
    match &record.data {
        RData::A(a) => inside(a.0.into()),
        RData::AAAA(a) => inside(a.0.to_ipv4_mapped().map_or(a.0.into(), Into::into)),
        RData::CNAME(name) => is_ours(&name.0),
        RData::SRV(srv) => is_ours(&srv.target),
        RData::MX(mx) => is_ours(&mx.exchange),
        _ => false,
    }
}

fn question(responder: &mut Responder, now: Instant, name: &[u8]) -> Box<ForwardedQuery> {
    let mut bytes = vec![0, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    bytes.extend(name);
    bytes.extend([0, 0, 1, 0, 1, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    match responder.receive(now, &bytes, Protocol::Udp, true) {
        Action::Forward(query) => query,
        other => unreachable!("{other:?}"),
    }
}

/// Makes a few changes, of the kinds that break parsers.
fn mutate(rng: &mut SmallRng, from: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = from[rng.random_range(0..from.len())].clone();
    for _ in 0..rng.random_range(1..5) {
        let at = rng.random_range(0..=bytes.len());
        match rng.random_range(0..10) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            1 if at < bytes.len() => bytes[at] = rng.random(),
            2 => bytes.truncate(at),
            3 => bytes.insert(at, rng.random()),
            4 if at < bytes.len() => drop(bytes.remove(at)),
            // Inserts a pointer at a random place, to a random place.
            5 => bytes.splice(at..at, [0xc0, rng.random()]).for_each(drop),
            // Changes a word of the header, or of a length.
            6 if at + 1 < bytes.len() => {
                let word = [0_u16, 1, 2, 255, 256, 512, 0x7fff, 0xffff][rng.random_range(0..8)];
                bytes[at..at + 2].copy_from_slice(&word.to_be_bytes());
            }
            7 => {
                let other = &from[rng.random_range(0..from.len())];
                let start = rng.random_range(0..=other.len());
                bytes.truncate(at);
                bytes.extend(&other[start..]);
            }
            8 => {
                let end = rng.random_range(at..=bytes.len());
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again).for_each(drop);
            }
            // Writes a type or class that the server handles specially.
            9 if at + 1 < bytes.len() => {
                let kinds = [
                    1_u16, 5, 6, 12, 15, 16, 28, 33, 39, 41, 64, 65, 250, 252, 255,
                ];
                let kind = kinds[rng.random_range(0..kinds.len())];
                bytes[at..at + 2].copy_from_slice(&kind.to_be_bytes());
            }
            _ => {}
        }
    }
    bytes.truncate(5000);
    bytes
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn any_message_is_answered_dropped_or_refused() {
    let set = |name: &str| std::env::var(name).ok();
    let wanted: u64 = set("KVMC_FUZZ").map_or(FEW, |n| n.parse().unwrap());
    let seed = set("KVMC_FUZZ_SEED").map_or(4711, |n| n.parse().unwrap());
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut bench = Bench::new();
    let mut kept = corpus();
    let mut behaviours: HashSet<_> = kept.iter().map(|input| bench.run(input)).collect();
    let mut new = Vec::new();
    let mut slowest = Duration::ZERO;
    let mut grown_from = resident();
    let began = Instant::now();
    for n in 0..wanted {
        if n == wanted / 10 {
            grown_from = resident();
        }
        let input = mutate(&mut rng, &kept);
        let before = Instant::now();
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| bench.run(&input)));
        let Ok(behaviour) = ran else {
            let hex: String = input.iter().map(|b| format!("{b:02x}")).collect();
            unreachable!("input {n} of seed {seed} breaks it: {hex}");
        };
        slowest = slowest.max(before.elapsed());
        if behaviours.insert(behaviour) && kept.len() < MOST_KEPT {
            new.push(input.clone());
            kept.push(input);
        }
    }
    let growth = resident().saturating_sub(grown_from);
    println!(
        "{wanted} inputs in {:.1} s, {} behaviours, slowest {slowest:?}, grown by {growth} KiB",
        began.elapsed().as_secs_f64(),
        behaviours.len()
    );
    if set("KVMC_FUZZ_KEEP").is_some() {
        let mut file = std::fs::File::options()
            .append(true)
            .open(corpus_file())
            .unwrap();
        for input in new.iter().filter(|i| i.len() <= 80) {
            let hex: String = input.iter().map(|b| format!("{b:02x}")).collect();
            writeln!(file, "{hex}").unwrap();
        }
    }
    assert!(slowest < PATIENCE, "an input took {slowest:?}");
    assert!(growth < GROWTH, "grown by {growth} KiB");
}

/// The corpus is useful only while its first lines parse as their comments say.
#[test]
fn the_corpus_holds_questions_and_answers() {
    let all = corpus();
    let decoded: Vec<_> = all
        .iter()
        .filter_map(|i| Message::from_vec(i).ok())
        .collect();
    let kinds: HashSet<RecordType> = decoded
        .iter()
        .flat_map(|m| m.queries.iter().map(hickory_proto::op::Query::query_type))
        .collect();
    for kind in [
        RecordType::A,
        RecordType::AAAA,
        RecordType::TXT,
        RecordType::PTR,
    ] {
        assert!(kinds.contains(&kind), "no question of {kind}");
    }
    assert!(decoded.iter().any(|m| m.answers.len() > 1), "no answer");
}
