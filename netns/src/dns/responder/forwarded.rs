//! A client's query that the host's resolvers answer: the question for them, and the reply to the client.

use hickory_proto::op::{Message as Reply, ResponseCode};
use hickory_proto::rr::Record as ResourceRecord;

use super::super::cache::Key;
use super::super::edns;
use super::super::message::Message;
use super::super::resolution::Resolution;
use super::super::wire::{self, HEADER, flag};
use super::query::Query;

/// A client's query for the host's resolvers.
#[derive(Debug)]
pub struct ForwardedQuery {
    pub(in crate::dns) key: Key,
    pub(super) query: Query,
    /// The zone's aliases that led to the question.
    pub(super) aliases: Vec<ResourceRecord>,
}

impl ForwardedQuery {
    /// The reply to the client, `age` seconds after the resolvers answered.
    #[must_use]
    pub fn reply(&self, resolution: &Resolution, age: u32) -> Vec<u8> {
        let (query, error) = (&self.query, resolution.error.as_deref());
        let aged = resolution.bytes.as_deref().and_then(Message::parse);
        let Some(mut bytes) = aged.map(|m| m.aged(age)) else {
            return query.error(ResponseCode::ServFail, error);
        };
        if !self.aliases.is_empty() {
            return self.reply_onward(&bytes, resolution);
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
        query.close(bytes, resolution.rcode_high, error)
    }

    /// The same reply behind the zone's aliases.
    fn reply_onward(&self, bytes: &[u8], resolution: &Resolution) -> Vec<u8> {
        let error = resolution.error.as_deref();
        let Ok(theirs) = Reply::from_vec(bytes) else {
            return self.query.error(ResponseCode::ServFail, error);
        };
        let mut reply = self.query.begin();
        reply.metadata.response_code =
            ResponseCode::from(resolution.rcode_high, theirs.metadata.response_code.low());
        reply.add_answers(self.aliases.iter().cloned());
        reply.add_answers(theirs.answers);
        reply.add_authorities(theirs.authorities);
        self.query.finish(reply, error)
    }

    /// The question for a resolver. `dice` decides the case of its letters, so that a forger has to guess it. `plain`
    /// omits that and EDNS, for resolvers that support neither.
    #[must_use]
    pub fn question(&self, id: u16, dice: &[u8; 32], plain: bool) -> Vec<u8> {
        let key = &self.key;
        let mut bytes = vec![0; HEADER];
        let checking = if key.checking_disabled {
            flag::CHECKING_DISABLED
        } else {
            0
        };
        // In a query AD asks whether the answer is authentic, RFC 6840 section 5.7.
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
            // The length byte of a label is less than any letter, so it stays.
            if die == 1 && byte.is_ascii_alphabetic() {
                *byte ^= 0x20;
            }
        }
        wire::put(&mut bytes, 11, &[1]);
        bytes.extend(edns::opt(0, key.dnssec, None));
        bytes
    }
}
