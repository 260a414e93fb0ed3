//! Reasons why a node that became ready cannot be used as it should, as the keeper finds them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A reason. Its words have no subject: they are said of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub(crate) enum Fault {
    /// A tap is not as kvmc made it, and the keeper cannot restore it, or another program undoes that.
    Port {
        tap: String,
        bridge: String,
        what: String,
    },
    /// Packets of this host do not leave by the node's bridge.
    Route {
        address: IpAddr,
        bridge: String,
        /// Where they go, with rule and route.
        way: String,
        /// The rule's priority, if a rule that some program added chose the way.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rule: Option<u32>,
        /// The routing table, if one was chosen.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        table: Option<u32>,
        /// The destination of the route, if one was chosen.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        destination: Option<String>,
    },
    /// Another machine answers for its address by ARP.
    Stranger {
        address: Ipv4Addr,
        bridge: String,
        mac: String,
        /// The node of the cluster that this is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<String>,
    },
    /// It does not answer by ARP.
    Silent { address: Ipv4Addr, bridge: String },
    /// Nobody can connect to its sshd.
    Ssh {
        address: Ipv4Addr,
        /// The port refuses connections, else it is silent.
        refused: bool,
    },
    /// Its sshd has another host key than the record.
    HostKey {
        address: Ipv4Addr,
        /// The key in OpenSSH's form, and its digest as ssh shows it.
        key: String,
        fingerprint: String,
    },
    /// kvmc's agent in it does not run, or does not answer.
    Agent { runs: bool },
    /// A reason that a newer keeper found.
    #[serde(other)]
    Other,
}

impl Fault {
    /// Whether the node cannot be used by ssh.
    pub(crate) const fn is_in_the_way(&self) -> bool {
        !matches!(self, Self::Agent { .. })
    }

    /// A word or two for a table's cell.
    pub(crate) const fn short(&self) -> &'static str {
        match self {
            Self::Port { .. } => "no port",
            Self::Route { .. } => "no route",
            Self::Stranger { .. } => "address in use",
            Self::Silent { .. } => "silent",
            Self::Ssh { .. } => "no sshd",
            Self::HostKey { .. } => "other host key",
            Self::Agent { .. } => "no agent",
            Self::Other => "see a newer kvmc",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port { tap, bridge, what } => {
                write!(f, "its port {tap} of {bridge} was changed: {what}")
            }
            Self::Route {
                address,
                bridge,
                way,
                ..
            } => write!(
                f,
                "packets to {address} do not leave by {bridge}: they {way}"
            ),
            Self::Stranger {
                address,
                bridge,
                mac,
                node,
            } => {
                let who = match node {
                    Some(node) => format!("{node} ({mac})"),
                    None => format!("another machine ({mac})"),
                };
                write!(f, "{who} answers for its address {address} on {bridge}")
            }
            Self::Silent { address, bridge } => {
                write!(f, "it does not answer for {address} on {bridge}")
            }
            Self::Ssh {
                address,
                refused: true,
            } => write!(f, "nothing accepts connections on port 22 of {address}"),
            Self::Ssh {
                address,
                refused: false,
            } => write!(
                f,
                "port 22 of {address} is silent, though the node answers by ARP"
            ),
            Self::HostKey {
                address,
                fingerprint,
                ..
            } => write!(
                f,
                "the sshd on {address} has the host key {fingerprint}, which is not in known_hosts"
            ),
            Self::Agent { runs: false } => f.write_str("its agent does not run"),
            Self::Agent { runs: true } => f.write_str("its agent does not answer"),
            Self::Other => f.write_str("the keeper, of a newer kvmc, found a fault"),
        }
    }
}

/// A fault with the time since when it is seen, in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct SeenFault {
    #[serde(flatten)]
    pub(crate) fault: Fault,
    pub(crate) since: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_a_newer_keeper_is_read() {
        let seen = r#"{"fault":"moon-phase","since":1.5,"phase":"full"}"#;
        let seen: SeenFault = serde_json::from_str(seen).unwrap();
        assert_eq!(seen.fault, Fault::Other);
        let agent = SeenFault {
            fault: Fault::Agent { runs: false },
            since: 2.0,
        };
        let text = serde_json::to_string(&agent).unwrap();
        assert_eq!(text, r#"{"fault":"agent","runs":false,"since":2.0}"#);
        assert_eq!(serde_json::from_str::<SeenFault>(&text).unwrap(), agent);
    }

    #[test]
    fn only_a_missing_agent_leaves_a_node_usable() {
        assert!(!Fault::Agent { runs: true }.is_in_the_way());
        assert!(Fault::Other.is_in_the_way());
    }
}
