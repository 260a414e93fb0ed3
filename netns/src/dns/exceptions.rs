//! Names of others that are let through though they are usually cut off, and a note of those that were cut off.

use std::collections::BTreeMap;
use std::time::SystemTime;

use hickory_proto::rr::Name;

use super::name::{NameError, NameKind, parse};

/// Most suffixes that are noted; a node may ask for any number of names.
const MOST: usize = 16;

/// Names that are treated like any other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exceptions {
    /// Names in special-use domains (`local`, `test`), and single labels, that the host's resolvers are asked for, with all
    /// below them.
    pub forward: Vec<Name>,
    /// Names whose addresses may be in the network's own range, with all below them.
    pub rebind_ok: Vec<Name>,
}

impl Exceptions {
    pub(super) fn forwards(&self, name: &Name) -> bool {
        self.forward.iter().any(|zone| zone.zone_of(name))
    }

    pub(super) fn may_lead_to_us(&self, name: &Name) -> bool {
        self.rebind_ok.iter().any(|zone| zone.zone_of(name))
    }
}

/// Reads a name for [`Exceptions`].
///
/// # Errors
/// Fails if the text is not a name, or is `localhost` or `arpa`, which never leave the machine.
pub fn parse_exception(text: &str) -> Result<Name, NameError> {
    let name = parse(
        text.strip_suffix('.').unwrap_or(text),
        None,
        NameKind::Service,
    )?;
    match name.iter().next_back() {
        Some(b"localhost" | b"arpa") => Err(NameError::new(
            text,
            "never leaves this machine (RFC 6761)".to_owned(),
        )),
        _ => Ok(name),
    }
}

/// Why a name was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutOff {
    /// It is in a special-use domain, so that nobody outside was asked.
    NotForwarded,
    /// The answer led into the network's own range.
    Rebinding,
}

/// Names that were cut off, by the suffix that an exception would name.
#[derive(Clone, Debug, Default)]
pub(super) struct CutOffs(BTreeMap<String, (CutOff, SystemTime)>);

impl CutOffs {
    pub(super) fn note(&mut self, name: &Name, why: CutOff) {
        let labels: Vec<_> = name.iter().collect();
        let suffix = labels
            .get(labels.len().saturating_sub(2)..)
            .unwrap_or_default();
        // Of service discovery (RFC 6763), which is multicast's.
        if suffix.first().is_none_or(|label| label.starts_with(b"_")) {
            return;
        }
        let suffix = name.trim_to(suffix.len()).to_ascii().to_ascii_lowercase();
        let suffix = suffix.trim_end_matches('.').to_owned();
        if self.0.len() < MOST || self.0.contains_key(&suffix) {
            self.0.insert(suffix, (why, SystemTime::now()));
        }
    }

    pub(super) fn list(&self) -> Vec<(String, CutOff, SystemTime)> {
        let all = self.0.iter();
        all.map(|(suffix, (why, time))| (suffix.clone(), *why, *time))
            .collect()
    }

