//! What came of a question to others: what they said, a failure, or that it is kept back.

use super::super::wire::{self, Message, flag};

/// Extended errors of RFC 8914.
const BLOCKED: u16 = 15;
const NO_REACHABLE_AUTHORITY: u16 = 22;
/// Seconds that a failure stands (RFC 9520 wants one at least), and a refused answer.
pub(super) const FAILURE_TTL: u32 = 1;
const BLOCKED_TTL: u32 = 10;

/// What came of a question; for all that ask the same.
#[derive(Debug, PartialEq, Eq)]
pub struct Settled {
    /// Without OPT; none is a failure.
    pub(super) bytes: Option<Vec<u8>>,
    pub(super) rcode_high: u8,
    /// Code and text of RFC 8914.
    pub(super) error: Option<Vec<u8>>,
    pub(super) ttl: u32,
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

    pub(in crate::dns) fn ttl(&self) -> u32 {
        self.ttl
    }

    pub(in crate::dns) fn len(&self) -> usize {
        self.bytes.as_ref().map_or(0, Vec::len) + self.error.as_ref().map_or(0, Vec::len)
    }

    /// That there is nothing, or nothing known.
    pub(in crate::dns) fn is_absence(&self) -> bool {
        self.bytes.as_ref().is_none_or(|b| wire::word(b, 6) == 0)
    }

    #[cfg(test)]
    pub(in crate::dns) fn for_test(length: usize, ttl: u32) -> Self {
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

/// An empty answer in place of one that leads where it must not.
pub(super) fn blocked(message: &Message<'_>, why: &str) -> Settled {
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
