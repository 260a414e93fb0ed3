//! DNS records as people write them: `NAME [TTL] TYPE VALUE`, a line of a zone file (RFC 1035 section 5.1).

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::{
    Name, RData, RecordType,
    rdata::{A, AAAA, CNAME, MX, SRV, TXT},
};
use thiserror::Error;

use super::name::{self, NameKind};

/// Default TTL, in seconds: clients see a change of kvmc.toml within a minute.
pub(super) const TTL: u32 = 60;
/// Longest TTL, in seconds: a week; RFC 2181 section 8 allows more.
const LONGEST_TTL: u32 = 7 * 24 * 3600;

/// The record cannot be served; `why` says why.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{line}`: {why}")]
pub struct RecordError {
    line: String,
    why: String,
}

/// A record from the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub(super) name: Name,
    pub(super) ttl: u32,
    pub(super) data: RData,
    line: String,
}

impl Record {
    /// Reads `NAME [TTL] TYPE VALUE`. Names without a last dot are below `domain`; `@` is `domain`.
    ///
    /// # Errors
    /// The line is not such a record; the error says what is expected.
    pub fn parse(line: &str, domain: &Name) -> Result<Self, RecordError> {
        let fail = |why: String| RecordError {
            line: line.trim().to_owned(),
            why,
        };
        let words = words(line).map_err(&fail)?;
        let usage =
            || fail("a record is `NAME [TTL] TYPE VALUE`, as in `api A 192.168.80.9`".to_owned());
        let (owner, rest) = words.split_first().ok_or_else(usage)?;
        let (first, after) = rest.split_first().ok_or_else(usage)?;
        let (ttl, kind, value) = if first.bytes().all(|b| b.is_ascii_digit()) {
            let (kind, value) = after.split_first().ok_or_else(usage)?;
            (Some(first), kind, value)
        } else {
            (None, first, after)
        };
        let ttl = match ttl {
            None => TTL,
            Some(text) => text
                .parse()
                .ok()
                .filter(|t| *t <= LONGEST_TTL)
                .ok_or_else(|| {
                    fail(format!(
                        "invalid TTL {text}; expected 0 to {LONGEST_TTL} seconds"
                    ))
                })?,
        };
        let name = name::parse(owner, Some(domain), NameKind::Wildcard)
            .map_err(|e| fail(e.to_string()))?;
        if let Some(purpose) = name::special_use(&name) {
            return Err(fail(format!("`{owner}` cannot be served: {purpose}")));
        }
        let data = data(kind, value, domain).map_err(fail)?;
        Ok(Self {
            name,
            ttl,
            data,
            line: line.trim().to_owned(),
        })
    }

    pub(super) fn kind(&self) -> RecordType {
        self.data.record_type()
    }

    /// An error about this record.
    pub(super) fn wrong(&self, why: String) -> RecordError {
        RecordError {
            line: self.line.clone(),
            why,
        }
    }
}

fn data(kind: &str, value: &[String], domain: &Name) -> Result<RData, String> {
    let kind = kind.to_ascii_uppercase();
    let target =
        |text: &str| name::parse(text, Some(domain), NameKind::Service).map_err(|e| e.to_string());
    let number = |what: &str, text: &str| {
        text.parse::<u16>()
            .map_err(|_| format!("invalid {what} `{text}`; expected 0 to 65535"))
    };
    match (kind.as_str(), value) {
        ("A", [address]) => match address.parse::<Ipv4Addr>() {
            Ok(address) => Ok(RData::A(A(address))),
            Err(_) => Err(format!("`{address}` is not an IPv4 address")),
        },
        ("AAAA", [address]) => match address.parse::<Ipv6Addr>() {
            Ok(address) => Ok(RData::AAAA(AAAA(address))),
            Err(_) => Err(format!("`{address}` is not an IPv6 address")),
        },
        ("CNAME", [name]) => Ok(RData::CNAME(CNAME(target(name)?))),
        ("MX", [preference, name]) => Ok(RData::MX(MX::new(
            number("preference", preference)?,
            target(name)?,
        ))),
        ("SRV", [priority, weight, port, name]) => Ok(RData::SRV(SRV::new(
            number("priority", priority)?,
            number("weight", weight)?,
            number("port", port)?,
            target(name)?,
        ))),
        ("TXT", strings @ [_, ..]) => match strings.iter().find(|s| s.len() > 255) {
            Some(long) => Err(format!(
                "a string of {} bytes; expected at most 255 each, so write a longer text as several",
                long.len()
            )),
            None => Ok(RData::TXT(TXT::from_bytes(
                strings.iter().map(String::as_bytes).collect(),
            ))),
        },
        ("A" | "AAAA", _) => Err(format!("{kind} needs one address")),
        ("CNAME", _) => Err("CNAME needs one name".to_owned()),
        ("MX", _) => Err("MX needs `PREFERENCE NAME`".to_owned()),
        ("SRV", _) => Err("SRV needs `PRIORITY WEIGHT PORT NAME`".to_owned()),
        ("TXT", _) => Err("TXT needs a text".to_owned()),
        _ => Err(format!(
            "unknown type `{kind}`; expected A, AAAA, CNAME, MX, SRV or TXT"
        )),
    }
}

