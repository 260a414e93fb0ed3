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
mod unit;

use std::path::PathBuf;

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
pub(crate) use packages::install;
pub(crate) use unit::{install_unit, remove_unit};

/// Finds a program in PATH, and in folders that root's PATH may lack.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|p| p.is_file())
}
