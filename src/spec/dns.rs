//! `[dns]`: the domain of the cluster's names, and records beside theirs.

use std::net::IpAddr;

use kvmc_netns::dns::{Name, Record, Zone, ZoneSpec, parse_domain};
use serde::{Deserialize, Serialize};

use super::{ClusterSpec, Role};

/// What the cluster's name server is to serve beside nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DnsSpec {
    /// Empty for the default, which is made of the cluster's name.
    #[serde(default)]
    domain: String,
    /// Each `NAME [TTL] TYPE VALUE`, as in a zone file.
    #[serde(default)]
    pub(crate) records: Vec<String>,
}

impl DnsSpec {
    /// The settings; records are one a line.
    pub(super) fn new(domain: &str, records: &str) -> Self {
        let lines = records.lines().map(str::trim);
        Self {
            domain: domain.trim().to_owned(),
            records: lines.filter(|l| !l.is_empty()).map(str::to_owned).collect(),
        }
    }

    #[cfg(test)]
    pub(crate) fn for_test(records: &str) -> Self {
        Self::new("", records)
    }

    /// As it was asked for.
    pub(crate) fn domain_asked(&self) -> &str {
        &self.domain
    }

    /// The settings again.
    pub(crate) fn join_records(&self) -> String {
        self.records.join("\n")
    }
}

impl ClusterSpec {
    /// The domain that the nodes' names stand in, without a dot at its end.
    pub(crate) fn domain(&self) -> String {
        let asked = self.dns.domain.trim_end_matches('.').to_ascii_lowercase();
        if asked.is_empty() {
            format!("{}.internal", self.name)
        } else {
            asked
        }
    }

    /// The domain, checked.
    ///
    /// # Errors
    /// The rule that is broken, in words.
    pub(super) fn check_domain(&self) -> Result<Name, String> {
        let domain = parse_domain(&self.domain()).map_err(|e| e.to_string())?;
        if self.node_names().iter().any(|(n, _)| *n == self.domain()) {
            return Err(format!("`{}` is a node's name", self.domain()));
        }
        Ok(domain)
    }

    /// The records, checked with all that the cluster's names will be.
    ///
    /// # Errors
    /// The first record that is wrong.
    pub(super) fn check_records(&self, domain: Name) -> Result<(), String> {
        let records = self.records(&domain)?;
        // Which addresses they will have makes no difference here.
        let some = IpAddr::from(self.subnet.ip());
        let names = self.node_names();
        let balancers = names.iter().filter(|(_, role)| *role == Role::LoadBalancer);
        let spec = ZoneSpec {
            domain,
            gateway: vec![some],
            subnets: vec![self.subnet.into()],
            balancers: balancers.map(|_| some).collect(),
            hosts: names.into_iter().map(|(n, _)| (n, vec![some])).collect(),
            records,
            serial: 0,
        };
        Zone::new(&spec).map(drop).map_err(|e| e.to_string())
    }

    /// The records, read.
    ///
    /// # Errors
    /// The first that is wrong; none once the spec is checked.
    pub(crate) fn records(&self, domain: &Name) -> Result<Vec<Record>, String> {
        let lines = self.dns.records.iter();
        lines
            .map(|line| Record::parse(line, domain).map_err(|e| e.to_string()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::{Key, Layer, Settings, Source};
    use super::super::{ClusterSpec, check};

    fn with(domain: &str, records: &str) -> Result<ClusterSpec, String> {
        let of = |text: &str| (text.to_owned(), Source::Flag("--x"));
        let layer = Layer::from([(Key::Domain, of(domain)), (Key::Records, of(records))]);
        check(&Settings::resolve([layer])).map_err(|e| e.to_string())
    }

    #[test]
    fn domain_and_records_are_checked_before_anything_is_made() {
        assert_eq!(with("", "").unwrap().domain(), "k80.internal");
        let spec = with("Lab.Example.", "api A 192.168.80.9\n\nwww CNAME api").unwrap();
        assert_eq!(spec.domain(), "lab.example");
        assert_eq!(spec.dns.join_records(), "api A 192.168.80.9\nwww CNAME api");
        for (domain, records, why) in [
            ("x.local", "", "dns.domain: `x.local` cannot be the domain"),
            ("master0", "", "dns.domain: `master0` is a node's name"),
            (
                "",
                "api A 1.2.3",
                "dns.records: `api A 1.2.3`: `1.2.3` is not an IPv4 address",
            ),
            (
                "",
                "worker2 A 192.0.2.1",
                "worker2.k80.internal is given by kvmc",
            ),
            (
                "",
                "www CNAME example.com",
                "written with a dot at its end (from flag --x)",
            ),
        ] {
            let error = with(domain, records).unwrap_err();
            assert!(error.contains(why), "{domain} {records}: {error}");
        }
    }
}