/// Splits a line into words. In double quotes blanks belong to the word; a backslash quotes the next character.
fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                let kept = chars.next().ok_or("it ends with a backslash")?;
                word.get_or_insert_default().push(kept);
            }
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            c if c.is_whitespace() && !quoted => words.extend(word.take()),
            c if c.is_control() => return Err(format!("it holds the control character {c:?}")),
            c => word.get_or_insert_default().push(c),
        }
    }
    if quoted {
        return Err("a quote is not closed".to_owned());
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Record, String> {
        let domain = super::super::parse_domain("k80.internal").unwrap();
        Record::parse(line, &domain).map_err(|e| e.to_string())
    }

    #[test]
    fn every_type_of_record_is_read() {
        for (line, name, data) in [
            ("api A 192.0.2.7", "api.k80.internal.", "192.0.2.7"),
            ("api 5 aaaa 2001:db8::7", "api.k80.internal.", "2001:db8::7"),
            (
                "www CNAME master0",
                "www.k80.internal.",
                "master0.k80.internal.",
            ),
            (
                "x.example. CNAME example.com.",
                "x.example.",
                "example.com.",
            ),
            ("@ MX 10 mail", "k80.internal.", "10 mail.k80.internal."),
            (
                "_http._tcp SRV 1 2 80 api",
                "_http._tcp.k80.internal.",
                "1 2 80 api.k80.internal.",
            ),
            ("t TXT \"a b\" c\\\"d", "t.k80.internal.", "a bc\"d"),
            ("*.apps A 192.0.2.8", "*.apps.k80.internal.", "192.0.2.8"),
        ] {
            let record = read(line).unwrap();
            assert_eq!(record.name.to_ascii(), name, "{line}");
            assert_eq!(record.data.to_string(), data, "{line}");
        }
        assert_eq!(read("a 5 A 192.0.2.1").unwrap().ttl, 5);
        assert_eq!(read("a A 192.0.2.1").unwrap().ttl, TTL);
    }

    #[test]
    fn an_error_names_the_record_and_what_is_expected() {
        for (line, why) in [
            ("", "`NAME [TTL] TYPE VALUE`"),
            ("api", "`NAME [TTL] TYPE VALUE`"),
            ("api 60", "`NAME [TTL] TYPE VALUE`"),
            ("api A", "A needs one address"),
            ("api A 192.0.2.256", "not an IPv4 address"),
            ("api A ::1", "not an IPv4 address"),
            ("api AAAA 192.0.2.1", "not an IPv6 address"),
            ("api NAPTR x", "expected A, AAAA, CNAME, MX, SRV or TXT"),
            ("api 99999999999 A 192.0.2.1", "invalid TTL 99999999999"),
            ("a_b.c! A 192.0.2.1", "`!`"),
            ("s SRV 1 2 99999 api", "port `99999`"),
            ("s SRV 1 2 api", "PRIORITY WEIGHT PORT NAME"),
            ("t TXT \"open", "not closed"),
            ("localhost. A 192.0.2.1", "the machine itself"),
            ("printer.local. A 192.0.2.1", "multicast DNS"),
            ("a.*.b A 192.0.2.1", "`*`"),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.contains(why), "{line}: {error}");
            assert!(error.starts_with(&format!("`{line}`: ")), "{error}");
        }
        let long = format!("t TXT {}", "x".repeat(256));
        assert!(read(&long).unwrap_err().contains("256 bytes"));
    }
}
