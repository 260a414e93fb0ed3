//! DNS for one network: names of its own, all else by the host's resolvers.
//!
//! | module | holds |
//! |---|---|
//! | `name`, `record` | names and records as people write them, checked |
//! | `zone`, `reverse` | the network's names and their answers |
//! | `reserved` | names that nobody outside is to be asked for |
//! | `wire` | where in a stranger's message what stands |
//! | `core` | from a client's bytes to a reply, or to a question for others; pure |
//! | `cache` | what others said, within bounds |
//! | `resolv_conf`, `upstream` | who the host's resolvers are now, and asking them |
//! | `resolved` | the names on the host, through systemd-resolved |
//! | `service`, `server` | questions under way, and the sockets they come by |

mod cache;
mod core;
#[cfg(test)]
mod core_tests;
mod name;
mod record;
mod reserved;
mod resolv_conf;
mod resolved;
mod reverse;
mod server;
mod service;
mod upstream;
mod wire;
mod zone;
#[cfg(test)]
mod zone_tests;

pub use self::core::{Action, Ask, Core, Heard, Settled, Transport, hear};
pub use hickory_proto::rr::Name;
pub use name::{NameError, parse_domain};
pub use record::{Record, RecordError};
pub use resolv_conf::{HostResolvers, Resolvers};
pub use resolved::HostNames;
pub use server::{Server, ServerError};
pub use service::Service;
pub use zone::{Zone, ZoneSpec};
