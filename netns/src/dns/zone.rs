//! The names of the network and their records. Tells names that exist from those that do not, and from names of others. Pure.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use hickory_proto::rr::{
    Name, RData, Record as ResourceRecord, RecordType,
    rdata::{A, AAAA, NS, PTR, SOA},
};
use ipnetwork::IpNetwork;

use super::answer::Answer;
use super::exceptions::Exceptions;
use super::record::{Record, RecordError, TTL};
use super::{reserved, reverse};

/// TTL of a negative answer, in seconds: nodes may be added at any time.
const NEGATIVE_TTL: u32 = 10;
/// Most records from the settings: adding one looks at all others.
const MOST_RECORDS: usize = 1000;
/// Most aliases that are followed in one answer.
const LONGEST_CHAIN: usize = 8;
/// The name of the host.
const GATEWAY: &str = "gateway";
/// The name of all load balancers.
const BALANCERS: &str = "lb";

/// The contents of a zone.
#[derive(Debug, Clone)]
pub struct ZoneSpec {
    /// The domain of all names, from [`parse_domain`](super::parse_domain).
    pub domain: Name,
    /// The host's addresses on the network, which are the name server's.
    pub gateway: Vec<IpAddr>,
    /// The networks whose reverse zones are served.
    pub subnets: Vec<IpNetwork>,
    /// The name of each machine below the domain, and its addresses. A name of one label also resolves without the domain.
    pub hosts: Vec<(String, Vec<IpAddr>)>,
    /// The load balancers' addresses.
    pub balancers: Vec<IpAddr>,
    /// Records from the settings.
    pub records: Vec<Record>,
    /// The serial number in the SOA.
    pub serial: u32,
}

/// The names of a network and their records.
#[derive(Debug)]
pub struct Zone {
    domain: Name,
    subnets: Vec<IpNetwork>,
    names: HashMap<Name, Vec<(u32, RData)>>,
    /// Empty non-terminals: names without records above names with records.
    parents: HashSet<Name>,
    /// The domain, and the reverse zones.
    apexes: Vec<Name>,
    serial: u32,
    exceptions: Exceptions,
}

impl Zone {
    /// Makes a zone.
    ///
    /// # Errors
    /// A record from the settings conflicts with another record.
    pub fn new(spec: &ZoneSpec) -> Result<Self, RecordError> {
        let domain = &spec.domain;
        let mut zone = Self {
            domain: domain.clone(),
            subnets: spec.subnets.clone(),
            names: HashMap::new(),
            parents: HashSet::new(),
            apexes: vec![domain.clone()],
            serial: spec.serial,
            exceptions: Exceptions::default(),
        };
        for subnet in &spec.subnets {
            zone.apexes.extend(reverse::zones(*subnet));
        }
        let gateway = below(domain, GATEWAY);
        for apex in zone.apexes.clone() {
            zone.add(&apex, TTL, RData::SOA(zone.soa_data()));
            zone.add(&apex, TTL, RData::NS(NS(gateway.clone())));
        }
        zone.add_host(gateway, &spec.gateway);
        for (name, addresses) in &spec.hosts {
            zone.add_host(below(domain, name), addresses);
            if !name.contains('.') {
                zone.add_addresses(&below(&Name::root(), name), addresses);
            }
        }
        if !spec.balancers.is_empty() {
            let name = below(domain, BALANCERS);
            for name in [&name, &below(&name, "*"), &below(&Name::root(), BALANCERS)] {
                zone.add_addresses(name, &spec.balancers);
            }
        }
        zone.add_records(&spec.records)?;
        Ok(zone)
    }

    /// The same zone with exceptions of what is cut off.
    #[must_use]
    pub fn with_exceptions(mut self, exceptions: Exceptions) -> Self {
        self.exceptions = exceptions;
        self
    }

    pub(super) const fn exceptions(&self) -> &Exceptions {
        &self.exceptions
    }

    fn add_host(&mut self, name: Name, addresses: &[IpAddr]) {
        self.add_addresses(&name, addresses);
        for address in addresses {
            self.add(&reverse::name(*address), TTL, RData::PTR(PTR(name.clone())));
        }
    }

