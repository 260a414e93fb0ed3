//! Everything that guests send to this crate's parsers, and worse: inputs without number from a corpus that is kept.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "test support is test code too"
)]

mod dhcp;
#[path = "../judge/dhcp.rs"]
mod judge;
mod mutate;
