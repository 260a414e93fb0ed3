//! Feeds this crate's parsers with mutations of a corpus of packets from guests.

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
