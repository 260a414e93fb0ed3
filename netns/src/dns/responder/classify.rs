//! Tells the answer to a question from other messages.

use super::super::message::{Message, RecordSpan, Section};
use super::super::wire::{self, HEADER, flag};

/// The meaning of a message for the sender of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyKind {
    /// Not the answer: another message, or a forgery.
    Other,
    /// The answer, truncated to a datagram.
    Truncated,
    /// The answer.
    Answer,
    /// An error of the resolver.
    Refusal,
}

/// The meaning of `got` for the sender of the question `sent`.
#[must_use]
pub fn classify(sent: &[u8], got: &[u8]) -> ReplyKind {
    let flags = wire::flags(got);
    let is_reply = flags & flag::RESPONSE != 0 && flags & flag::OPCODE == 0;
    if got.len() < HEADER || wire::word(sent, 0) != wire::word(got, 0) || !is_reply {
        return ReplyKind::Other;
    }
    let is_refusal = !matches!(flags & flag::RCODE, 0 | 3);
    let Some(asked) = Message::parse(sent) else {
        return ReplyKind::Other;
    };
    // Some resolvers omit the question from errors.
    if is_refusal && wire::word(got, 4) == 0 {
        return ReplyKind::Refusal;
    }
    let question = asked.question();
    let there = got.get(HEADER..HEADER + question.len());
    let is_plain = asked.spans.is_empty();
    let is_same = match there {
        Some(there) if is_plain => there.eq_ignore_ascii_case(question),
        Some(there) => there == question,
        None => false,
    };
    if !is_same {
        return ReplyKind::Other;
    }
    if flags & flag::TRUNCATED != 0 {
        return ReplyKind::Truncated;
    }
    if is_refusal {
        return ReplyKind::Refusal;
    }
    match Message::parse(got) {
        Some(message) if message.spans.iter().all(is_in_place) => ReplyKind::Answer,
        _ => ReplyKind::Refusal,
    }
}

fn is_in_place(record: &RecordSpan) -> bool {
    record.kind != wire::OPT || record.section == Section::Additional
}
