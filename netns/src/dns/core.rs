//! What is answered, and what is asked of others: from bytes to bytes. Pure.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use hickory_proto::op::{
    Message as Reply, MessageType, Metadata, OpCode, Query as Question, ResponseCode,
};
use hickory_proto::rr::{DNSClass, Name, Record as ResourceRecord, RecordType};
use ipnetwork::IpNetwork;

use super::cache::{Cache, Key};
use super::wire::{self, DATAGRAM, Edns, HEADER, LEAST_DATAGRAM, Message, Section, flag};
use super::zone::{Answer, Zone};

/// Extended errors of RFC 8914.
const BLOCKED: u16 = 15;
const NO_REACHABLE_AUTHORITY: u16 = 22;
/// Seconds that a failure stands (RFC 9520 wants one at least), and a refused answer.
const FAILURE_TTL: u32 = 1;
const BLOCKED_TTL: u32 = 10;
/// Types that are no data: RFC 6895 section 3.1.
const TRANSFERS: [u16; 2] = [251, 252];
const NO_DATA: [u16; 4] = [0, wire::OPT, 249, 250];

/// By what a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams, of a size that the client says.
    Udp,
    /// A stream.
    Tcp,
}

/// What to do with a message.
#[derive(Debug)]
pub enum Action {
    /// It is no question.
    Drop,
    /// The answer.
    Reply(Vec<u8>),
    /// Others know.
    Ask(Box<Ask>),
}

/// A question for the host's resolvers, with what its answer has to fit.
#[derive(Debug)]
pub struct Ask {
    pub(super) key: Key,
    query: Query,
    /// Aliases of ours that led to it.
    aliases: Vec<ResourceRecord>,
}

/// What a client asked.
#[derive(Debug)]
struct Query {
    id: u16,
    flags: u16,
    edns: Option<Edns>,
    /// As it came, its case too.
    question: Box<[u8]>,
    name: Name,
    kind: RecordType,
    /// Bytes that the reply may have.
    limit: usize,
}

/// What came of a question; for all that ask the same.
#[derive(Debug, PartialEq, Eq)]
pub struct Settled {
    /// Without OPT; none is a failure.
    bytes: Option<Vec<u8>>,
    rcode_high: u8,
    /// Code and text of RFC 8914.
    error: Option<Vec<u8>>,
    ttl: u32,
}

impl Settled {
    /// Nobody could be asked, or nobody answered.
    #[must_use]
    pub fn failed(why: &str) -> Self {
        Self {
            bytes: None,
            rcode_high: 0,
            error: Some(extended(NO_REACHABLE_AUTHORITY, why)),
            ttl: FAILURE_TTL,
        }
    }

    pub(super) fn ttl(&self) -> u32 {
        self.ttl
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.as_ref().map_or(0, Vec::len) + self.error.as_ref().map_or(0, Vec::len)
    }

    /// That there is nothing, or nothing known.
    pub(super) fn is_absence(&self) -> bool {
        self.bytes.as_ref().is_none_or(|b| wire::word(b, 6) == 0)
    }

    #[cfg(test)]
    pub(super) fn for_test(length: usize, ttl: u32) -> Self {
        let mut bytes = vec![0; length];
        wire::put(&mut bytes, 6, &[0, 1]);
        Self {
            bytes: Some(bytes),
            rcode_high: 0,
            error: None,
            ttl,
        }
    }
}

/// Names of ours, answers of others that are kept, and addresses that no other may lead to.
#[derive(Debug)]
pub struct Core {
    zone: Zone,
    guarded: Vec<IpNetwork>,
    cache: Cache,
    turn: usize,
}

impl Core {
    /// A core that serves `zone` and takes no answer that leads into `guarded`.
    #[must_use]
    pub fn new(zone: Zone, guarded: Vec<IpNetwork>) -> Self {
        Self {
            zone,
            guarded,
            cache: Cache::default(),
            turn: 0,
        }
    }

    /// Serves other names from now on.
    pub fn set_zone(&mut self, zone: Zone) {
        self.zone = zone;
    }

    /// Forgets what others said: they are others now.
    pub fn forget(&mut self) {
        self.cache.clear();
    }

