//! Ring 3: this crate on a real kernel, without a VM. Every test is in a network namespace of its
//! own; where none can be made, it fails.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "test support is test code too"
)]

mod client;
mod clients;
mod dhcp;
mod dns;
mod firewall;
mod forward;
mod links;
mod ra;
mod resolver;
mod support;
