//! Arguments of the verbs for the cluster file and for Ansible.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// What a new cluster file is made from.
#[derive(Debug, Default, Args)]
pub(crate) struct InitFlags {
    /// Replace an existing kvmc.toml
    #[arg(long)]
    pub(crate) force: bool,
    /// XML of a libvirt network, as `virsh net-dumpxml` prints it
    #[arg(long, value_name = "FILE", conflicts_with = "from_vagrant")]
    pub(crate) from_libvirt: Option<PathBuf>,
    /// Vagrantfile, which is read but never run [default: Vagrantfile]
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "Vagrantfile")]
    pub(crate) from_vagrant: Option<PathBuf>,
}

/// A form of the inventory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum InventoryForm {
    Ini,
    Yaml,
    Json,
}

/// What of the inventory is wanted.
#[derive(Debug, Default, Args)]
pub(crate) struct InventoryFlags {
    /// Print the whole inventory as Ansible reads it from a program
    #[arg(long, group = "what")]
    pub(crate) list: bool,
    /// Print the variables of one node
    #[arg(long, value_name = "NODE", group = "what")]
    pub(crate) host: Option<String>,
    /// Write a file that Ansible can run as an inventory
    #[arg(long, value_name = "FILE", group = "what", conflicts_with = "format")]
    pub(crate) script: Option<PathBuf>,
    /// Write the inventory plugin kvmc.py into a folder
    #[arg(long, value_name = "DIR", group = "what", conflicts_with = "format")]
    pub(crate) plugin: Option<PathBuf>,
    /// Form of the inventory [default: ini, with --list json]
    #[arg(long, conflicts_with = "host")]
    pub(crate) format: Option<InventoryForm>,
}
