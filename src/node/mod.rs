//! One VM: its command line, its process and its identity. It does not know other nodes.

mod close;
pub(crate) mod cmdline;
mod confine;
mod cpu;
mod death;
mod descriptors;
mod disks;
mod ended;
mod exit;
mod firmware;
mod holder;
pub(crate) mod identity;
mod keys;
mod launch;
mod nics;
mod overlay;
mod process;
pub(crate) mod savestate;
mod scan;
mod seed;
mod session;
mod turns;
mod usage;
mod user_data;
mod world;

pub(crate) use close::close as close_world;
pub(crate) use confine::Credentials;
pub(crate) use cpu::node_cpu;
pub(crate) use death::Evidence;
pub(crate) use descriptors::only_streams;
pub(crate) use disks::{clone_disk, disks, frozen_extra_disks, grown};
pub(crate) use ended::{Ended, last_words};
pub(crate) use firmware::uefi;
pub(crate) use identity::{Secrets, fill as fill_keys};
pub(crate) use keys::{Filling, KeyPool};
#[cfg(test)]
pub(crate) use keys::{KeyPair, ecdsa as ecdsa_key};
pub(crate) use launch::{
    Launch, MemorySource, Nics, Parts, create_log, credentials, launch, listen, pflash,
    template_mac, unsafe_no_reseed, vcpus,
};
pub(crate) use nics::{
    ConnectedNic, NicKind, check_connected, connect, connect_spare, spare_taps, tap,
};
pub(crate) use overlay::{Overlay, tops};
pub(crate) use process::{Handle, Identity, Passed, Running, Start, is_stopped, spawn};
pub(crate) use scan::{find_qemu, machine_of, qemu_of, qemus_of, scan};
pub(crate) use seed::{for_agent, user_data_of as seed_user_data, write_seed};
pub(crate) use session::{GREETING, Session, Sockets, hello};
pub(crate) use turns::VcpuWaits;
pub(crate) use usage::{MemoryUsage, Usage, disk_bytes};
pub(crate) use user_data::read_user_data;
pub(crate) use world::{Layers, seen as layers_seen};
