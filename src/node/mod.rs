//! One VM: its command line, its process and its identity. It does not know other nodes.

pub(crate) mod cmdline;
mod death;
mod descriptors;
mod ended;
mod exit;
mod firmware;
mod holder;
pub(crate) mod identity;
mod keys;
mod launch;
mod nics;
mod process;
pub(crate) mod savestate;
mod scan;
mod seed;
mod session;
mod turns;

pub(crate) use death::Evidence;
pub(crate) use descriptors::only_streams;
pub(crate) use ended::{Ended, last_words};
pub(crate) use firmware::uefi;
pub(crate) use identity::{Secrets, fill as fill_keys};
pub(crate) use keys::{Filling, KeyPool};
#[cfg(test)]
pub(crate) use keys::{KeyPair, ecdsa as ecdsa_key};
pub(crate) use launch::{
    Launch, MemorySource, Nics, Parts, clone_disk, create_log, credentials, disks, launch, listen,
    pflash, template_mac, unsafe_no_reseed, vcpus,
};
pub(crate) use nics::{NicKind, check_connected, connect};
pub(crate) use process::{Credentials, Handle, Identity, Running, spawn};
pub(crate) use scan::{find_qemu, qemu_of, scan};
pub(crate) use seed::{for_agent, read_user_data, user_data_of as seed_user_data, write_seed};
pub(crate) use session::{Session, Sockets, hello};
pub(crate) use turns::VcpuWaits;
