//! The per-cluster process: it owns the DHCP and DNS sockets and every QMP, agent and console connection, and
//! answers the CLI on a unix socket. Killing it stops no VM; any verb starts it again.

mod attend;
mod awake;
mod client;
mod console;
mod dns;
mod forward;
mod lan;
mod leases;
mod pause;
mod protocol;
mod respawn;
mod restarts;
mod rules;
mod server;
mod status;
mod trim;
mod uplink;
mod vitals;

pub(crate) use client::Keeper;
#[cfg(test)]
pub(crate) use pause::Pause;
#[cfg(test)]
pub(crate) use protocol::Answer;
pub(crate) use protocol::Request;
pub(crate) use server::run;
