//! What of `[network]` came later than the rest: reserved addresses, MTU, LLDP, and who may reach the nodes.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use ipnetwork::Ipv4Network;
use serde::{Deserialize, Serialize};

/// The least that IPv4 asks of a link (RFC 791), in bytes.
const LEAST_MTU: u32 = 576;
/// The most that a tap takes, in bytes: 65535 less an Ethernet header.
const MOST_MTU: u32 = 65521;

/// Settings of the cluster's networks, each with a default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LanSpec {
    /// Addresses that neither nodes nor DHCP clients get.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) reserved: Vec<AddressRange>,
    /// In bytes; none for the uplink's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mtu: Option<u32>,
    /// Bridges pass LLDP frames on.
    #[serde(default)]
    pub(crate) lldp: bool,
    /// Links of the host whose machines may open connections to the nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) reach_from: Vec<String>,
    /// Addresses that any node may send from, beside its own and the reserved ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) floating: Vec<AddressRange>,
    /// Nodes may send from any address.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) spoof: bool,
}

impl LanSpec {
    /// Addresses that any node may send from: nobody gets the reserved ones, and virtual IPs are taken from there.
    pub(crate) fn shared(&self) -> impl Iterator<Item = &AddressRange> {
        self.reserved.iter().chain(&self.floating)
    }
}

/// A range of addresses, as text `192.168.80.200-192.168.80.250`, `192.168.80.200-250`, `192.168.80.240/28` or one
/// address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct AddressRange {
    pub(crate) first: Ipv4Addr,
    pub(crate) last: Ipv4Addr,
}

impl AddressRange {
    pub(crate) fn contains(&self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&address)
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        if self.last != self.first {
            write!(f, "-{}", self.last)?;
        }
        Ok(())
    }
}

impl FromStr for AddressRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || {
            format!(
                "`{text}` is not a range of addresses; one looks like 192.168.80.200-192.168.80.250, 192.168.80.240/28 or 192.168.80.200"
            )
        };
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => {
                let first: Ipv4Addr = first.trim().parse().map_err(|_| form())?;
                // The last number alone is enough.
                let [a, b, c, _] = first.octets();
                let last = last.trim();
                let short = last.parse().map(|d| Ipv4Addr::new(a, b, c, d));
                (first, short.or_else(|_| last.parse()).map_err(|_| form())?)
            }
            None => {
                let network: Ipv4Network = text.trim().parse().map_err(|_| form())?;
                (network.network(), network.broadcast())
            }
        };
        if first > last {
            return Err(format!("`{text}`: {last} comes before {first}"));
        }
        Ok(Self { first, last })
    }
}

impl From<AddressRange> for String {
    fn from(range: AddressRange) -> Self {
        range.to_string()
    }
}

impl TryFrom<String> for AddressRange {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Reads an MTU, or `auto`.
///
/// # Errors
/// What is accepted.
pub(super) fn mtu(text: &str) -> Result<Option<u32>, String> {
    match text.trim() {
        super::choice::AUTO => Ok(None),
        text => match text.parse::<u32>() {
            Ok(mtu @ LEAST_MTU..=MOST_MTU) => Ok(Some(mtu)),
            _ => Err(format!(
                "`{text}` is not an MTU; expected auto or {LEAST_MTU} to {MOST_MTU} bytes"
            )),
        },
    }
}
