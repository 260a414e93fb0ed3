//! A client for lines of JSON: QMP, and the guest agent that speaks in QMP's shape.
//!
//! Of qapi only the types are used. One task owns the socket; a caller that goes away or a late answer
//! harms nobody. Reference: QEMU's docs/interop/qmp-spec.

mod client;
mod error;
mod log;
mod owner;

pub use client::{Client, Event, Events};
pub use error::{ConnectError, ExecuteError};
pub use log::ExchangeLog;
