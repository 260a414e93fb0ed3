//! The networks beside a cluster's main one: `[[networks]]` in `kvmc.toml`, `--network` on the command
//! line, each with a card in every node.

use std::fmt;
use std::str::FromStr;

use ipnetwork::Ipv4Network;
use kvmc_netns::range;
use serde::{Deserialize, Serialize};

/// The name of the network that gives nodes their default route and DNS.
pub(crate) const MAIN: &str = "main";
/// Each is a card in every node, and q35 has few slots to spare for more.
const MOST: usize = 8;

/// A network beside the main one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NetworkSpec {
    /// Unique in its cluster; part of its bridge's name, unless that is given.
    pub(crate) name: String,
    pub(crate) subnet: Ipv4Network,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bridge: Option<String>,
    /// Its nodes reach each other and nothing else.
    #[serde(default)]
    pub(crate) isolated: bool,
    #[serde(default)]
    pub(crate) ipv6: bool,
}

impl NetworkSpec {
    /// The keys of a `[[networks]]` table, and of a `--network`.
    pub(crate) const KEYS: [&str; 5] = ["name", "subnet", "bridge", "isolated", "ipv6"];
}

impl FromStr for NetworkSpec {
    type Err = String;

    /// `name=storage,subnet=10.9.0.0/24`; a key without a value is switched on.
    fn from_str(text: &str) -> Result<Self, String> {
        let (mut name, mut subnet, mut bridge) = (None, None, None);
        let (mut isolated, mut ipv6) = (false, false);
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, "true"));
            let value = value.trim();
            match key.trim() {
                "name" => name = Some(network_name(value)?),
                "subnet" => {
                    subnet = Some(range::validate_subnet(value).map_err(|e| e.to_string())?);
                }
                "bridge" => {
                    range::validate_link_name(value).map_err(|e| e.to_string())?;
                    bridge = Some(value.to_owned());
                }
                "isolated" => isolated = boolean(value)?,
                "ipv6" => ipv6 = boolean(value)?,
                other => {
                    return Err(format!(
                        "`{other}` is no key of a network; the keys are {}",
                        Self::KEYS.join(", ")
                    ));
                }
            }
        }
        let name = name.ok_or_else(|| format!("a network without a name (`{text}`)"))?;
        let subnet = subnet.ok_or_else(|| {
            format!("network {name} has no subnet; one looks like subnet = \"10.81.0.0/24\"")
        })?;
        Ok(Self {
            name,
            subnet,
            bridge,
            isolated,
            ipv6,
        })
    }
}

impl fmt::Display for NetworkSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "name={},subnet={}", self.name, self.subnet)?;
        if let Some(bridge) = &self.bridge {
            write!(f, ",bridge={bridge}")?;
        }
        for (key, on) in [("isolated", self.isolated), ("ipv6", self.ipv6)] {
            if on {
                write!(f, ",{key}=true")?;
            }
        }
        Ok(())
    }
}

/// A name that can be part of a link's, of a file's and of an nft table's.
fn network_name(name: &str) -> Result<String, String> {
    let fine = (1..=15).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !fine {
        return Err(format!(
            "`{name}` is not a network's name: 1 to 15 of a-z, 0-9 and -, beginning with a letter"
        ));
    }
    if name == MAIN {
        return Err(format!(
            "`{MAIN}` is the cluster's own network, which [network] describes; choose another name"
        ));
    }
    Ok(name.to_owned())
}

/// A switch as people write it.
///
/// # Errors
/// A word that is neither.
pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(format!("`{text}` is neither true nor false")),
    }
}

/// Reads the networks of one setting, separated by `;`.
///
/// # Errors
/// The first that is wrong by itself, or beside the others and the main subnet and bridge.
pub(super) fn parse(
    text: &str,
    subnet: Ipv4Network,
    bridge: &str,
) -> Result<Vec<NetworkSpec>, String> {
    let networks: Vec<NetworkSpec> = text
        .split(';')
        .filter(|t| !t.trim().is_empty())
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    if networks.len() > MOST {
        return Err(format!(
            "{} networks beside the main one; a node has room for {MOST} more cards",
            networks.len()
        ));
    }
    for (i, network) in networks.iter().enumerate() {
        let before = networks.get(..i).unwrap_or_default();
        if before.iter().any(|n| n.name == network.name) {
            return Err(format!("two networks are named `{}`", network.name));
        }
        let others = before
            .iter()
            .map(|n| (n.name.as_str(), n.subnet, n.bridge.as_deref()))
            .chain([(MAIN, subnet, Some(bridge))]);
        for (name, other, other_bridge) in others {
            if other.overlaps(network.subnet) {
                return Err(format!(
                    "{} of network {} overlaps {other} of network {name}",
                    network.subnet, network.name
                ));
            }
            if network.bridge.is_some() && network.bridge.as_deref() == other_bridge {
                return Err(format!(
                    "networks {} and {name} have one bridge; each needs its own",
                    network.name
                ));
            }
        }
    }
    Ok(networks)
}

/// As one setting holds them, [`parse`]'s other way.
pub(crate) fn join(networks: &[NetworkSpec]) -> String {
    let texts: Vec<_> = networks.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<NetworkSpec>, String> {
        parse(text, "192.168.80.0/24".parse().unwrap(), "k80")
    }

    #[test]
    fn text_leads_back_and_a_bare_key_is_on() {
        let text =
            "name=storage,subnet=10.9.0.0/24,bridge=st0,ipv6; name=b,subnet=10.8.0.0/24,isolated";
        let networks = read(text).unwrap();
        assert!(networks[0].ipv6 && !networks[0].isolated && networks[1].isolated);
        assert_eq!(read(&join(&networks)).unwrap(), networks);
        assert!(read("").unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (text, expected) in [
            ("subnet=10.9.0.0/24", "without a name"),
            ("name=storage", "network storage has no subnet"),
            ("name=main,subnet=10.9.0.0/24", "the cluster's own network"),
            ("name=Up,subnet=10.9.0.0/24", "not a network's name"),
            ("name=a,subnet=10.9.0.1/24", "did you mean 10.9.0.0/24"),
            ("name=a,subnt=10.9.0.0/24", "no key of a network"),
            (
                "name=a,subnet=10.9.0.0/24,ipv6=maybe",
                "neither true nor false",
            ),
            (
                "name=a,subnet=192.168.80.128/25",
                "overlaps 192.168.80.0/24 of network main",
            ),
            (
                "name=a,subnet=10.9.0.0/24;name=a,subnet=10.8.0.0/24",
                "two networks are named `a`",
            ),
            (
                "name=a,subnet=10.9.0.0/24,bridge=k80",
                "networks a and main have one bridge",
            ),
            (
                "name=a,subnet=10.9.0.0/24,bridge=sixteen-letters-",
                "Linux allows 15",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
