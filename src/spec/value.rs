//! The typed values of settings.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;
use kvmc_images::Architecture;
use kvmc_netns::firewall::HostPort;

use super::choice::{AUTO, AccelChoice};
use super::forward::Forward;
use super::lan::AddressRange;
use super::networks::NetworkSpec;
use super::restart::Restart;
use super::size::Bytes;

/// Inventory variables of a role, as Ansible gets them.
pub(crate) type Variables = BTreeMap<String, serde_json::Value>;

/// A value of a setting.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Number(u32),
    Size(Bytes),
    Switch(bool),
    List(Vec<String>),
    Architecture(Architecture),
    Accel(AccelChoice),
    Restart(Restart),
    /// Extra disks.
    Sizes(Vec<Bytes>),
    Address(Ipv4Addr),
    /// `None` for `auto`, any free subnet.
    Subnet(Option<Ipv4Network>),
    HostPorts(Vec<HostPort>),
    Ranges(Vec<AddressRange>),
    /// In bytes; none for `auto`: the uplink's.
    Mtu(Option<u32>),
    Forwards(Vec<Forward>),
    Networks(Vec<NetworkSpec>),
    /// Counts by role, from `--role`.
    Counts(Vec<(String, u32)>),
    Variables(Variables),
}

impl Value {
    /// Whether the value is empty, and so the same as not set.
    pub(crate) fn is_empty(&self) -> bool {
        self.to_string().is_empty()
    }
}

impl fmt::Display for Value {
    /// The form of `kvmc config`, which variables and flags also accept.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => write!(f, "{number}"),
            Self::Size(size) => write!(f, "{size}"),
            Self::Sizes(sizes) => f.write_str(&join(sizes, " ")),
            Self::Address(address) => write!(f, "{address}"),
            Self::Switch(on) => write!(f, "{on}"),
            Self::List(words) => f.write_str(&words.join(" ")),
            Self::Architecture(architecture) => write!(f, "{architecture}"),
            Self::Accel(choice) => f.write_str(choice.name()),
            Self::Restart(policy) => write!(f, "{policy}"),
            Self::Subnet(None) => f.write_str(AUTO),
            Self::Subnet(Some(subnet)) => write!(f, "{subnet}"),
            Self::HostPorts(ports) => f.write_str(&join(ports, " ")),
            Self::Ranges(ranges) => f.write_str(&join(ranges, " ")),
            Self::Mtu(None) => f.write_str(AUTO),
            Self::Mtu(Some(mtu)) => write!(f, "{mtu}"),
            Self::Forwards(forwards) => f.write_str(&join(forwards, " ")),
            Self::Networks(networks) => f.write_str(&join(networks, "; ")),
            Self::Counts(counts) => {
                let counts: Vec<_> = counts.iter().map(|(r, n)| format!("{r}={n}")).collect();
                f.write_str(&counts.join(" "))
            }
            Self::Variables(variables) if variables.is_empty() => Ok(()),
            Self::Variables(variables) => {
                f.write_str(&serde_json::to_string(variables).unwrap_or_default())
            }
        }
    }
}

fn join<T: ToString>(items: &[T], by: &str) -> String {
    let texts: Vec<_> = items.iter().map(ToString::to_string).collect();
    texts.join(by)
}
