//! Messages of strangers, RFC 1035 section 4: where in them what stands. Nothing is taken out that must
//! go on as it came; what is not understood goes on too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use hickory_proto::rr::Name;
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

/// Bytes before the question.
pub(super) const HEADER: usize = 12;
/// What we take and send in one datagram where the other side can: fits every path (DNS flag day 2020).
pub(super) const DATAGRAM: u16 = 1232;
/// What everybody takes, RFC 1035 section 2.3.4.
pub(super) const LEAST_DATAGRAM: u16 = 512;
/// The OPT pseudo-record, RFC 6891.
pub(super) const OPT: u16 = 41;
const SOA: u16 = 6;

/// Bits of the header's third and fourth byte.
pub(super) mod flag {
    pub(crate) const RESPONSE: u16 = 0x8000;
    pub(crate) const OPCODE: u16 = 0x7800;
    pub(crate) const TRUNCATED: u16 = 0x0200;
    pub(crate) const RECURSION_DESIRED: u16 = 0x0100;
    pub(crate) const RECURSION_AVAILABLE: u16 = 0x0080;
    pub(crate) const AUTHENTIC: u16 = 0x0020;
    pub(crate) const CHECKING_DISABLED: u16 = 0x0010;
    pub(crate) const RCODE: u16 = 0x000f;
}

/// The section that a record stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Answer,
    Authority,
    Additional,
}

/// Where a record stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) section: Section,
    pub(super) start: usize,
    pub(super) kind: u16,
    pub(super) class: u16,
    /// Of four bytes.
    pub(super) ttl_at: usize,
    pub(super) data: Range<usize>,
}

/// A message of exactly one question, with where everything in it stands.
#[derive(Debug)]
pub(super) struct Message<'a> {
    pub(super) bytes: &'a [u8],
    /// Where the question ends.
    pub(super) end: usize,
    pub(super) entries: Vec<Entry>,
}

/// What EDNS says, RFC 6891.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Edns {
    /// Of the datagrams that the other side takes.
    pub(super) size: u16,
    /// Upper bits of the response code.
    pub(super) rcode: u8,
    pub(super) version: u8,
    /// DNSSEC's records are wanted, RFC 3225.
    pub(super) dnssec: bool,
}

/// The word at `at`; zero beyond the end.
pub(super) fn word(bytes: &[u8], at: usize) -> u16 {
    match bytes.get(at..at + 2) {
        Some(&[a, b]) => u16::from_be_bytes([a, b]),
        _ => 0,
    }
}

fn long(bytes: &[u8], at: usize) -> u32 {
    u32::from(word(bytes, at)) << 16 | u32::from(word(bytes, at + 2))
}

/// Writes `value` at `at`; nothing beyond the end.
pub(super) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

/// Flags of the header.
pub(super) fn flags(bytes: &[u8]) -> u16 {
    word(bytes, 2)
}

/// Where the labels of the name at `at` end: with the root's zero if it is whole.
fn labels_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    while let length @ 1..=63 = *bytes.get(at)? {
        at += usize::from(length) + 1;
    }
    Some(at)
}

/// Where the name at `at` ends, whether it is whole or ends with a pointer.
fn after_name(bytes: &[u8], at: usize) -> Option<usize> {
    let end = labels_end(bytes, at)?;
    match *bytes.get(end)? {
        0 => Some(end + 1),
        0xc0.. => (end + 2 <= bytes.len()).then_some(end + 2),
        _ => None,
    }
}

/// The name at `at`, pointers followed.
pub(super) fn name(bytes: &[u8], at: usize) -> Option<Name> {
    let start = u16::try_from(at).ok().filter(|_| at < bytes.len())?;
    let mut decoder = BinDecoder::new(bytes).clone(start);
    Name::read(&mut decoder).ok()
}