    fn add_addresses(&mut self, name: &Name, addresses: &[IpAddr]) {
        for address in addresses {
            let data = match address {
                IpAddr::V4(a) => RData::A(A(*a)),
                IpAddr::V6(a) => RData::AAAA(AAAA(*a)),
            };
            self.add(name, TTL, data);
        }
    }

    fn add(&mut self, name: &Name, ttl: u32, data: RData) {
        let records = self.names.entry(name.clone()).or_default();
        // RFC 2181 section 5.2: all records of one kind have one TTL.
        let kind = data.record_type();
        let alike = records.iter_mut().filter(|(_, d)| d.record_type() == kind);
        let mut least = ttl;
        for (other, _) in alike {
            least = least.min(*other);
            *other = least;
        }
        records.push((least, data));
        let mut parent = name.clone();
        while !parent.is_root() && !self.apexes.contains(&parent) {
            parent = parent.base_name();
            self.parents.insert(parent.clone());
        }
    }

    fn add_records(&mut self, records: &[Record]) -> Result<(), RecordError> {
        if let Some(beyond) = records.get(MOST_RECORDS) {
            let why = format!(
                "there are {} records; expected at most {MOST_RECORDS}",
                records.len()
            );
            return Err(beyond.wrong(why));
        }
        // The names so far are kvmc's own.
        let own: HashSet<Name> = self.names.keys().cloned().collect();
        let names_something =
            |kind| matches!(kind, RecordType::A | RecordType::AAAA | RecordType::CNAME);
        for record in records {
            let shown = shown(&record.name);
            if own.contains(&record.name) && names_something(record.kind()) {
                let why = format!("kvmc serves {shown} itself; choose another name");
                return Err(record.wrong(why));
            }
            let there = self.names.get(&record.name).map(Vec::as_slice);
            let there = there.unwrap_or_default();
            if there.iter().any(|(_, data)| *data == record.data) {
                return Err(record.wrong("the record is there twice".to_owned()));
            }
            let alias = |kind| kind == RecordType::CNAME;
            let beside = there.iter().any(|(_, d)| alias(d.record_type()));
            if beside || (alias(record.kind()) && !there.is_empty()) {
                let why =
                    format!("{shown} has a CNAME; no other record can be beside it (RFC 1034)");
                return Err(record.wrong(why));
            }
            self.add(&record.name, record.ttl, record.data.clone());
        }
        records.iter().try_for_each(|r| self.check_target(r))
    }

    /// Checks that a record's target exists or is outside the zone. This finds a forgotten last dot.
    fn check_target(&self, record: &Record) -> Result<(), RecordError> {
        let target = match &record.data {
            RData::CNAME(name) => &name.0,
            RData::MX(mx) => &mx.exchange,
            RData::SRV(srv) => &srv.target,
            _ => return Ok(()),
        };
        let Some(found) = self.look_up(target, RecordType::A) else {
            return Ok(());
        };
        if !found.exists {
            let why = format!(
                "there is no {}; a name outside of {} ends with a dot",
                shown(target),
                shown(&self.domain)
            );
            return Err(record.wrong(why));
        }
        if found
            .records
            .last()
            .is_some_and(|r| r.record_type() == RecordType::CNAME)
            && found.onward.is_none()
            && found.soa.is_none()
        {
            let why = format!("its CNAMEs form a loop or are more than {LONGEST_CHAIN}");
            return Err(record.wrong(why));
        }
        Ok(())
    }

    /// Whether a name belongs to this network. No answer of others may refer to such a name.
    pub(super) fn is_ours(&self, name: &Name) -> bool {
        self.domain.zone_of(name) || (name.iter().count() == 1 && self.names.contains_key(name))
    }

