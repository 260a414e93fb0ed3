//! DNS messages of others, RFC 1035 section 4: where in the bytes each record is.
//!
//! The server passes a message on as the bytes that came, so that parts which this crate does not understand are not lost.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use hickory_proto::rr::Name;

use super::wire::{HEADER, OPT, SOA, after_name, labels_end, long, name, put, word};

/// The section that a record is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Answer,
    Authority,
    Additional,
}

/// Where a record is in its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RecordSpan {
    pub(super) section: Section,
    pub(super) start: usize,
    pub(super) kind: u16,
    pub(super) class: u16,
    /// The position of its TTL, four bytes.
    pub(super) ttl_at: usize,
    pub(super) data: Range<usize>,
}

/// A message with exactly one question, and where its records are.
#[derive(Debug)]
pub(super) struct Message<'a> {
    pub(super) bytes: &'a [u8],
    /// The position behind the question.
    pub(super) end: usize,
    pub(super) spans: Vec<RecordSpan>,
}

impl<'a> Message<'a> {
    /// Reads a message; `None` for bytes that are not a DNS message.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() < HEADER || bytes.len() > usize::from(u16::MAX) || word(bytes, 4) != 1 {
            return None;
        }
        // A question cannot hold a pointer, since no name precedes it.
        let end = labels_end(bytes, HEADER).filter(|end| bytes.get(*end) == Some(&0))? + 1;
        let end = (end - HEADER <= 255 && end + 4 <= bytes.len()).then_some(end + 4)?;
        let mut spans = Vec::new();
        let mut at = end;
        for (section, count_at) in [
            (Section::Answer, 6),
            (Section::Authority, 8),
            (Section::Additional, 10),
        ] {
            for _ in 0..word(bytes, count_at) {
                let head = after_name(bytes, at)?;
                let data = head + 10;
                let next = data + usize::from(word(bytes, head + 8));
                if next > bytes.len() {
                    return None;
                }
                spans.push(RecordSpan {
                    section,
                    start: at,
                    kind: word(bytes, head),
                    class: word(bytes, head + 2),
                    ttl_at: head + 4,
                    data: data..next,
                });
                at = next;
            }
        }
        Some(Self { bytes, end, spans })
    }

    /// Name, type and class of the question, as bytes.
    pub(super) fn question(&self) -> &'a [u8] {
        self.bytes.get(HEADER..self.end).unwrap_or_default()
    }

    /// The type asked for.
    pub(super) fn kind(&self) -> u16 {
        word(self.bytes, self.end - 4)
    }

    /// The class asked for.
    pub(super) fn class(&self) -> u16 {
        word(self.bytes, self.end - 2)
    }

    /// The message without OPT and what follows it.
    pub(super) fn without_opt(&self) -> Vec<u8> {
        let mut bytes = self.bytes.to_vec();
        let additional = |e: &&RecordSpan| e.section == Section::Additional;
        let before = self.spans.iter().filter(additional);
        let before = before.take_while(|e| e.kind != OPT).count();
        let opt = self.spans.iter().filter(additional).nth(before);
        let end = opt.map_or_else(
            || self.spans.last().map_or(self.end, |e| e.data.end),
            |e| e.start,
        );
        bytes.truncate(end);
        let count = u16::try_from(before).unwrap_or(u16::MAX);
        put(&mut bytes, 10, &count.to_be_bytes());
        bytes
    }

    /// How long the message may be cached, in seconds: its least TTL; without an answer, RFC 2308's.
    pub(super) fn ttl(&self) -> u32 {
        let records = self.spans.iter().filter(|e| e.kind != OPT);
        let least = records.clone().map(|e| ttl(self.bytes, e)).min();
        let absence = records
            .clone()
            .filter(|e| e.section == Section::Authority && e.kind == SOA && e.data.len() >= 20)
            .map(|e| long(self.bytes, e.data.end - 4))
            .min();
        let is_positive = records
            .clone()
            .any(|e| e.section == Section::Answer && (e.kind == self.kind() || self.kind() == 255));
        match (least, absence) {
            (Some(least), _) if is_positive => least,
            (Some(least), Some(absence)) => least.min(absence),
            _ => 0,
        }
    }

    /// The message with each TTL lowered by `seconds`.
    pub(super) fn aged(&self, seconds: u32) -> Vec<u8> {
        let mut bytes = self.bytes.to_vec();
        for entry in self.spans.iter().filter(|e| e.kind != OPT) {
            let left = ttl(self.bytes, entry).saturating_sub(seconds);
            put(&mut bytes, entry.ttl_at, &left.to_be_bytes());
        }
        bytes
    }

    /// The addresses in a record.
    pub(super) fn addresses(&self, entry: &RecordSpan) -> Vec<IpAddr> {
        let data = self.bytes.get(entry.data.clone()).unwrap_or_default();
        match entry.kind {
            1 => v4(data).into_iter().collect(),
            28 => v6(data).into_iter().collect(),
            64 | 65 => self.hints(entry),
            _ => Vec::new(),
        }
    }

    /// Address hints of SVCB and HTTPS, RFC 9460 sections 2.2 and 7.3.
    fn hints(&self, entry: &RecordSpan) -> Vec<IpAddr> {
        let mut found = Vec::new();
        let after = after_name(self.bytes, entry.data.start + 2).unwrap_or(usize::MAX);
        let mut rest = self.bytes.get(after..entry.data.end).unwrap_or_default();
        while let [a, b, c, d, after @ ..] = rest {
            let length = usize::from(u16::from_be_bytes([*c, *d])).min(after.len());
            let (value, after) = after.split_at(length);
            match u16::from_be_bytes([*a, *b]) {
                4 => found.extend(value.chunks(4).filter_map(v4)),
                6 => found.extend(value.chunks(16).filter_map(v6)),
                _ => {}
            }
            rest = after;
        }
        found
    }

    /// The name that a CNAME, DNAME, MX, SVCB, HTTPS or SRV record refers to.
    pub(super) fn target(&self, entry: &RecordSpan) -> Option<Name> {
        let before = match entry.kind {
            5 | 39 => 0,
            15 | 64 | 65 => 2,
            33 => 6,
            _ => return None,
        };
        let at = entry.data.start + before;
        (at < entry.data.end).then(|| name(self.bytes, at))?
    }
}

/// Seconds; a TTL with its highest bit set counts as zero, RFC 2181 section 8.
fn ttl(bytes: &[u8], entry: &RecordSpan) -> u32 {
    let ttl = long(bytes, entry.ttl_at);
    if ttl > i32::MAX.unsigned_abs() {
        0
    } else {
        ttl
    }
}

fn v4(data: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(data)
        .ok()
        .map(|a| Ipv4Addr::from(a).into())
}

fn v6(data: &[u8]) -> Option<IpAddr> {
    <[u8; 16]>::try_from(data)
        .ok()
        .map(|a| Ipv6Addr::from(a).into())
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
