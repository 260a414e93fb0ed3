//! DNS for one network: names of its own, all else by the host's resolvers.
//!
//! | module | holds |
//! |---|---|
//! | `name`, `record` | names and records as people write them, checked |
//! | `zone`, `reverse` | the network's names and their answers |
//! | `reserved` | names that nobody outside is to be asked for |

mod name;
mod record;
mod reserved;
mod reverse;
mod zone;
#[cfg(test)]
mod zone_tests;

pub use hickory_proto::rr::Name;
pub use name::{NameError, parse_domain};
pub use record::{Record, RecordError};
pub use zone::{Zone, ZoneSpec};
