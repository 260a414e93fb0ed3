//! Ports of the host that lead to a node: `8080:lbl0:80`, `127.0.0.1:5353:master0:53/udp`.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use kvmc_netns::firewall::Protocol;
use serde::{Deserialize, Serialize};

/// A port of the host that leads to a port of a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Forward {
    pub(crate) protocol: Protocol,
    /// The host's address that it is on; none for all of them.
    pub(crate) address: Option<Ipv4Addr>,
    /// On the host.
    pub(crate) port: u16,
    pub(crate) node: String,
    /// On the node.
    pub(crate) node_port: u16,
}

impl Forward {
    /// Whether both want one port of one address.
    pub(crate) fn collides(&self, other: &Self) -> bool {
        self.protocol == other.protocol
            && self.port == other.port
            && (self.address == other.address || self.address.is_none() || other.address.is_none())
    }

    /// Whether it is on a loopback address of the host, where nobody outside comes.
    pub(crate) fn is_on_loopback(&self) -> bool {
        self.address.is_some_and(|a| a.is_loopback())
    }

    /// The host's side, as it is typed: `8080`, `127.0.0.1:5353/udp`.
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
                "`{text}` is not a forward; one looks like 8080:lbl0:80, 127.0.0.1:8080:lbl0:80 or 5353:lbl0:53/udp"
            )
        };
        let (rest, protocol) = match text.trim().split_once('/') {
            None => (text.trim(), Protocol::Tcp),
            Some((rest, "tcp")) => (rest, Protocol::Tcp),
            Some((rest, "udp")) => (rest, Protocol::Udp),
            Some((_, other)) => return Err(format!("`{text}`: `{other}` is neither tcp nor udp")),
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
            Ok(n) => Err(format!("`{text}`: port {n} is out of range; 1 to 65535")),
            Err(_) => Err(form()),
        };
        Ok(Self {
            protocol,
            // The unspecified address is how other tools write "all of them".
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
/// The first that is wrong by itself, or that wants the port of one before it.
pub(super) fn parse<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<Forward>, String> {
    let mut forwards: Vec<Forward> = Vec::new();
    for text in texts {
        let forward: Forward = text.parse()?;
        if let Some(other) = forwards.iter().find(|f| f.collides(&forward)) {
            return Err(format!(
                "`{other}` and `{forward}` want one port of the host"
            ));
        }
        forwards.push(forward);
    }
    Ok(forwards)
}

/// Refuses forwards to nodes that there are not.
///
/// # Errors
/// The first of them, with the nodes that there are.
pub(super) fn check_nodes(forwards: &[Forward], nodes: &[String]) -> Result<(), String> {
    match forwards.iter().find(|f| !nodes.contains(&f.node)) {
        None => Ok(()),
        Some(forward) => Err(format!(
            "`{forward}`: there is no node `{}`; there are {}",
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
    fn text_leads_back() {
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
    fn what_cannot_be_is_named() {
        for (text, expected) in [
            ("8080", "not a forward"),
            ("a:lbl0:80", "not a forward"),
            ("-1:lbl0:80", "not a forward"),
            ("::lbl0:80", "not a forward"),
            ("host:80:lbl0:80", "not a forward"),
            ("80::80", "not a forward"),
            ("0:lbl0:80", "port 0 is out of range"),
            ("80:lbl0:65536", "port 65536 is out of range"),
            ("80:lbl0:80/sctp", "neither tcp nor udp"),
            ("80:lbl9:80", "no node `lbl9`; there are master0, lbl0"),
            ("80:lbl0:80 80:master0:81", "want one port of the host"),
            ("80:lbl0:80 127.0.0.1:80:master0:81", "want one port"),
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
