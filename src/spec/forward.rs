//! Forwards from ports of the host to nodes: `8080:lbl0:80`, `127.0.0.1:5353:master0:53/udp`.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use kvmc_netns::firewall::Protocol;
use serde::{Deserialize, Serialize};

/// A forward from a port of the host to a port of a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Forward {
    pub(crate) protocol: Protocol,
    /// The address of the host; `None` for all addresses.
    pub(crate) address: Option<Ipv4Addr>,
    /// The port of the host.
    pub(crate) port: u16,
    pub(crate) node: String,
    /// The port of the node.
    pub(crate) node_port: u16,
}

impl Forward {
    /// Whether both need the same port of the same address.
    pub(crate) fn collides(&self, other: &Self) -> bool {
        self.protocol == other.protocol
            && self.port == other.port
            && (self.address == other.address || self.address.is_none() || other.address.is_none())
    }

    /// Whether it is on a loopback address of the host, which other machines cannot reach.
    pub(crate) fn is_on_loopback(&self) -> bool {
        self.address.is_some_and(|a| a.is_loopback())
    }

    /// The host's side as it is typed: `8080`, `127.0.0.1:5353/udp`.
    pub(crate) fn host_side(&self) -> String {
        let address = self.address.map(|a| format!("{a}:")).unwrap_or_default();
        format!("{address}{}{}", self.port, self.suffix())
    }

    const fn suffix(&self) -> &'static str {
        match self.protocol {
            Protocol::Tcp => "",
            Protocol::Udp => "/udp",
        }
    }
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(address) = self.address {
            write!(f, "{address}:")?;
        }
        let (port, node, to) = (self.port, &self.node, self.node_port);
        write!(f, "{port}:{node}:{to}{}", self.suffix())
    }
}

impl From<Forward> for String {
    fn from(forward: Forward) -> Self {
        forward.to_string()
    }
}

impl TryFrom<String> for Forward {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Forward {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || {
            format!(
                "`{text}` is not a forward; expected a form such as 8080:lbl0:80, 127.0.0.1:8080:lbl0:80 or 5353:lbl0:53/udp"
            )
        };
        let (rest, protocol) = match text.trim().split_once('/') {
            None => (text.trim(), Protocol::Tcp),
            Some((rest, "tcp")) => (rest, Protocol::Tcp),
            Some((rest, "udp")) => (rest, Protocol::Udp),
            Some((_, other)) => {
                return Err(format!(
                    "`{text}`: unknown protocol `{other}`; expected tcp or udp"
                ));
            }
        };
        let parts: Vec<_> = rest.split(':').collect();
        let (address, port, node, node_port) = match parts.as_slice() {
            [port, node, to] => (None, port, node, to),
            [address, port, node, to] => {
                let address = address.parse::<Ipv4Addr>().map_err(|_| form())?;
                (Some(address), port, node, to)
            }
            _ => return Err(form()),
        };
        if node.is_empty() {
            return Err(form());
        }
        let number = |port: &str| match port.parse::<u32>() {
            Ok(n @ 1..=65535) => u16::try_from(n).map_err(|_| form()),
            Ok(n) => Err(format!(
                "`{text}`: port {n} is out of range; expected 1 to 65535"
            )),
            Err(_) => Err(form()),
        };
        Ok(Self {
            protocol,
            // Other tools write the unspecified address for all addresses.
            address: address.filter(|a| !a.is_unspecified()),
            port: number(port)?,
            node: (*node).to_owned(),
            node_port: number(node_port)?,
        })
    }
}

/// Reads forwards.
///
/// # Errors
/// Fails at the first wrong forward, or the first that needs the port of an earlier one.
pub(super) fn parse<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<Forward>, String> {
    let mut forwards: Vec<Forward> = Vec::new();
    for text in texts {
        let forward: Forward = text.parse()?;
        if let Some(other) = forwards.iter().find(|f| f.collides(&forward)) {
            return Err(format!(
                "`{other}` and `{forward}` need the same port of the host"
            ));
        }
        forwards.push(forward);
    }
    Ok(forwards)
}

/// Refuses forwards to unknown nodes.
///
/// # Errors
/// Fails at the first such forward, with the known nodes.
pub(super) fn check_nodes(forwards: &[Forward], nodes: &[String]) -> Result<(), String> {
    match forwards.iter().find(|f| !nodes.contains(&f.node)) {
        None => Ok(()),
        Some(forward) => Err(format!(
            "`{forward}`: unknown node `{}`; expected {}",
            forward.node,
            nodes.join(", ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Forward>, String> {
        let forwards = parse(text.split([' ', ',']).filter(|t| !t.is_empty()))?;
        check_nodes(&forwards, &["master0".to_owned(), "lbl0".to_owned()])?;
        Ok(forwards)
    }

    #[test]
    fn a_forward_is_read_back_from_its_text() {
        for text in [
            "8080:lbl0:80",
            "127.0.0.1:8080:lbl0:80",
            "5353:master0:53/udp",
        ] {
            assert_eq!(text.parse::<Forward>().unwrap().to_string(), text);
            let json = serde_json::to_string(&text.parse::<Forward>().unwrap()).unwrap();
            assert_eq!(json, format!("\"{text}\""));
        }
        let all: Forward = "0.0.0.0:80:lbl0:80/tcp".parse().unwrap();
        assert_eq!(all.to_string(), "80:lbl0:80");
    }

    #[test]
    fn wrong_forwards_are_named() {
        for (text, expected) in [
            ("8080", "not a forward"),
            ("a:lbl0:80", "not a forward"),
            ("-1:lbl0:80", "not a forward"),
            ("::lbl0:80", "not a forward"),
            ("host:80:lbl0:80", "not a forward"),
            ("80::80", "not a forward"),
            ("0:lbl0:80", "port 0 is out of range"),
            ("80:lbl0:65536", "port 65536 is out of range"),
            ("80:lbl0:80/sctp", "expected tcp or udp"),
            ("80:lbl9:80", "unknown node `lbl9`; expected master0, lbl0"),
            ("80:lbl0:80 80:master0:81", "need the same port of the host"),
            ("80:lbl0:80 127.0.0.1:80:master0:81", "need the same port"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert_eq!(
            read("80:lbl0:80, 80:lbl0:80/udp 127.0.0.1:81:lbl0:80 127.0.0.2:81:lbl0:80")
                .unwrap()
                .len(),
            4
        );
    }
}
