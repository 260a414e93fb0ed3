//! Runs kvmc as its users do. Every test has its own network namespace and state folder, and removes both.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "test support is test code too"
)]

mod bad_input;
mod emulated;
mod fake;
mod fakes;
mod firewalls;
mod guests;
mod host_network;
mod images;
mod layers;
mod lifecycle;
mod memory;
mod names;
mod networks;
mod project;
mod promises;
mod reliability;
mod rights;
mod support;
mod templates;
mod warm_fallbacks;
