//! Networks in addition to the main one: `[[networks]]` in `kvmc.toml`, `--network` on the command line. Each is one
//! more NIC in every node.

use std::fmt;
use std::str::FromStr;

use ipnetwork::Ipv4Network;
use kvmc_netns::range;
use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::nearest::unknown;

/// The name of the main network, which gives nodes their default route and DNS.
pub(crate) const MAIN: &str = "main";
/// Each network is a NIC in every node, and q35 has few slots for more.
const MOST: usize = 8;

/// A network in addition to the main one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NetworkSpec {
    /// Unique in its cluster. The bridge's name contains it, unless that is given.
    pub(crate) name: String,
    pub(crate) subnet: Ipv4Network,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bridge: Option<String>,
    /// The nodes of this network reach each other only.
    #[serde(default)]
    pub(crate) isolated: bool,
    #[serde(default)]
    pub(crate) ipv6: bool,
}

impl NetworkSpec {
    /// The keys of a `[[networks]]` table and of `--network`.
    pub(crate) const KEYS: [&str; 5] = ["name", "subnet", "bridge", "isolated", "ipv6"];
}

impl FromStr for NetworkSpec {
    type Err = String;

    /// Reads `name=storage,subnet=10.9.0.0/24`. A key without a value is switched on.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut draft = Draft::default();
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, "true"));
            draft.set(key.trim(), value.trim())?;
        }
        draft.finish()
    }
}

/// A network whose keys are still being read.
#[derive(Default)]
struct Draft {
    name: Option<String>,
    subnet: Option<Ipv4Network>,
    bridge: Option<String>,
    isolated: bool,
    ipv6: bool,
}

impl Draft {
    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "name" => self.name = Some(network_name(value)?),
            "subnet" => {
                self.subnet = Some(range::validate_subnet(value).map_err(|e| e.to_string())?);
            }
            "bridge" => {
                range::validate_link_name(value).map_err(|e| e.to_string())?;
                self.bridge = Some(value.to_owned());
            }
            "isolated" => self.isolated = boolean(value)?,
            "ipv6" => self.ipv6 = boolean(value)?,
            other => {
                return Err(format!(
                    "unknown key `{other}` of a network; expected {}",
                    NetworkSpec::KEYS.join(", ")
                ));
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<NetworkSpec, String> {
        let name = self
            .name
            .ok_or("a network has no name; add one such as name = \"storage\"")?;
        let subnet = self.subnet.ok_or_else(|| {
            format!("network {name} has no subnet; add one such as subnet = \"10.81.0.0/24\"")
        })?;
        Ok(NetworkSpec {
            name,
            subnet,
            bridge: self.bridge,
            isolated: self.isolated,
            ipv6: self.ipv6,
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

/// Checks a name that becomes part of a link's, a file's and an nft table's name.
fn network_name(name: &str) -> Result<String, String> {
    let fine = (1..=15).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !fine {
        return Err(format!(
            "`{name}` is not a network name; expected 1 to 15 of a-z, 0-9 and -, beginning with a letter"
        ));
    }
    if name == MAIN {
        return Err(format!(
            "`{MAIN}` is the name of the main network, whose settings are in [network]; choose another name"
        ));
    }
    Ok(name.to_owned())
}

/// Reads a switch.
///
/// # Errors
/// Fails if the word means neither true nor false.
pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(format!("`{text}` is not a switch; expected true or false")),
    }
}

/// Reads the networks of a variable, separated by `;`.
///
/// # Errors
/// Fails at the first network that is wrong by itself.
pub(super) fn parse(text: &str) -> Result<Vec<NetworkSpec>, String> {
    text.split(';')
        .filter(|t| !t.trim().is_empty())
        .map(str::parse)
        .collect()
}

/// Reads `[[networks]]`.
///
/// # Errors
/// Fails with the position in the file, in bytes, and the reason.
pub(super) fn read(value: &Spanned<DeValue<'_>>) -> Result<Vec<NetworkSpec>, (usize, String)> {
    let form = || "`networks` must be a list of tables; write [[networks]]".to_owned();
    let DeValue::Array(tables) = value.get_ref() else {
        return Err((value.span().start, form()));
    };
    tables
        .iter()
        .map(|item| match item.get_ref() {
            DeValue::Table(table) => read_one(table, item.span().start),
            _ => Err((item.span().start, form())),
        })
        .collect()
}

fn read_one(table: &DeTable<'_>, start: usize) -> Result<NetworkSpec, (usize, String)> {
    let mut draft = Draft::default();
    for (name, value) in table {
        let (key, at) = (name.get_ref().as_ref(), value.span().start);
        if !NetworkSpec::KEYS.contains(&key) {
            return Err((name.span().start, unknown(key, &NetworkSpec::KEYS)));
        }
        let is_switch = matches!(key, "isolated" | "ipv6");
        let text = match value.get_ref() {
            DeValue::String(text) if !is_switch => text.to_string(),
            DeValue::Boolean(on) if is_switch => on.to_string(),
            _ if is_switch => return Err((at, format!("`{key}` must be true or false"))),
            _ => return Err((at, format!("`{key}` must be a string"))),
        };
        draft.set(key, &text).map_err(|why| (at, why))?;
    }
    draft.finish().map_err(|why| (start, why))
}

/// Refuses networks that conflict with each other or with the main one.
///
/// # Errors
/// Fails at the first such network, with the one that it conflicts with.
pub(super) fn check(
    networks: &[NetworkSpec],
    subnet: Ipv4Network,
    bridge: &str,
) -> Result<(), String> {
    if networks.len() > MOST {
        return Err(format!(
            "{} additional networks are too many; a node has room for {MOST} more NICs",
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
                    "networks {} and {name} have the same bridge; each needs its own",
                    network.name
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<NetworkSpec>, String> {
        let networks = parse(text)?;
        check(&networks, "192.168.80.0/24".parse().unwrap(), "k80")?;
        Ok(networks)
    }

    #[test]
    fn a_network_is_read_back_from_its_text_and_a_bare_key_is_on() {
        let text =
            "name=storage,subnet=10.9.0.0/24,bridge=st0,ipv6; name=b,subnet=10.8.0.0/24,isolated";
        let networks = read(text).unwrap();
        assert!(networks[0].ipv6 && !networks[0].isolated && networks[1].isolated);
        let texts: Vec<_> = networks.iter().map(ToString::to_string).collect();
        assert_eq!(read(&texts.join("; ")).unwrap(), networks);
        assert!(read("").unwrap().is_empty());
    }

    #[test]
    fn wrong_networks_are_named() {
        for (text, expected) in [
            ("subnet=10.9.0.0/24", "has no name"),
            ("name=storage", "network storage has no subnet"),
            ("name=main,subnet=10.9.0.0/24", "the main network"),
            ("name=Up,subnet=10.9.0.0/24", "not a network name"),
            ("name=a,subnet=10.9.0.1/24", "did you mean 10.9.0.0/24"),
            (
                "name=a,subnt=10.9.0.0/24",
                "unknown key `subnt` of a network",
            ),
            (
                "name=a,subnet=10.9.0.0/24,ipv6=maybe",
                "expected true or false",
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
                "networks a and main have the same bridge",
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
