//! The network's names on the host, where systemd-resolved runs: per link, as resolvectl(1) does it. It
//! asks our name server for names in our domain and nothing else, and forgets it with the link.

use std::fs;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::reverse;
use crate::{ExecError, exec};

/// So many reverse zones a range may have; more are not worth their line.
const MOST_ZONES: usize = 16;

/// What systemd-resolved is to know of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostNames {
    link: String,
    server: IpAddr,
    domains: Vec<String>,
}

impl HostNames {
    /// That `server` knows the names in `domain` and those of the addresses in `range`, on `link`.
    #[must_use]
    pub fn new(link: &str, server: IpAddr, domain: &str, range: IpNetwork) -> Self {
        // The tilde: to ask for, not to search in.
        let mut domains = vec![format!("~{}", domain.trim_end_matches('.'))];
        let zones = reverse::zones(range);
        // One that is shared with others would have their names asked of us.
        let is_whole = match range {
            IpNetwork::V4(r) => r.prefix() <= 24,
            IpNetwork::V6(r) => r.prefix() <= 124,
        };
        if is_whole && zones.len() <= MOST_ZONES {
            let text = zones.iter().map(|z| z.to_ascii().to_ascii_lowercase());
            domains.extend(text.map(|z| format!("~{}", z.trim_end_matches('.'))));
        }
        Self {
            link: link.to_owned(),
            server,
            domains,
        }
    }

    /// Whether systemd-resolved runs, in this network namespace: that of another would take the number
    /// of our link for one of its own.
    #[must_use]
    pub fn resolver_is_here() -> bool {
        let Ok(here) = fs::read_link("/proc/thread-self/ns/net") else {
            return false;
        };
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        processes.map(|entry| entry.path()).any(|process| {
            let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
            // 15 characters are all that the kernel keeps of a name.
            name.trim_end() == "systemd-resolve"
                && fs::read_link(process.join("ns/net")).is_ok_and(|there| there == here)
                && fs::read_link(process.join("exe"))
                    .is_ok_and(|exe| exe.file_name().is_some_and(|n| n == "systemd-resolved"))
        })
    }

    /// Tells systemd-resolved.
    ///
    /// # Errors
    /// resolvectl's, with its words.
    pub fn apply(&self) -> Result<(), ExecError> {
        let link = self.link.as_str();
        let server = self.server.to_string();
        let mut domain = vec!["domain", link];
        domain.extend(self.domains.iter().map(String::as_str));
        // All else is for the host's other links; and nothing of ours is signed.
        for arguments in [
            &["default-route", link, "false"][..],
            &["llmnr", link, "false"],
            &["mdns", link, "false"],
            &["dnssec", link, "false"],
            &["dnsovertls", link, "false"],
            &domain,
            &["dns", link, &server],
        ] {
            exec::run("resolvectl", arguments, "")?;
        }
        Ok(())
    }

    /// Whether systemd-resolved knows.
    ///
    /// # Errors
    /// resolvectl's, with its words.
    pub fn present(&self) -> Result<bool, ExecError> {
        let ask = |what| exec::run("resolvectl", &[what, self.link.as_str()], "");
        let (server, domains) = (ask("dns")?, ask("domain")?);
        let has = |text: &str, word: &str| text.split_whitespace().any(|w| w == word);
        Ok(has(&server, &self.server.to_string()) && self.domains.iter().all(|d| has(&domains, d)))
    }

    /// Has it forget the link.
    ///
    /// # Errors
    /// resolvectl's, with its words.
    pub fn remove(&self) -> Result<(), ExecError> {
        exec::run("resolvectl", &["revert", self.link.as_str()], "").map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_are_all_ours_are_asked_of_us() {
        let domains = |range: &str| {
            let range: IpNetwork = range.parse().unwrap();
            HostNames::new("k80", range.ip(), "k80.internal.", range).domains
        };
        assert_eq!(
            domains("192.168.80.1/24"),
            ["~k80.internal", "~80.168.192.in-addr.arpa"]
        );
        assert_eq!(domains("192.168.80.1/26"), ["~k80.internal"]);
        assert_eq!(domains("10.0.0.0/9"), ["~k80.internal"]);
    }
}
