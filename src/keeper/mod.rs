//! The keeper, one process a cluster. It owns the DHCP and DNS sockets and every QMP, agent and console connection,
//! and answers the CLI on a Unix socket. Killing it stops no VM, and any verb starts it again.

mod answer;
mod attend;
mod attended;
mod awake;
mod client;
mod console;
mod cut_off;
mod dns;
mod events;
mod forward;
mod guest;
mod lan;
mod leases;
mod pause;
mod protocol;
mod reservations;
mod respawn;
mod restarts;
mod rules;
mod served;
mod server;
mod status;
mod trim;
mod uplink;
mod vitals;

pub(crate) use client::Keeper;
#[cfg(test)]
pub(crate) use pause::Pause;
pub(crate) use protocol::Request;
#[cfg(test)]
pub(crate) use protocol::{Answer, Line};
pub(crate) use server::run;
