//! A client for QMP, and for kvmc's guest agent, whose lines of JSON have QMP's form.
//!
//! One task owns each socket. A caller that gives up, or an answer that comes late, disturbs no other caller.
//! Of the qapi crates only the types are used. Reference: QEMU's docs/interop/qmp-spec.

mod call;
mod client;
mod error;
mod event;
mod log;
mod owner;

pub use client::Client;
pub use error::{ConnectError, ExecuteError};
pub use event::{Event, Events};
pub use log::ExchangeLog;
