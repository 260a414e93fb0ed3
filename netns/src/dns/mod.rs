//! DNS for one network: its own names, and all other names from the host's resolvers.
//!
//! | module | holds |
//! |---|---|
//! | `name`, `record` | names and records as people write them, checked |
//! | `zone`, `reverse`, `reserved`, `answer` | the network's names, special-use names, and their answers |
//! | `exceptions` | special-use names and answers into our range that are let through all the same |
//! | `wire`, `message`, `edns` | the positions of records in the bytes of a message |
//! | `resolution`, `cache` | answers of the host's resolvers, and a bounded cache of them |
//! | `responder` | turns a client's bytes into a reply or a question for the host's resolvers; pure |
//! | `resolv_conf`, `upstream` | the host's current resolvers, and questions to them |
//! | `resolved` | the network's names on the host, through systemd-resolved |
//! | `service`, `server` | questions under way, and the sockets |

mod answer;
mod cache;
mod edns;
mod exceptions;
mod message;
mod name;
mod record;
mod reserved;
mod resolution;
mod resolv_conf;
mod resolved;
mod responder;
#[cfg(test)]
mod responder_tests;
mod reverse;
mod server;
mod service;
mod upstream;
mod wire;
mod zone;
#[cfg(test)]
mod zone_tests;

pub use exceptions::{CutOff, Exceptions, parse_exception};
pub use hickory_proto::rr::Name;
pub use name::{NameError, parse_domain};
pub use record::{Record, RecordError};
pub use resolution::Resolution;
pub use resolv_conf::{HostResolvers, Resolvers};
pub use resolved::HostNames;
pub use responder::{Action, ForwardedQuery, ReplyKind, Responder, classify};
pub use server::{Server, ServerError};
pub use service::Service;
pub use zone::{Zone, ZoneSpec};
