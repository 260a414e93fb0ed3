//! Makes the network's names resolve on the host, through systemd-resolved, by resolvectl(1).
//!
//! resolved sends queries for the network's domain to our name server, and no others. The setting ends with the link.

use std::fs;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::reverse;
use crate::{ExecError, exec};

/// Most reverse zones of a network; a network with more gets none.
const MOST_ZONES: usize = 16;

/// The settings of a link in systemd-resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostNames {
    link: String,
    server: IpAddr,
    domains: Vec<String>,
}

impl HostNames {
    /// Routes queries for `domain` and for the addresses in `range` to `server`, on `link`.
    #[must_use]
    pub fn new(link: &str, server: IpAddr, domain: &str, range: IpNetwork) -> Self {
        // A tilde makes a routing domain, which is not searched for bare names.
        let mut domains = vec![format!("~{}", domain.trim_end_matches('.'))];
        let zones = reverse::zones(range);
        // A zone with addresses of other networks would route their names here too.
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

    /// Whether systemd-resolved runs in this network namespace: in another one, the link's number is another link's.
    #[must_use]
    pub fn resolver_is_here() -> bool {
        let Ok(here) = fs::read_link("/proc/thread-self/ns/net") else {
            return false;
        };
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        processes.map(|entry| entry.path()).any(|process| {
            let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
            // The kernel keeps 15 characters of a name.
            name.trim_end() == "systemd-resolve"
                && fs::read_link(process.join("ns/net")).is_ok_and(|there| there == here)
                && fs::read_link(process.join("exe"))
                    .is_ok_and(|exe| exe.file_name().is_some_and(|n| n == "systemd-resolved"))
        })
    }

    /// Applies the settings.
    ///
    /// # Errors
    /// resolvectl failed; the error holds its output.
    pub fn apply(&self) -> Result<(), ExecError> {
        let link = self.link.as_str();
        let server = self.server.to_string();
        let mut domain = vec!["domain", link];
        domain.extend(self.domains.iter().map(String::as_str));
        // Other names are for the host's other links. Our zones are not signed.
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

    /// Whether systemd-resolved has these settings.
    ///
    /// # Errors
    /// resolvectl failed; the error holds its output.
    pub fn present(&self) -> Result<bool, ExecError> {
        let ask = |what| exec::run("resolvectl", &[what, self.link.as_str()], "");
        let (server, domains) = (ask("dns")?, ask("domain")?);
        let has = |text: &str, word: &str| text.split_whitespace().any(|w| w == word);
        Ok(has(&server, &self.server.to_string()) && self.domains.iter().all(|d| has(&domains, d)))
    }

    /// Removes the link's settings.
    ///
    /// # Errors
    /// resolvectl failed; the error holds its output.
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
