//! Names that kvmc never asks the host's resolvers for: IANA's special-use names, and single labels.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::{
    Name, RData, Record, RecordType,
    rdata::{A, AAAA, PTR, SOA},
};

use super::answer::Answer;
use super::reverse;

/// Seconds; these answers never change.
const TTL: u32 = 3600;

/// The answer to a reserved name; `None` for other names.
pub(super) fn answer(name: &Name, kind: RecordType) -> Option<Answer> {
    let top = name.iter().next_back()?.to_ascii_lowercase();
    match top.as_slice() {
        b"localhost" => return Some(localhost(name, kind)),
        b"invalid" | b"test" | b"local" | b"onion" | b"alt" => {
            return Some(nothing(&name.trim_to(1), false));
        }
        b"arpa" => {}
        // A validating client asks for records of top-level zones; a host with a single label is not outside.
        _ if name.iter().count() == 1 && !is_of_zones(kind) => return Some(nothing(name, false)),
        _ => return None,
    }
    // RFC 9462 section 6.4: a resolver does not forward the discovery of resolvers.
    if name.trim_to(2) == Name::from_ascii("resolver.arpa.").ok()? {
        return Some(nothing(&name.trim_to(2), true));
    }
    let address = reverse::address(name)?;
    if address.is_loopback() {
        let mut of = match kind {
            RecordType::PTR | RecordType::ANY => nothing(name, true),
            _ => return Some(nothing(name, true)),
        };
        let localhost = Name::from_ascii("localhost.").ok()?;
        of.soa = None;
        of.records = vec![Record::from_rdata(
            name.clone(),
            TTL,
            RData::PTR(PTR(localhost)),
        )];
        return Some(of);
    }
    address.is_unspecified().then(|| nothing(name, false))
}

/// `localhost` and names below it, RFC 6761 section 6.3.
fn localhost(name: &Name, kind: RecordType) -> Answer {
    let v4 = RData::A(A(Ipv4Addr::LOCALHOST));
    let v6 = RData::AAAA(AAAA(Ipv6Addr::LOCALHOST));
    let data = match kind {
        RecordType::A => vec![v4],
        RecordType::AAAA => vec![v6],
        RecordType::ANY => vec![v4, v6],
        _ => return nothing(&name.trim_to(1), true),
    };
    Answer {
        exists: true,
        records: data
            .into_iter()
            .map(|data| Record::from_rdata(name.clone(), TTL, data))
            .collect(),
        ..Answer::default()
    }
}

/// Whether a name is in a domain that companies use for their own names, though it is reserved.
pub(super) fn is_private(name: &Name) -> bool {
    let top = name.iter().next_back().map(<[u8]>::to_ascii_lowercase);
    matches!(top.as_deref(), Some(b"local" | b"test")) && name.iter().count() > 1
}

fn is_of_zones(kind: RecordType) -> bool {
    matches!(
        kind,
        RecordType::DS | RecordType::DNSKEY | RecordType::NS | RecordType::SOA
    )
}

fn nothing(zone: &Name, exists: bool) -> Answer {
    let soa = SOA::new(zone.clone(), zone.clone(), 1, 3600, 600, 86400, TTL);
    Answer {
        exists,
        soa: Some(Record::from_rdata(zone.clone(), TTL, RData::SOA(soa))),
        ..Answer::default()
    }
}
