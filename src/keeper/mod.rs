//! The keeper, one process a cluster. It owns the DHCP and DNS sockets and every QMP, agent and console connection,
//! and answers the CLI on a Unix socket. Killing it stops no VM, and any verb starts it again.

mod again;
mod agents;
mod answer;
mod attend;
mod attended;
mod awake;
mod client;
mod console;
mod console_log;
mod contact;
mod cut_off;
mod dns;
mod events;
mod forward;
mod gate;
mod grow;
mod guest;
mod host_key;
mod host_keys;
mod lan;
mod lead;
mod leases;
mod looks;
mod orphans;
mod pause;
mod plugs;
mod protocol;
mod reservations;
mod respawn;
mod restarts;
mod restore;
mod rules;
mod save;
mod served;
mod server;
mod standby;
mod status;
mod stream;
mod trim;
mod uplink;
mod views;
mod vitals;
mod wire;

pub(crate) use client::{ConsoleStream, Keeper};
pub(crate) use events::read as read_log;
pub(crate) use lead::Lead;
#[cfg(test)]
pub(crate) use pause::Pause;
#[cfg(test)]
pub(crate) use protocol::{Answer, Line};
pub(crate) use protocol::{Request, Step};
pub(crate) use server::run;
pub(crate) use standby::{Standby, end_others};
pub(crate) use stream::Told;