    /// Drops those that exceptions let through by now.
    pub(super) fn allow(&mut self, exceptions: &Exceptions) {
        self.0.retain(|suffix, (why, _)| {
            let Ok(name) = parse_exception(suffix) else {
                return false;
            };
            match why {
                CutOff::NotForwarded => !exceptions.forwards(&name),
                CutOff::Rebinding => !exceptions.may_lead_to_us(&name),
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use hickory_proto::op::{Message, MessageType, OpCode, Query};
    use hickory_proto::rr::{RData, Record, RecordType, rdata};

    use super::super::{Action, Responder, Zone, ZoneSpec, parse_domain};
    use super::*;
    use crate::Protocol;

    fn zone(forward: &[&str], rebind_ok: &[&str]) -> Zone {
        let host = |end: u8| vec![[192, 168, 80, end].into()];
        let spec = ZoneSpec {
            domain: parse_domain("k80.internal").unwrap(),
            gateway: host(1),
            subnets: vec!["192.168.80.0/24".parse().unwrap()],
            hosts: vec![("master0".to_owned(), host(2))],
            balancers: Vec::new(),
            records: Vec::new(),
            serial: 1,
        };
        let names = |texts: &[&str]| texts.iter().map(|t| parse_exception(t).unwrap()).collect();
        let exceptions = Exceptions {
            forward: names(forward),
            rebind_ok: names(rebind_ok),
        };
        Zone::new(&spec).unwrap().with_exceptions(exceptions)
    }

    fn responder(zone: Zone) -> Responder {
        Responder::new(zone, vec!["192.168.80.0/24".parse().unwrap()])
    }

    fn ask(responder: &mut Responder, name: &str) -> Action {
        let mut message = Message::new(1, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
        let bytes = message.to_vec().unwrap();
        responder.receive(Instant::now(), &bytes, Protocol::Udp, true)
    }

    /// What is left of a resolver's answer with this address.
    fn answers(responder: &mut Responder, name: &str, address: [u8; 4]) -> usize {
        let Action::Forward(query) = ask(responder, name) else {
            panic!("{name} is not forwarded");
        };
        let question = query.question(2, &[0; 32], true);
        let mut answer = Message::from_vec(&question).unwrap();
        answer.metadata.message_type = MessageType::Response;
        let data = RData::A(rdata::A(address.into()));
        answer.add_answer(Record::from_rdata(
            Name::from_ascii(name).unwrap(),
            60,
            data,
        ));
        let bytes = answer.to_vec().unwrap();
        let resolution = responder.resolve(Instant::now(), &query, &bytes);
        let reply = Message::from_vec(&query.reply(&resolution, 0)).unwrap();
        reply.answers.len()
    }

    fn cut_off(responder: &Responder) -> Vec<(String, CutOff)> {
        let all = responder.cut_off().into_iter();
        all.map(|(name, why, _)| (name, why)).collect()
    }

    #[test]
    fn names_of_a_company_are_forwarded_where_that_is_set_and_told_where_not() {
        let mut responder = responder(zone(&["corp.local", "intranet"], &[]));
        for name in ["corp.local.", "git.CORP.local.", "intranet."] {
            assert!(
                matches!(ask(&mut responder, name), Action::Forward(_)),
                "{name}"
            );
        }
        assert_eq!(cut_off(&responder), []);
        for name in [
            "git.other.local.",
            "a.b.test.",
            "_ipp._tcp.local.",
            "other.",
            "x.onion.",
        ] {
            assert!(
                matches!(ask(&mut responder, name), Action::Reply(_)),
                "{name}"
            );
        }
        let told = [
            ("b.test", CutOff::NotForwarded),
            ("other.local", CutOff::NotForwarded),
        ];
        assert_eq!(cut_off(&responder), told.map(|(n, w)| (n.to_owned(), w)));
        // A name that is allowed while the server runs is not reported again.
        responder.set_zone(zone(&["other.local"], &[]));
        assert!(matches!(
            ask(&mut responder, "git.other.local."),
            Action::Forward(_)
        ));
        assert_eq!(
            cut_off(&responder),
            [("b.test".to_owned(), CutOff::NotForwarded)]
        );
    }

    #[test]
    fn answers_into_the_range_are_let_through_of_names_that_may_and_told_of_others() {
        let (inside, loopback) = ([192, 168, 80, 7], [127, 0, 0, 1]);
        let mut responder = responder(zone(&[], &["nip.io"]));
        assert_eq!(
            answers(&mut responder, "app.192-168-80-7.nip.io.", inside),
            1
        );
        assert_eq!(answers(&mut responder, "self.nip.io.", loopback), 0);
        assert_eq!(cut_off(&responder), []);
        assert_eq!(
            answers(&mut responder, "a.192.168.80.7.sslip.io.", inside),
            0
        );
        assert_eq!(
            cut_off(&responder),
            [("sslip.io".to_owned(), CutOff::Rebinding)]
        );
        responder.set_zone(zone(&[], &["sslip.io"]));
        responder.forget();
        assert_eq!(
            answers(&mut responder, "a.192.168.80.7.sslip.io.", inside),
            1
        );
        assert_eq!(cut_off(&responder), []);
    }

    #[test]
    fn no_more_names_are_noted_than_there_is_room_for() {
        let mut responder = responder(zone(&[], &[]));
        for n in 0..100 {
            ask(&mut responder, &format!("x.name{n}.local."));
        }
        assert_eq!(responder.cut_off().len(), MOST);
    }

    #[test]
    fn what_never_leaves_the_machine_is_no_exception() {
        for (bad, why) in [
            ("localhost", "never leaves this machine"),
            ("x.arpa", "never leaves"),
            ("a b", "` `"),
            ("", "empty label"),
        ] {
            let error = parse_exception(bad).unwrap_err().to_string();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }
}
