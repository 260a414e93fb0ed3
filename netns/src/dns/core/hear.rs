//! Whether what came is the answer that was awaited.

use super::super::wire::{self, HEADER, Message, Section, flag};

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
