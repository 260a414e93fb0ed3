//! The per-cluster process: it owns the DHCP socket and every QMP, agent and console connection, and
//! answers the CLI on a unix socket. Killing it stops no VM; any verb starts it again.

mod attend;
mod client;
mod console;
mod lan;
mod protocol;
mod respawn;
mod server;
mod status;

pub(crate) use client::Keeper;
pub(crate) use protocol::{Board, Request, Stage};
pub(crate) use server::run;
