//! Tests this crate on a real kernel, without a VM. Each test runs in its own network namespace, and fails where it cannot
//! create one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "test support is test code too"
)]

mod client;
mod clients;
mod conntrack;
mod dhcp;
mod dns;
mod firewall;
mod forward;
#[path = "../judge/dhcp.rs"]
mod judge;
mod links;
mod name_server;
mod namespace;
mod ra;
mod ready;
mod resolver;
mod spoof;
mod support;
