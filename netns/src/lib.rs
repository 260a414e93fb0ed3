//! What a virtual network needs: links, NAT, DHCP and DNS.
//!
//! Everything here works in the network namespace of the thread that calls it and knows nothing of
//! machines or clusters.
//!
//! | module | holds |
//! |---|---|
//! | [`link`] | bridge, taps, addresses and routes over rtnetlink |
//! | [`ports`] | who has a port, for the words of an error |
//! | [`range`] | pure checks of subnets and link names |
//! | [`sysctl`] | `/proc/sys`, read before written |
//! | [`firewall`] | our own nft table, and what others' rule sets need for it |
//! | [`ra`] | IPv6 router advertisements: pure messages and the loop that sends them |
//! | [`dhcp`] | a pure DHCP server and the loop that feeds it |
//! | [`dns`] | names of the network, all else forwarded to the host's resolvers |

mod arp;
mod change;
pub mod dhcp;
pub mod dns;
mod exec;
mod failpoint;
pub mod firewall;
pub mod link;
mod mac;
pub mod ports;
pub mod ra;
pub mod range;
pub mod sysctl;
mod tap;

pub use change::Change;
pub use exec::ExecError;
#[cfg(feature = "failpoints")]
pub use failpoint::FAILPOINTS;
pub use link::{Address, Asked, BridgeSpec, Link, LinkError, Links, Neighbour, Route, TapSpec};
pub use mac::{MacAddr, MacAddrError};
