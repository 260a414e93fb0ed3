//! The host's side of a cluster's networks: bridges, rules, what other firewalls need, forwarding, address ranges
//! and names. Knows no VM.
//!
//! Each host object has a file with its look, its making and its removal; [`repair`] and `up` use the same ones.

pub(crate) mod accepts;
pub(crate) mod bridge;
mod design;
pub(crate) mod forwarding;
mod ipv6;
pub(crate) mod names;
mod namespace;
mod naming;
mod ports;
mod ranges;
mod remove;
mod repair;
pub(crate) mod rules;
mod state;

#[cfg(test)]
pub(crate) use design::beside;
pub(crate) use design::design;
pub(crate) use ipv6::check as check_ipv6;
pub(crate) use namespace::{check_namespace, namespace};
pub(crate) use naming::{bridge_mac, tap_name};
pub(crate) use ports::check_free as check_ports;
pub(crate) use ranges::{Probe, check_free as check_range, free_subnet};
pub(crate) use remove::remove_found;
pub(crate) use repair::restore;
pub(crate) use state::{NetworkState, glance, look};
