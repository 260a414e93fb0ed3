//! Checks the DNS names and records of a cluster before anything is made.

use std::net::IpAddr;

use kvmc_netns::dns::{Name, Record, Zone, ZoneSpec, parse_domain};

use super::cluster::ClusterSpec;
use super::role::BALANCERS;

impl ClusterSpec {
    /// The domain of the nodes' names, without a final dot.
    pub(crate) fn domain(&self) -> String {
        let asked = self.dns.domain.trim_end_matches('.').to_ascii_lowercase();
        if asked.is_empty() {
            format!("{}.internal", self.name)
        } else {
            asked
        }
    }

    /// The specification of a fork with another name, whose nodes keep their names. It begins without forwards, since the
    /// ports of the host are in use, and without a folder of the user, since that has the files of the first.
    pub(crate) fn forked(&self, name: &str) -> Self {
        let mut fork = self.clone();
        fork.dns.domain = self.domain();
        fork.name = name.to_owned();
        fork.forwards = Vec::new();
        fork.files.folder = None;
        fork
    }

    /// The checked domain.
    ///
    /// # Errors
    /// Fails with the broken rule.
    pub(super) fn check_domain(&self) -> Result<Name, String> {
        let domain = parse_domain(&self.domain()).map_err(|e| e.to_string())?;
        if self.node_names().any(|(n, _)| n == self.domain()) {
            return Err(format!(
                "`{}` is the name of a node; choose another domain",
                self.domain()
            ));
        }
        Ok(domain)
    }

    /// Checks the records together with the names of the nodes.
    ///
    /// # Errors
    /// Fails at the first wrong record.
    pub(super) fn check_records(&self, domain: Name) -> Result<(), String> {
        let records = self.records(&domain)?;
        // The addresses do not matter for this check.
        let some = IpAddr::from(self.subnet.ip());
        let is_balancer = |groups: &[String]| groups.iter().any(|g| g == BALANCERS);
        let balancers = self.node_names().filter(|(_, r)| is_balancer(&r.groups));
        let spec = ZoneSpec {
            domain,
            gateway: vec![some],
            subnets: vec![self.subnet.into()],
            balancers: balancers.map(|_| some).collect(),
            hosts: self.node_names().map(|(n, _)| (n, vec![some])).collect(),
            records,
            serial: 0,
        };
        Zone::new(&spec).map(drop).map_err(|e| e.to_string())
    }

    /// The parsed records.
    ///
    /// # Errors
    /// Fails at the first wrong record. A checked specification has none.
    pub(crate) fn records(&self, domain: &Name) -> Result<Vec<Record>, String> {
        let lines = self.dns.records.iter();
        lines
            .map(|line| Record::parse(line, domain).map_err(|e| e.to_string()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ClusterSpec, Key, Layer, Settings, Source, check};

    fn with(domain: &str, records: &str) -> Result<ClusterSpec, String> {
        let mut layer = Layer::default();
        for (key, text) in [("dns.domain", domain), ("dns.records", records)] {
            layer.set_text(Key::cluster(key), text, Source::Flag("--x".to_owned()));
        }
        check(&Settings::resolve([layer])).map_err(|e| e.to_string())
    }

    #[test]
    fn domain_and_records_are_checked_before_anything_is_made() {
        assert_eq!(with("", "").unwrap().domain(), "k80.internal");
        let spec = with("Lab.Example.", "api A 192.168.80.9\n\nwww CNAME api").unwrap();
        assert_eq!(spec.domain(), "lab.example");
        assert_eq!(spec.dns.records, ["api A 192.168.80.9", "www CNAME api"]);
        for (domain, records, why) in [
            ("x.local", "", "dns.domain: `x.local` cannot be the domain"),
            ("master0", "", "dns.domain: `master0` is the name of a node"),
            (
                "",
                "api A 1.2.3",
                "dns.records: `api A 1.2.3`: `1.2.3` is not an IPv4 address",
            ),
            (
                "",
                "worker2 A 192.0.2.1",
                "kvmc serves worker2.k80.internal itself",
            ),
            (
                "",
                "www CNAME example.com",
                "ends with a dot (from flag --x)",
            ),
        ] {
            let error = with(domain, records).unwrap_err();
            assert!(error.contains(why), "{domain} {records}: {error}");
        }
    }
}
