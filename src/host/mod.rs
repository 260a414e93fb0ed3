//! What the host has and lacks: named checks, each with its cure, and the accelerator that works.

mod accel;
mod ansible;
mod binfmt;
mod cgroup;
mod check;
mod checks;
mod descriptors;
mod memory;
mod memory_kill;
mod packages;
mod path;
mod release;
mod unit;

pub(crate) use accel::{TB_SIZE, choose, cores, kvm_group};
pub(crate) use ansible::{old_ansible_without_sshpass, sshpass};
pub(crate) use binfmt::{packages as binfmt_packages, register as register_binfmt};
pub(crate) use check::{Check, Finding};
pub(crate) use checks::{Needs, Room, basics, build_tools, run as run_checks};
pub(crate) use descriptors::check_descriptors;
pub(crate) use memory::Memory;
#[cfg(test)]
pub(crate) use memory_kill::killed;
pub(crate) use memory_kill::{CgroupKills, Kmsg, kmsg};
pub(crate) use packages::{Installed, install, name_here as package_name};
pub(crate) use path::{complete_path, find_program, find_qemu_program, qemu_program};
pub(crate) use unit::{install_unit, remove_unit};
