//! What makes a cluster a fork of another.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnetwork::{Ipv4Network, Ipv6Network};
use serde::{Deserialize, Serialize};

/// The inode of no namespace.
pub(crate) const NO_NAMESPACE: u64 = 1;

/// A fork.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fork {
    /// The cluster that it was made from.
    pub(crate) of: String,
    /// The snapshot that it began from.
    pub(crate) snapshot: String,
    /// Inode of the namespace outside of its own.
    pub(crate) outside: u64,
    /// The end of its link that is outside.
    pub(crate) link: String,
    /// The subnet of the link: the end outside has its first address, the fork's end the second. `None` until it first
    /// starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) transit: Option<Ipv4Network>,
    /// The same for IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) transit6: Option<Ipv6Network>,
}

impl Fork {
    /// The addresses of both ends of its link, that outside first.
    pub(crate) fn ends(&self) -> Option<[Ipv4Addr; 2]> {
        let first = u32::from(self.transit?.network());
        Some([1, 2].map(|n| Ipv4Addr::from(first.saturating_add(n))))
    }

    /// The same for IPv6.
    pub(crate) fn ends6(&self) -> Option<[Ipv6Addr; 2]> {
        let first = u128::from(self.transit6?.network());
        Some([1, 2].map(|n| Ipv6Addr::from(first.saturating_add(n))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_a_forks_link_are_the_first_addresses_of_its_subnet() {
        let fork = Fork {
            of: "k80".to_owned(),
            snapshot: "a".to_owned(),
            outside: 7,
            link: "kvmc-01234567".to_owned(),
            transit: Some("10.80.0.4/30".parse().unwrap()),
            transit6: Some("fd00:1::/64".parse().unwrap()),
        };
        let shown = |ends: [std::net::IpAddr; 2]| ends.map(|end| end.to_string());
        let v4 = fork.ends().unwrap().map(Into::into);
        assert_eq!(shown(v4), ["10.80.0.5", "10.80.0.6"]);
        let v6 = fork.ends6().unwrap().map(Into::into);
        assert_eq!(shown(v6), ["fd00:1::1", "fd00:1::2"]);
        let mut record = crate::samples::record();
        record.host.namespace = 3;
        assert_eq!(record.outer_namespace(), 3);
        record.host.fork = Some(fork);
        assert_eq!(record.outer_namespace(), 7);
    }
}
