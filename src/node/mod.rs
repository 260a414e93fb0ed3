//! One VM: its command line, its process, what makes it itself. Knows no other node.

pub(crate) mod cmdline;
pub(crate) mod identity;
mod launch;
mod process;

pub(crate) use identity::Secrets;
pub(crate) use launch::{Launch, TB_SIZE, clone_disk, launch, vcpus};
pub(crate) use process::{Handle, Identity, Running, boot_id};
