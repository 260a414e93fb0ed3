//! A question for others, from ours to them until the reply to who asked us.

use hickory_proto::op::{Message as Reply, ResponseCode};
use hickory_proto::rr::Record as ResourceRecord;

use super::super::cache::Key;
use super::super::wire::{self, HEADER, Message, flag};
use super::query::Query;
use super::settled::Settled;

/// A question for the host's resolvers, with what its answer has to fit.
#[derive(Debug)]
pub struct Ask {
    pub(in crate::dns) key: Key,
    pub(super) query: Query,
    /// Aliases of ours that led to it.
    pub(super) aliases: Vec<ResourceRecord>,
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