    /// What to do with a message that came. Without `forwards` its sender is told only names of ours.
    pub fn receive(&mut self, now: Instant, bytes: &[u8], by: Transport, forwards: bool) -> Action {
        let flags = wire::flags(bytes);
        if bytes.len() < HEADER || flags & flag::RESPONSE != 0 {
            return Action::Drop;
        }
        if flags & flag::OPCODE != 0 {
            return Action::Reply(bare(bytes, ResponseCode::NotImp));
        }
        let malformed = || Action::Reply(bare(bytes, ResponseCode::FormErr));
        let Some(message) = Message::parse(bytes) else {
            return malformed();
        };
        let (Ok(edns), Some(name)) = (message.edns(), wire::name(bytes, HEADER)) else {
            return malformed();
        };
        let limit = match (by, edns) {
            (Transport::Tcp, _) => u16::MAX,
            (Transport::Udp, Some(edns)) => edns.size.clamp(LEAST_DATAGRAM, DATAGRAM),
            (Transport::Udp, None) => LEAST_DATAGRAM,
        };
        let query = Query {
            id: wire::word(bytes, 0),
            flags,
            edns,
            question: message.question().into(),
            name,
            kind: RecordType::from(message.kind()),
            limit: usize::from(limit),
        };
        if edns.is_some_and(|e| e.version != 0) {
            return Action::Reply(query.error(ResponseCode::BADVERS, None));
        }
        if NO_DATA.contains(&message.kind()) {
            return Action::Reply(query.error(ResponseCode::FormErr, None));
        }
        if message.class() != 1 || TRANSFERS.contains(&message.kind()) {
            return Action::Reply(query.error(ResponseCode::Refused, None));
        }
        self.answer(now, query, forwards)
    }

    fn answer(&mut self, now: Instant, query: Query, forwards: bool) -> Action {
        let mut key = query.key();
        let mut aliases = Vec::new();
        match self.zone.look_up(&query.name, query.kind) {
            Some(answer) => match answer.onward {
                None => return Action::Reply(self.own(&query, answer)),
                Some(onward) => {
                    let Some(question) = question_of(&onward, query.kind) else {
                        return Action::Reply(query.error(ResponseCode::ServFail, None));
                    };
                    key.question = question;
                    aliases = answer.records;
                }
            },
            // What is kept of others is not told to those who only look what others asked.
            None if query.flags & flag::RECURSION_DESIRED == 0 => {
                return Action::Reply(query.error(ResponseCode::Refused, None));
            }
            None => {}
        }
        let ask = Box::new(Ask {
            key,
            query,
            aliases,
        });
        if !forwards {
            return Action::Reply(ask.reply(&Settled::failed("this network is isolated"), 0));
        }
        match self.cache.get(&ask.key, now) {
            Some((settled, age)) => Action::Reply(ask.reply(&settled, age)),
            None => Action::Ask(ask),
        }
    }

    /// The load balancers take turns at being the first.
    fn own(&mut self, query: &Query, mut answer: Answer) -> Vec<u8> {
        let mut reply = query.begin();
        reply.metadata.authoritative = true;
        if !answer.exists {
            reply.metadata.response_code = ResponseCode::NXDomain;
        }
        let is_address =
            |r: &ResourceRecord| matches!(r.record_type(), RecordType::A | RecordType::AAAA);
        let others = answer.records.iter().take_while(|r| !is_address(r)).count();
        if let Some(addresses) = answer.records.get_mut(others..).filter(|a| a.len() > 1) {
            self.turn = self.turn.wrapping_add(1);
            let first = self.turn % addresses.len();
            addresses.rotate_left(first);
        }
        reply.add_answers(answer.records);
        reply.add_authorities(answer.soa);
        query.finish(reply, None)
    }

    /// Makes of a resolver's answer what may be told; keeps it.
    pub fn settle(&mut self, now: Instant, ask: &Ask, answer: &[u8]) -> Arc<Settled> {
        let settled = self.vet(answer);
        self.keep(now, ask, settled)
    }

