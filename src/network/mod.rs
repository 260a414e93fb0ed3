//! The host's side of a cluster's networks: bridges, firewall rules, forwarding, subnets and names. It does not know
//! VMs.
//!
//! Each host object has a file that looks for it, makes it and removes it. [`repair`] and `up` share these functions.

pub(crate) mod accepts;
pub(crate) mod bridge;
pub(crate) mod connections;
mod design;
pub(crate) mod forwarding;
mod in_use;
mod ipv6;
pub(crate) mod names;
mod namespace;
mod naming;
mod order;
pub(crate) mod outlet;
mod pods;
mod ports;
mod ranges;
mod remove;
mod repair;
pub(crate) mod rules;
mod state;

pub(crate) use accepts::Restored;
#[cfg(test)]
pub(crate) use design::all_networks;
pub(crate) use design::design;
pub(crate) use in_use::used_of_new;
pub(crate) use ipv6::check as check_ipv6;
pub(crate) use namespace::check_namespace;
pub(crate) use naming::{bridge_mac, outlet as outlet_name, tap_name};
pub(crate) use order::RulesMark;
pub(crate) use pods::collisions as pod_collisions;
pub(crate) use ports::check_free as check_ports;
pub(crate) use ranges::{Probe, SubnetChoice, check_free as check_range, free_subnet};
pub(crate) use remove::remove_found;
pub(crate) use repair::{Repair, restore};
pub(crate) use state::{NetworkState, glance, look};
