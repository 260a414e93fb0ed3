//! What the host has and lacks: named checks, each with its cure, and the accelerator that works.

mod accel;
mod advice;
mod ansible;
mod binfmt;
mod cgroup;
mod check;
mod checks;
mod cpu;
mod descriptors;
mod load;
mod memory;
mod memory_kill;
mod node_scope;
mod packages;
mod path;
mod release;
mod scope;
mod undo;
mod unit;
mod user_ids;
mod version;

pub(crate) use accel::{TB_SIZE, choose, cores, kvm_group};
pub(crate) use advice::{add_versions, advice, host_version, is_vpn, qemu_version};
pub(crate) use ansible::{ansible, old_ansible_without_sshpass, sshpass};
pub(crate) use binfmt::{
    packages as binfmt_packages, register as register_binfmt, rule_name as binfmt_rule,
};
pub(crate) use check::{Check, Finding};
pub(crate) use checks::{Needs, Room, basics, build_tools, free_disk, run as run_checks};
pub(crate) use cpu::{cpu_models, no_nested, virtualization};
pub(crate) use descriptors::check_descriptors;
pub(crate) use load::{host_load, link_bytes};
pub(crate) use memory::{Available, Memory, QEMU_OVERHEAD};
#[cfg(test)]
pub(crate) use memory_kill::killed;
pub(crate) use memory_kill::{CgroupKills, Kmsg, kmsg};
pub(crate) use node_scope::{NodeLimits, limit_node, missing_controllers};
pub(crate) use packages::{Installed, install, name_here as package_name};
pub(crate) use path::{complete_path, find_program, find_qemu_program, qemu_program};
pub(crate) use scope::{enter_scope, needs_scope};
pub(crate) use undo::{installed_packages, remove_binfmt, remove_packages};
pub(crate) use unit::{install_unit, is_running as runs_systemd, remove_unit};