    /// Keeps what came of a question.
    pub fn keep(&mut self, now: Instant, ask: &Ask, settled: Settled) -> Arc<Settled> {
        let settled = Arc::new(settled);
        self.cache.put(ask.key.clone(), &settled, now);
        settled
    }

    fn vet(&self, answer: &[u8]) -> Settled {
        let Some(message) = Message::parse(answer) else {
            return Settled::failed("the resolver's answer is malformed");
        };
        let Ok(edns) = message.edns() else {
            return Settled::failed("the resolver's answer has a malformed OPT");
        };
        for entry in &message.entries {
            let leads_to_us = |a: &IpAddr| self.is_guarded(*a);
            let address = message.addresses(entry).into_iter().find(leads_to_us);
            let target = || message.target(entry).filter(|n| self.zone.is_ours(n));
            let why = match address {
                Some(address) => format!("an answer from outside leads to {address}"),
                None => match target() {
                    Some(name) => format!("an answer from outside leads to {name}"),
                    None => continue,
                },
            };
            return blocked(&message, &why);
        }
        Settled {
            rcode_high: edns.map_or(0, |e| e.rcode),
            error: message.extended_error().map(<[u8]>::to_vec),
            ttl: match wire::flags(answer) & flag::RCODE {
                0 | 3 => message.ttl(),
                _ => FAILURE_TTL,
            },
            bytes: Some(message.without_opt()),
        }
    }

    /// Addresses that only we may name: ours, and those of the asker itself.
    fn is_guarded(&self, address: IpAddr) -> bool {
        let address = wire::embedded(address);
        let is_this_host = match address {
            IpAddr::V4(a) => a.octets()[0] == 0,
            IpAddr::V6(a) => a.is_unspecified(),
        };
        is_this_host
            || address.is_loopback()
            || self.guarded.iter().any(|range| range.contains(address))
    }
}

/// An empty answer in place of one that leads where it must not.
fn blocked(message: &Message<'_>, why: &str) -> Settled {
    let mut bytes = message
        .bytes
        .get(..message.end)
        .unwrap_or_default()
        .to_vec();
    let kept = wire::flags(&bytes) & !(flag::RCODE | flag::AUTHENTIC);
    wire::put(&mut bytes, 2, &kept.to_be_bytes());
    wire::put(&mut bytes, 6, &[0; 6]);
    Settled {
        bytes: Some(bytes),
        rcode_high: 0,
        error: Some(extended(BLOCKED, why)),
        ttl: BLOCKED_TTL,
    }
}

fn extended(code: u16, text: &str) -> Vec<u8> {
    let mut error = code.to_be_bytes().to_vec();
    error.extend(text.bytes().take(200));
    error
}

/// A reply to what is not understood well enough to repeat its question.
fn bare(query: &[u8], code: ResponseCode) -> Vec<u8> {
    let mut reply = query.get(..HEADER).unwrap_or_default().to_vec();
    let kept = wire::flags(query) & (flag::OPCODE | flag::RECURSION_DESIRED);
    let flags = flag::RESPONSE | flag::RECURSION_AVAILABLE | kept | u16::from(code.low());
    wire::put(&mut reply, 2, &flags.to_be_bytes());
    wire::put(&mut reply, 4, &[0; 8]);
    reply
}

fn question_of(name: &Name, kind: RecordType) -> Option<Box<[u8]>> {
    use hickory_proto::serialize::binary::BinEncodable;
    let mut bytes = name.to_bytes().ok()?;
    bytes.make_ascii_lowercase();
    bytes.extend(u16::from(kind).to_be_bytes());
    bytes.extend(u16::from(DNSClass::IN).to_be_bytes());
    Some(bytes.into())
}

impl Query {
    fn key(&self) -> Key {
        let mut question = self.question.clone();
        let name = question.len().saturating_sub(4);
        if let Some(name) = question.get_mut(..name) {
            name.make_ascii_lowercase();
        }
        Key {
            question,
            dnssec: self.edns.is_some_and(|e| e.dnssec),
            checking_disabled: self.flags & flag::CHECKING_DISABLED != 0,
        }
    }

