//! Runs kvmc as its users do. Every test has its own network namespace and state folder, and removes both.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "test support is test code too"
)]

mod access;
mod action;
mod api;
mod bad_input;
mod cluster_file;
mod comparison;
mod confinement;
mod emulated;
mod fake;
mod fakes;
mod firewalls;
mod forks;
mod guests;
mod guide;
mod host_network;
mod images;
mod layers;
mod lifecycle;
mod manners;
mod memory;
mod names;
mod networks;
mod packaging;
mod project;
mod promises;
mod ready;
mod reliability;
mod rights;
mod seeing;
mod session;
mod sessions;
mod size;
mod snapshots;
mod support;
mod sync;
mod systemd;
mod templates;
mod ties;
mod tries;
mod user_data;
mod warm_fallbacks;
