//! What is answered, and what is asked of others: from bytes to bytes. Pure.

mod ask;
mod hear;
mod query;
mod settled;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{DNSClass, Name, Record as ResourceRecord, RecordType};
use ipnetwork::IpNetwork;

use super::cache::Cache;
use super::wire::{self, DATAGRAM, HEADER, LEAST_DATAGRAM, Message, flag};
use super::zone::{Answer, Zone};
use query::{Query, bare};
use settled::{FAILURE_TTL, blocked};

pub use ask::Ask;
pub use hear::{Heard, hear};
pub use settled::Settled;

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

fn question_of(name: &Name, kind: RecordType) -> Option<Box<[u8]>> {
    use hickory_proto::serialize::binary::BinEncodable;
    let mut bytes = name.to_bytes().ok()?;
    bytes.make_ascii_lowercase();
    bytes.extend(u16::from(kind).to_be_bytes());
    bytes.extend(u16::from(DNSClass::IN).to_be_bytes());
    Some(bytes.into())
}