    fn begin(&self) -> Reply {
        let mut metadata = Metadata::new(self.id, MessageType::Response, OpCode::Query);
        metadata.recursion_desired = self.flags & flag::RECURSION_DESIRED != 0;
        metadata.recursion_available = true;
        metadata.checking_disabled = self.flags & flag::CHECKING_DISABLED != 0;
        let mut reply = Reply::new(self.id, MessageType::Response, OpCode::Query);
        reply.metadata = metadata;
        let mut question = Question::query(self.name.clone(), self.kind);
        question.set_query_class(DNSClass::from(wire::word(
            &self.question,
            self.question.len().saturating_sub(2),
        )));
        reply.add_query(question);
        reply
    }

    fn error(&self, code: ResponseCode, error: Option<&[u8]>) -> Vec<u8> {
        let mut reply = self.begin();
        reply.metadata.response_code = code;
        self.finish(reply, error)
    }

    /// A reply's bytes, with the question as it came and OPT where the client knows it.
    fn finish(&self, reply: Reply, error: Option<&[u8]>) -> Vec<u8> {
        let rcode_high = reply.metadata.response_code.high();
        match reply.to_vec() {
            Ok(bytes) => self.close(bytes, rcode_high, error),
            // Beyond 64 KiB, for instance.
            Err(_) => self.truncated(&reply_header(self), 0),
        }
    }

    /// Puts OPT at the end, and keeps to the client's limit.
    fn close(&self, mut bytes: Vec<u8>, rcode_high: u8, error: Option<&[u8]>) -> Vec<u8> {
        wire::put(&mut bytes, HEADER, &self.question);
        let header = bytes.get(..HEADER).unwrap_or_default().to_vec();
        self.append_opt(&mut bytes, rcode_high, error);
        if bytes.len() > self.limit {
            return self.truncated(&header, rcode_high);
        }
        bytes
    }

    fn truncated(&self, header: &[u8], rcode_high: u8) -> Vec<u8> {
        let mut bytes = header.to_vec();
        let flags = wire::flags(header) | flag::TRUNCATED;
        wire::put(&mut bytes, 2, &flags.to_be_bytes());
        wire::put(&mut bytes, 4, &[0, 1, 0, 0, 0, 0, 0, 0]);
        bytes.extend(&*self.question);
        self.append_opt(&mut bytes, rcode_high, None);
        bytes
    }

    fn append_opt(&self, bytes: &mut Vec<u8>, rcode_high: u8, error: Option<&[u8]>) {
        if let Some(edns) = self.edns {
            let count = wire::word(bytes, 10).saturating_add(1);
            wire::put(bytes, 10, &count.to_be_bytes());
            bytes.extend(wire::opt(rcode_high, edns.dnssec, error));
        }
    }
}

fn reply_header(query: &Query) -> Vec<u8> {
    let mut header = vec![0; HEADER];
    let kept = query.flags & flag::RECURSION_DESIRED;
    let flags = flag::RESPONSE | flag::RECURSION_AVAILABLE | kept;
    wire::put(&mut header, 0, &query.id.to_be_bytes());
    wire::put(&mut header, 2, &flags.to_be_bytes());
    header
}

impl Ask {
    /// The reply to the client, `age` seconds after its question was settled.
    #[must_use]
    pub fn reply(&self, settled: &Settled, age: u32) -> Vec<u8> {
        let (query, error) = (&self.query, settled.error.as_deref());
        let aged = settled.bytes.as_deref().and_then(Message::parse);
        let Some(mut bytes) = aged.map(|m| m.aged(age)) else {
            return query.error(ResponseCode::ServFail, error);
        };
        if !self.aliases.is_empty() {
            return self.reply_onward(&bytes, settled);
        }
        wire::put(&mut bytes, 0, &query.id.to_be_bytes());
        let asked_for_proof =
            query.flags & flag::AUTHENTIC != 0 || query.edns.is_some_and(|e| e.dnssec);
        let theirs = flag::RCODE | if asked_for_proof { flag::AUTHENTIC } else { 0 };
        let flags = flag::RESPONSE
            | flag::RECURSION_AVAILABLE
            | query.flags & (flag::RECURSION_DESIRED | flag::CHECKING_DISABLED)
            | wire::flags(&bytes) & theirs;
        wire::put(&mut bytes, 2, &flags.to_be_bytes());
        query.close(bytes, settled.rcode_high, error)
    }