    /// Looks a name up and follows aliases; `None` for a name of others.
    pub(super) fn look_up(&self, name: &Name, kind: RecordType) -> Option<Answer> {
        let mut answer = self.step(name, kind)?;
        for _ in 0..LONGEST_CHAIN {
            let Some(RData::CNAME(alias)) = answer.records.last().map(|r| &r.data) else {
                break;
            };
            if answer.soa.is_some() || matches!(kind, RecordType::CNAME | RecordType::ANY) {
                break;
            }
            let alias = alias.0.clone();
            let Some(next) = self.step(&alias, kind) else {
                answer.onward = Some(alias);
                break;
            };
            answer.exists = next.exists;
            answer.records.extend(next.records);
            answer.soa = next.soa;
        }
        Some(answer)
    }

    /// Looks one name up without following aliases; `None` for a name of others.
    fn step(&self, name: &Name, kind: RecordType) -> Option<Answer> {
        if let Some(data) = self.names.get(name) {
            return Some(self.answer(name, name, data, kind));
        }
        let zone = self.zone_of(name);
        let mut encloser = name.clone();
        while !encloser.is_root() {
            encloser = encloser.base_name();
            let wildcard = below(&encloser, "*");
            if let Some(data) = self.names.get(&wildcard) {
                return Some(match self.parents.contains(name) {
                    true => self.nothing(name, true),
                    false => self.answer(name, &wildcard, data, kind),
                });
            }
            // RFC 4592: a wildcard does not apply below a name that exists.
            let is_there = self.names.contains_key(&encloser)
                || (zone.is_some() && self.parents.contains(&encloser));
            if is_there || self.apexes.contains(&encloser) {
                break;
            }
        }
        if zone.is_some() {
            return Some(self.nothing(name, self.parents.contains(name)));
        }
        match self.exceptions.forwards(name) {
            true => None,
            false => reserved::answer(name, kind),
        }
    }

    /// Whether the server answers for a name's special-use domain itself, and forwards no question about it.
    pub(super) fn is_cut_off(&self, name: &Name) -> bool {
        reserved::is_private(name)
            && self.zone_of(name).is_none()
            && !self.exceptions.forwards(name)
    }

    fn answer(&self, name: &Name, at: &Name, data: &[(u32, RData)], kind: RecordType) -> Answer {
        let fits =
            |is: RecordType| is == kind || kind == RecordType::ANY || is == RecordType::CNAME;
        let records: Vec<_> = data
            .iter()
            .filter(|(_, data)| fits(data.record_type()))
            .map(|(ttl, data)| ResourceRecord::from_rdata(name.clone(), *ttl, data.clone()))
            .collect();
        if records.is_empty() {
            return self.nothing(at, true);
        }
        Answer {
            exists: true,
            records,
            ..Answer::default()
        }
    }

    fn nothing(&self, name: &Name, exists: bool) -> Answer {
        let zone = self.zone_of(name).unwrap_or(name);
        let soa = RData::SOA(self.soa_data());
        Answer {
            exists,
            soa: Some(ResourceRecord::from_rdata(zone.clone(), NEGATIVE_TTL, soa)),
            ..Answer::default()
        }
    }

    /// Our zone that holds a name. A reverse zone wider than the network counts only for the network's addresses.
    fn zone_of(&self, name: &Name) -> Option<&Name> {
        let zone = self.apexes.iter().find(|apex| apex.zone_of(name))?;
        let of_ours = |address| self.subnets.iter().any(|s| s.contains(address));
        let shared = *zone != self.domain
            && zone != name
            && reverse::address(name).is_some_and(|address| !of_ours(address));
        (!shared).then_some(zone)
    }

    fn soa_data(&self) -> SOA {
        SOA::new(
            below(&self.domain, GATEWAY),
            below(&self.domain, "hostmaster"),
            self.serial,
            3600,
            600,
            86400,
            NEGATIVE_TTL,
        )
    }
}

/// Prepends labels to a name; a label that does not fit is left out.
fn below(domain: &Name, labels: &str) -> Name {
    labels.rsplit('.').fold(domain.clone(), |name, label| {
        name.prepend_label(label).unwrap_or(name)
    })
}

/// The name without its last dot.
fn shown(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_owned()
}