impl<'a> Message<'a> {
    /// Finds its way through a message; none when there is none.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() < HEADER || bytes.len() > usize::from(u16::MAX) || word(bytes, 4) != 1 {
            return None;
        }
        // A question has nothing before it that a pointer could be to.
        let end = labels_end(bytes, HEADER).filter(|end| bytes.get(*end) == Some(&0))? + 1;
        let end = (end - HEADER <= 255 && end + 4 <= bytes.len()).then_some(end + 4)?;
        let mut entries = Vec::new();
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
                entries.push(Entry {
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
        Some(Self {
            bytes,
            end,
            entries,
        })
    }

    /// Name, type and class of the question, as they are.
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

    /// What its OPT says; an error when there are several, or one in the wrong place.
    pub(super) fn edns(&self) -> Result<Option<Edns>, ()> {
        let mut all = self.entries.iter().filter(|e| e.kind == OPT);
        let Some(opt) = all.next() else {
            return Ok(None);
        };
        let is_root = self.bytes.get(opt.start) == Some(&0);
        if all.next().is_some() || opt.section != Section::Additional || !is_root {
            return Err(());
        }
        let ttl = long(self.bytes, opt.ttl_at);
        let [rcode, version, flags, _] = ttl.to_be_bytes();
        Ok(Some(Edns {
            size: opt.class,
            rcode,
            version,
            dnssec: flags & 0x80 != 0,
        }))
    }

    /// The extended error (RFC 8914) that its OPT carries: two bytes of code, then text.
    pub(super) fn extended_error(&self) -> Option<&'a [u8]> {
        let opt = self.entries.iter().find(|e| e.kind == OPT)?;
        let mut options = self.bytes.get(opt.data.clone())?;
        while let [a, b, c, d, rest @ ..] = options {
            let length = usize::from(u16::from_be_bytes([*c, *d]));
            let value = rest.get(..length)?;
            if u16::from_be_bytes([*a, *b]) == 15 && length >= 2 {
                return Some(value);
            }
            options = rest.get(length..)?;
        }
        None
    }

    /// The message without OPT, nor what comes after it: nobody may write that.
    pub(super) fn without_opt(&self) -> Vec<u8> {
        let mut bytes = self.bytes.to_vec();
        let additional = |e: &&Entry| e.section == Section::Additional;
        let before = self.entries.iter().filter(additional);
        let before = before.take_while(|e| e.kind != OPT).count();
        let opt = self.entries.iter().filter(additional).nth(before);
        let end = opt.map_or_else(
            || self.entries.last().map_or(self.end, |e| e.data.end),
            |e| e.start,
        );
        bytes.truncate(end);
        let count = u16::try_from(before).unwrap_or(u16::MAX);
        put(&mut bytes, 10, &count.to_be_bytes());
        bytes
    }

    /// Seconds for which the message may be kept: its least TTL, for an absence that of RFC 2308.
    pub(super) fn ttl(&self) -> u32 {
        let records = self.entries.iter().filter(|e| e.kind != OPT);
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

    /// The same bytes, `seconds` later.
    pub(super) fn aged(&self, seconds: u32) -> Vec<u8> {
        let mut bytes = self.bytes.to_vec();
        for entry in self.entries.iter().filter(|e| e.kind != OPT) {
            let left = ttl(self.bytes, entry).saturating_sub(seconds);
            put(&mut bytes, entry.ttl_at, &left.to_be_bytes());
        }
        bytes
    }

    /// Addresses that a record leads to.
    pub(super) fn addresses(&self, entry: &Entry) -> Vec<IpAddr> {
        let data = self.bytes.get(entry.data.clone()).unwrap_or_default();
        match entry.kind {
            1 => v4(data).into_iter().collect(),
            28 => v6(data).into_iter().collect(),
            64 | 65 => self.hints(entry),
            _ => Vec::new(),
        }
    }

    /// Address hints of SVCB and HTTPS, RFC 9460 sections 2.2 and 7.3.
    fn hints(&self, entry: &Entry) -> Vec<IpAddr> {
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

    /// The name that a record leads on to: of an alias, a service, a mail exchange.
    pub(super) fn target(&self, entry: &Entry) -> Option<Name> {
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

/// RFC 2181 section 8: a TTL with its highest bit set is none.
fn ttl(bytes: &[u8], entry: &Entry) -> u32 {
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

/// An OPT of ours, to be put at a message's end.
pub(super) fn opt(rcode: u8, dnssec: bool, error: Option<&[u8]>) -> Vec<u8> {
    let error = error.unwrap_or_default();
    let mut opt = vec![0];
    opt.extend(OPT.to_be_bytes());
    opt.extend(DATAGRAM.to_be_bytes());
    opt.extend([rcode, 0, if dnssec { 0x80 } else { 0 }, 0]);
    let length = u16::try_from(error.len()).unwrap_or(0);
    if length == 0 {
        opt.extend([0, 0]);
    } else {
        opt.extend((length + 4).to_be_bytes());
        opt.extend([0, 15]);
        opt.extend(length.to_be_bytes());
        opt.extend(error);
    }
    opt
}

/// The IPv4 address that an IPv6 address stands for: mapped (RFC 4291) or by NAT64's prefix (RFC 6052).
pub(super) fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    let [a, b, c, d, e, f, _, _] = v6.segments();
    let [.., w, x, y, z] = v6.octets();
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0] => Ipv4Addr::new(w, x, y, z).into(),
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::{Edns as TheirEdns, Message as Theirs, MessageType, OpCode, Query};
    use hickory_proto::rr::{RData, Record, RecordType, rdata};

    fn response() -> Theirs {
        let name = Name::from_ascii("www.Example.com.").unwrap();
        let mut message = Theirs::new(7, MessageType::Response, OpCode::Query);
        message.add_query(Query::query(name.clone(), RecordType::A));
        let alias = Name::from_ascii("host.example.com.").unwrap();
        message.add_answer(Record::from_rdata(
            name,
            300,
            RData::CNAME(rdata::CNAME(alias.clone())),
        ));
        message.add_answer(Record::from_rdata(
            alias,
            60,
            RData::A(rdata::A::new(192, 0, 2, 7)),
        ));
        let mut edns = TheirEdns::new();
        edns.set_max_payload(1232).set_dnssec_ok(true);
        message.set_edns(edns);
        message
    }

    #[test]
    fn everything_is_found_where_it_stands() {
        let bytes = response().to_vec().unwrap();
        let message = Message::parse(&bytes).unwrap();
        assert_eq!((message.kind(), message.class()), (1, 1));
        assert_eq!(message.entries.len(), 3);
        let [alias, address, _opt] = message.entries.as_slice() else {
            panic!("other entries");
        };
        let target = message.target(alias).unwrap();
        assert_eq!(target.to_ascii(), "host.example.com.");
        assert_eq!(message.addresses(address), [IpAddr::from([192, 0, 2, 7])]);
        let edns = message.edns().unwrap().unwrap();
        assert_eq!((edns.size, edns.dnssec, edns.version), (1232, true, 0));
        assert_eq!(message.ttl(), 60);
        let plain = message.without_opt();
        let plain = Message::parse(&plain).unwrap();
        assert_eq!(plain.entries.len(), 2);
        let later = plain.aged(70);
        let later = Theirs::from_vec(&later).unwrap();
        let ttls: Vec<_> = later.answers.iter().map(|r| r.ttl).collect();
        assert_eq!(ttls, [230, 0]);
    }

    #[test]
    fn no_message_is_made_of_what_is_none() {
        let whole = response().to_vec().unwrap();
        for length in 0..whole.len() {
            assert!(Message::parse(&whole[..length]).is_none(), "{length}");
        }
        for second in [0, 12] {
            let mut pointer = whole.clone();
            pointer[HEADER..HEADER + 2].copy_from_slice(&[0xc0, second]);
            assert!(Message::parse(&pointer).is_none());
        }
        let mut two = whole;
        two[5] = 2;
        assert!(Message::parse(&two).is_none());
    }

    #[test]
    fn an_absence_is_kept_as_its_soa_says() {
        let mut message = response();
        message.answers.clear();
        let zone = Name::from_ascii("example.com.").unwrap();
        let soa = rdata::SOA::new(zone.clone(), zone.clone(), 1, 2, 3, 4, 30);
        message.add_authority(Record::from_rdata(zone, 900, RData::SOA(soa)));
        let bytes = message.to_vec().unwrap();
        assert_eq!(Message::parse(&bytes).unwrap().ttl(), 30);
        message.authorities.clear();
        let bytes = message.to_vec().unwrap();
        assert_eq!(
            Message::parse(&bytes).unwrap().ttl(),
            0,
            "nothing says how long"
        );
    }

    #[test]
    fn hints_of_https_records_are_addresses_too() {
        let mut bytes = vec![0, 7, 0x80, 0, 0, 1, 0, 1, 0, 0, 0, 0];
        bytes.extend(b"\x01a\x00\x00\x41\x00\x01");
        bytes.extend(b"\xc0\x0c\x00\x41\x00\x01\x00\x00\x00\x3c\x00\x13");
        bytes.extend(
            b"\x00\x01\x00\x00\x01\x00\x00\x00\x04\x00\x08\xc0\xa8\x50\x02\xcb\x00\x71\x01",
        );
        let message = Message::parse(&bytes).unwrap();
        let found = message.addresses(&message.entries[0]);
        let wanted: Vec<IpAddr> = vec![[192, 168, 80, 2].into(), [203, 0, 113, 1].into()];
        assert_eq!(found, wanted);
    }

    #[test]
    fn an_address_in_an_address_is_seen() {
        for text in ["::ffff:192.168.80.2", "64:ff9b::c0a8:5002"] {
            assert_eq!(
                embedded(text.parse().unwrap()),
                IpAddr::from([192, 168, 80, 2])
            );
        }
        let plain: IpAddr = "2001:db8::1".parse().unwrap();
        assert_eq!(embedded(plain), plain);
    }
}