    /// The same behind aliases of ours.
    fn reply_onward(&self, bytes: &[u8], settled: &Settled) -> Vec<u8> {
        let error = settled.error.as_deref();
        let Ok(theirs) = Reply::from_vec(bytes) else {
            return self.query.error(ResponseCode::ServFail, error);
        };
        let mut reply = self.query.begin();
        reply.metadata.response_code =
            ResponseCode::from(settled.rcode_high, theirs.metadata.response_code.low());
        reply.add_answers(self.aliases.iter().cloned());
        reply.add_answers(theirs.answers);
        reply.add_authorities(theirs.authorities);
        self.query.finish(reply, error)
    }

    /// The question for a resolver. The case of its letters is by `dice`, so that who did not see it
    /// cannot answer it; `plain` leaves that and EDNS out, for resolvers that cannot do it.
    #[must_use]
    pub fn question(&self, id: u16, dice: &[u8; 32], plain: bool) -> Vec<u8> {
        let key = &self.key;
        let mut bytes = vec![0; HEADER];
        let checking = if key.checking_disabled {
            flag::CHECKING_DISABLED
        } else {
            0
        };
        // Set, AD asks whether the answer is authentic: RFC 6840 section 5.7.
        let flags = flag::RECURSION_DESIRED | flag::AUTHENTIC | checking;
        wire::put(&mut bytes, 0, &id.to_be_bytes());
        wire::put(&mut bytes, 2, &flags.to_be_bytes());
        wire::put(&mut bytes, 4, &[0, 1]);
        bytes.extend(&*key.question);
        if plain {
            return bytes;
        }
        let end = bytes.len() - 4;
        let name = bytes.get_mut(HEADER..end).unwrap_or_default();
        for (i, byte) in name.iter_mut().enumerate() {
            let die = dice[i / 8 % dice.len()] >> (i % 8) & 1;
            // A label's length is less than any letter.
            if die == 1 && byte.is_ascii_alphabetic() {
                *byte ^= 0x20;
            }
        }
        wire::put(&mut bytes, 11, &[1]);
        bytes.extend(wire::opt(0, key.dnssec, None));
        bytes
    }
}

/// What a message is that came where an answer was awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Not the answer: somebody else's word, or a forgery.
    Other,
    /// The answer, but too long for a datagram.
    Truncated,
    /// The answer.
    Answer,
    /// The resolver could not, or would not.
    Refusal,
}

/// What `got` is to who asked `sent`.
#[must_use]
pub fn hear(sent: &[u8], got: &[u8]) -> Heard {
    let flags = wire::flags(got);
    let is_reply = flags & flag::RESPONSE != 0 && flags & flag::OPCODE == 0;
    if got.len() < HEADER || wire::word(sent, 0) != wire::word(got, 0) || !is_reply {
        return Heard::Other;
    }
    let is_refusal = !matches!(flags & flag::RCODE, 0 | 3);
    let Some(asked) = Message::parse(sent) else {
        return Heard::Other;
    };
    // Some leave the question out when they did not understand it.
    if is_refusal && wire::word(got, 4) == 0 {
        return Heard::Refusal;
    }
    let question = asked.question();
    let there = got.get(HEADER..HEADER + question.len());
    let is_plain = asked.entries.is_empty();
    let is_same = match there {
        Some(there) if is_plain => there.eq_ignore_ascii_case(question),
        Some(there) => there == question,
        None => false,
    };
    if !is_same {
        return Heard::Other;
    }
    if flags & flag::TRUNCATED != 0 {
        return Heard::Truncated;
    }
    if is_refusal {
        return Heard::Refusal;
    }
    match Message::parse(got) {
        Some(message) if message.entries.iter().all(is_in_place) => Heard::Answer,
        _ => Heard::Refusal,
    }
}

fn is_in_place(entry: &wire::Entry) -> bool {
    entry.kind != wire::OPT || entry.section == Section::Additional
}
