//! The networks beside a cluster's main one: `[[networks]]` in `kvmc.toml`, `--network` on the command
//! line, each with a NIC in every node.

use std::fmt;
use std::str::FromStr;

use ipnetwork::Ipv4Network;
use kvmc_netns::range;
use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::nearest::unknown;

/// The name of the network that gives nodes their default route and DNS.
pub(crate) const MAIN: &str = "main";
/// Each is a NIC in every node, and q35 has few slots to spare for more.
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
        let mut draft = Draft::default();
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, "true"));
            draft.set(key.trim(), value.trim())?;
        }
        draft.finish()
    }
}

/// A network of which not all is known yet.
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
                    "`{other}` is no key of a network; the keys are {}",
                    NetworkSpec::KEYS.join(", ")
                ));
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<NetworkSpec, String> {
        let name = self
            .name
            .ok_or("a network without a name; add name = \"storage\" or the like")?;
        let subnet = self.subnet.ok_or_else(|| {
            format!("network {name} has no subnet; one looks like subnet = \"10.81.0.0/24\"")
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

/// Reads the networks of a variable, separated by `;`.
///
/// # Errors
/// The first that is wrong by itself.
pub(super) fn parse(text: &str) -> Result<Vec<NetworkSpec>, String> {
    text.split(';')
        .filter(|t| !t.trim().is_empty())
        .map(str::parse)
        .collect()
}

/// Reads `[[networks]]`.
///
/// # Errors
/// Where in the file, in bytes, and what is wrong there.
pub(super) fn read(value: &Spanned<DeValue<'_>>) -> Result<Vec<NetworkSpec>, (usize, String)> {
    let form = || "`networks` is a list of tables; write [[networks]]".to_owned();
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

/// Refuses networks that cannot be beside each other and the main one.
///
/// # Errors
/// The first of them, with the one that is in its way.
pub(super) fn check(
    networks: &[NetworkSpec],
    subnet: Ipv4Network,
    bridge: &str,
) -> Result<(), String> {
    if networks.len() > MOST {
        return Err(format!(
            "{} networks beside the main one; a node has room for {MOST} more NICs",
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
    fn text_leads_back_and_a_bare_key_is_on() {
        let text =
            "name=storage,subnet=10.9.0.0/24,bridge=st0,ipv6; name=b,subnet=10.8.0.0/24,isolated";
        let networks = read(text).unwrap();
        assert!(networks[0].ipv6 && !networks[0].isolated && networks[1].isolated);
        let texts: Vec<_> = networks.iter().map(ToString::to_string).collect();
        assert_eq!(read(&texts.join("; ")).unwrap(), networks);
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
