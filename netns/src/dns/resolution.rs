//! The outcome of a question to the host's resolvers.

use super::message::Message;
use super::wire::{self, flag};

/// Extended errors of RFC 8914.
const BLOCKED: u16 = 15;
const NO_REACHABLE_AUTHORITY: u16 = 22;
/// How long a failure is cached, in seconds; RFC 9520 wants at least one.
pub(super) const FAILURE_TTL: u32 = 1;
/// How long a blocked answer is cached, in seconds.
const BLOCKED_TTL: u32 = 10;

/// The answer of the host's resolvers, or the reason that clients do not get it. It serves all clients with this question.
#[derive(Debug, PartialEq, Eq)]
pub struct Resolution {
    /// The answer without OPT; `None` for a failure.
    pub(super) bytes: Option<Vec<u8>>,
    pub(super) rcode_high: u8,
    /// Code and text of RFC 8914.
    pub(super) error: Option<Vec<u8>>,
    /// How long it may be cached, in seconds.
    pub(super) ttl: u32,
}

impl Resolution {
    /// A failure: there was no resolver to ask, or none answered.
    #[must_use]
    pub fn failed(why: &str) -> Self {
        Self {
            bytes: None,
            rcode_high: 0,
            error: Some(extended_error(NO_REACHABLE_AUTHORITY, why)),
            ttl: FAILURE_TTL,
        }
    }

    /// An empty answer in place of one that leads to our own network.
    pub(super) fn blocked(message: &Message<'_>, why: &str) -> Self {
        let mut bytes = message
            .bytes
            .get(..message.end)
            .unwrap_or_default()
            .to_vec();
        let kept = wire::flags(&bytes) & !(flag::RCODE | flag::AUTHENTIC);
        wire::put(&mut bytes, 2, &kept.to_be_bytes());
        wire::put(&mut bytes, 6, &[0; 6]);
        Self {
            bytes: Some(bytes),
            rcode_high: 0,
            error: Some(extended_error(BLOCKED, why)),
            ttl: BLOCKED_TTL,
        }
    }

    pub(super) fn ttl(&self) -> u32 {
        self.ttl
    }

    /// Its size in bytes.
    pub(super) fn len(&self) -> usize {
        self.bytes.as_ref().map_or(0, Vec::len) + self.error.as_ref().map_or(0, Vec::len)
    }

    /// Whether it has no record in the answer section.
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

fn extended_error(code: u16, text: &str) -> Vec<u8> {
    let mut error = code.to_be_bytes().to_vec();
    error.extend(text.bytes().take(200));
    error
}
