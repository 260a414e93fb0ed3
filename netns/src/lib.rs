//! The parts of a virtual network: links, NAT, DHCP and DNS.
//!
//! Everything works in the network namespace of the calling thread. This crate does not know machines or clusters.
//!
//! | module | holds |
//! |---|---|
//! | [`conntrack`] | the connections that the kernel tracks |
//! | [`link`] | bridges, taps, addresses and routes over rtnetlink |
//! | [`knock`] | whether something listens on a port, without a connection |
//! | [`outside`] | the namespace outside of the one that the process has moved into |
//! | [`ports`] | the process that has a port |
//! | [`range`] | pure checks of subnets and link names |
//! | [`sysctl`] | `/proc/sys`, read before written |
//! | [`firewall`] | our own nft table, and the accept rules beside it in the chains of other programs |
//! | [`ra`] | IPv6 router advertisements: the messages and the loop that sends them |
//! | [`dhcp`] | a DHCP server: a pure function and the loop that feeds it |
//! | [`dns`] | a name server for the network, which forwards other names to the host's resolvers |

mod arp;
mod change;
pub mod conntrack;
pub mod dhcp;
pub mod dns;
mod exec;
mod failpoint;
pub mod firewall;
mod knock;
pub mod link;
mod mac;
mod netlink;
pub mod outside;
pub mod ports;
mod protocol;
pub mod ra;
pub mod range;
pub mod sysctl;
mod tap;

pub use change::Change;
pub use exec::ExecError;
#[cfg(feature = "failpoints")]
pub use failpoint::FAILPOINTS;
pub use knock::{Knock, knock};
pub use link::{
    Address, BridgeSpec, Detour, End, Link, LinkError, Links, Neighbour, PendingProbe, Route, Rule,
    SpareTap, TapSpec, stations,
};
pub use mac::{MacAddr, MacAddrError};
pub use protocol::Protocol;
pub use tap::namespace_of_tap;

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn no_files_import_each_other_in_a_circle_and_nothing_is_too_long() {
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let faults = kvmc_house::faults(&src);
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }
}
