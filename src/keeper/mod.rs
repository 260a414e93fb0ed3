//! The per-cluster process: it owns the DHCP and DNS sockets and every QMP, agent and console connection, and
//! answers the CLI on a unix socket. Killing it stops no VM; any verb starts it again.

mod attend;
mod client;
mod console;
mod death;
mod dns;
mod forward;
mod lan;
mod leases;
mod pause;
mod protocol;
mod respawn;
mod restarts;
mod server;
mod status;
mod uplink;
mod vitals;

pub(crate) use client::Keeper;
pub(crate) use death::{Cause, Ended, now};
pub(crate) use protocol::{Board, Request, Stage};
pub(crate) use server::run;
pub(crate) use vitals::Vitals;
