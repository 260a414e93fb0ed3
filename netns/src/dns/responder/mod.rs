//! Turns a client's message into a reply, or into a question for the host's resolvers. Pure.

mod classify;
mod forwarded;
mod query;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{DNSClass, Name, Record as ResourceRecord, RecordType};
use ipnetwork::IpNetwork;

use super::answer::Answer;
use super::cache::Cache;
use super::exceptions::{CutOff, CutOffs};
use super::message::Message;
use super::resolution::{FAILURE_TTL, Resolution};
use super::wire::{self, DATAGRAM, HEADER, LEAST_DATAGRAM, flag};
use super::zone::Zone;
use crate::Protocol;
use query::{Query, bare};

pub use classify::{ReplyKind, classify};
pub use forwarded::ForwardedQuery;

/// Types that no record has, RFC 6895 section 3.1.
const TRANSFERS: [u16; 2] = [251, 252];
const NO_DATA: [u16; 4] = [0, wire::OPT, 249, 250];

/// What to do with a message.
#[derive(Debug)]
pub enum Action {
    /// Nothing: it is not a query.
    Drop,
    /// Send this reply.
    Reply(Vec<u8>),
    /// Ask the host's resolvers.
    Forward(Box<ForwardedQuery>),
}

/// Answers queries from a zone and from a cache of others' answers.
#[derive(Debug)]
pub struct Responder {
    zone: Zone,
    /// Networks that no answer of others may point to, against DNS rebinding.
    guarded: Vec<IpNetwork>,
    cache: Cache,
    turn: usize,
    cut_off: CutOffs,
}

impl Responder {
    /// A responder for `zone` that blocks answers of others with addresses in `guarded`.
    #[must_use]
    pub fn new(zone: Zone, guarded: Vec<IpNetwork>) -> Self {
        Self {
            zone,
            guarded,
            cache: Cache::default(),
            turn: 0,
            cut_off: CutOffs::default(),
        }
    }

    /// Replaces the zone.
    pub fn set_zone(&mut self, zone: Zone) {
        self.cut_off.allow(zone.exceptions());
        self.zone = zone;
    }

    /// The suffixes of names that were cut off, why, and when that was last.
    pub fn cut_off(&self) -> Vec<(String, CutOff, SystemTime)> {
        self.cut_off.list()
    }

    /// Empties the cache: the host has other resolvers.
    pub fn forget(&mut self) {
        self.cache.clear();
    }

    /// What to do with a message. Without `forwards` its sender gets answers only from the zone.
    pub fn receive(&mut self, now: Instant, bytes: &[u8], by: Protocol, forwards: bool) -> Action {
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
            (Protocol::Tcp, _) => u16::MAX,
            (Protocol::Udp, Some(edns)) => edns.size.clamp(LEAST_DATAGRAM, DATAGRAM),
            (Protocol::Udp, None) => LEAST_DATAGRAM,
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
                None => {
                    if !answer.exists && self.zone.is_cut_off(&query.name) {
                        self.cut_off.note(&query.name, CutOff::NotForwarded);
                    }
                    return Action::Reply(self.reply_from_zone(&query, answer));
                }
                Some(onward) => {
                    let Some(question) = question_of(&onward, query.kind) else {
                        return Action::Reply(query.error(ResponseCode::ServFail, None));
                    };
                    key.question = question;
                    aliases = answer.records;
                }
            },
            // An answer from the cache would show what others asked.
            None if query.flags & flag::RECURSION_DESIRED == 0 => {
                return Action::Reply(query.error(ResponseCode::Refused, None));
            }
            None => {}
        }
        let forwarded = Box::new(ForwardedQuery {
            key,
            query,
            aliases,
        });
        if !forwards {
            return Action::Reply(
                forwarded.reply(&Resolution::failed("this network is isolated"), 0),
            );
        }
        match self.cache.get(&forwarded.key, now) {
            Some((resolution, age)) => Action::Reply(forwarded.reply(&resolution, age)),
            None => Action::Forward(forwarded),
        }
    }

    /// A reply from the zone. It rotates several addresses, so that each comes first in turn.
    fn reply_from_zone(&mut self, query: &Query, mut answer: Answer) -> Vec<u8> {
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

    /// Checks a resolver's answer and caches the part that clients may get.
    pub fn resolve(
        &mut self,
        now: Instant,
        query: &ForwardedQuery,
        answer: &[u8],
    ) -> Arc<Resolution> {
        let name = wire::name(&query.key.question, 0);
        let resolution = self.check(name.as_ref(), answer);
        self.keep(now, query, resolution)
    }

    /// Caches the outcome of a question.
    pub fn keep(
        &mut self,
        now: Instant,
        query: &ForwardedQuery,
        resolution: Resolution,
    ) -> Arc<Resolution> {
        let resolution = Arc::new(resolution);
        self.cache.put(query.key.clone(), &resolution, now);
        resolution
    }

    /// The part of a resolver's answer that clients may get. `name` is the name that was asked for.
    fn check(&mut self, name: Option<&Name>, answer: &[u8]) -> Resolution {
        let Some(message) = Message::parse(answer) else {
            return Resolution::failed("the resolver's answer is malformed");
        };
        let Ok(edns) = message.edns() else {
            return Resolution::failed("the resolver's answer has a malformed OPT");
        };
        for record in &message.spans {
            let leads_to_us = |a: &IpAddr| self.is_guarded(*a);
            let address = message.addresses(record).into_iter().find(leads_to_us);
            let target = || message.target(record).filter(|n| self.zone.is_ours(n));
            let of_range = |a: &IpAddr| self.guarded.iter().any(|r| r.contains(*a));
            let of_range = address.as_ref().is_some_and(of_range);
            let exceptions = self.zone.exceptions();
            let is_fine = of_range && name.is_some_and(|n| exceptions.may_lead_to_us(n));
            let address = address.filter(|_| !is_fine);
            if let (Some(_), true, Some(name)) = (address, of_range, name) {
                self.cut_off.note(name, CutOff::Rebinding);
            }
            let why = match address {
                Some(address) => format!("an answer from outside leads to {address}"),
                None => match target() {
                    Some(name) => format!("an answer from outside leads to {name}"),
                    None => continue,
                },
            };
            return Resolution::blocked(&message, &why);
        }
        Resolution {
            rcode_high: edns.map_or(0, |e| e.rcode),
            error: message.extended_error().map(<[u8]>::to_vec),
            ttl: match wire::flags(answer) & flag::RCODE {
                0 | 3 => message.ttl(),
                _ => FAILURE_TTL,
            },
            bytes: Some(message.without_opt()),
        }
    }

    /// Whether an address is one of ours or of the client itself.
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
