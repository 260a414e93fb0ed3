//! kvmc as its users run it. Every test is in a network namespace of its own, on a state folder of its
//! own, and leaves neither.

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
mod images;
mod layers;
mod lifecycle;
mod memory;
mod names;
mod networks;
mod promises;
mod reliability;
mod support;
mod templates;
mod warm_fallbacks;
