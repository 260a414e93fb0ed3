//! A client for QMP, and for kvmc's guest agent, which sends lines of JSON in QMP's form.
//!
//! One task owns each socket. A caller that gives up, or a late answer, does not disturb other callers. The client uses
//! only the types of the qapi crates. Reference: QEMU's docs/interop/qmp-spec.

mod call;
mod client;
mod error;
mod event;
mod log;
mod owner;

pub use client::{Client, Hold};
pub use error::{ConnectError, ExecuteError};
pub use event::{Event, Events};
pub use log::ExchangeLog;
