//! What can be typed: clap's types, and nothing else.

mod flags;
#[cfg(test)]
mod help_tests;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use self::flags::{Flags, MachineFlags};
use crate::image::Asked;
use crate::spec::Layer;

/// A whole multi-VM cluster on one Linux machine, straight on QEMU/KVM.
#[derive(Debug, Parser)]
#[command(
    name = "kvmc",
    version,
    max_term_width = 100,
    after_help = "Examples:
  kvmc up                      3 masters, 3 workers, 1 load balancer
  kvmc ssh master0             a shell on a node
  ansible -i inventory all -m ping
  kvmc stop; kvmc start        same machines, same addresses, same data
  kvmc down                    nothing left but the template"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// The cluster to work on [default: k80]
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        help_heading = "Options of every verb"
    )]
    pub(crate) cluster: Option<String>,
    /// Wait this long for another kvmc to end
    #[arg(
        long,
        global = true,
        value_name = "SECONDS",
        default_value_t = 0,
        help_heading = "Options of every verb"
    )]
    pub(crate) wait: u64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create the cluster, or complete and start what is missing
    Up {
        #[command(flatten)]
        flags: Flags,
        #[command(flatten)]
        start: StartFlags,
        #[command(flatten)]
        pull: PullFlags,
        /// Print the steps, and do nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Start a cluster that was stopped
    Start {
        #[command(flatten)]
        start: StartFlags,
    },
    /// Shut all nodes down; disks and addresses stay
    Stop {
        /// Seconds a guest has to power off before it is made to
        #[arg(long, value_name = "SECONDS", default_value_t = 90)]
        timeout: u64,
    },
    /// Remove the cluster: nodes, network, files
    Down {
        /// Remove every cluster, and the templates too
        #[arg(long)]
        all: bool,
    },
    /// Show the cluster and its nodes
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Run a shell, or a command, on a node
    Ssh {
        /// The node
        node: String,
        /// The command, after `--`
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Ports of the host that lead to nodes
    Forward {
        #[command(subcommand)]
        command: ForwardCommand,
    },
    /// Show every setting and where its value came from
    Config {
        #[command(flatten)]
        flags: Flags,
    },
    /// Check what this host needs; --fix installs what is missing
    Doctor {
        /// Install what is missing
        #[arg(long)]
        fix: bool,
        /// amd64 or arm64: what the guests are to be
        #[arg(long)]
        arch: Option<String>,
    },
    /// Images that nodes are made of: templates, downloads, your own
    Image {
        #[command(subcommand)]
        command: ImageCommand,
    },
    /// The failpoints of this program
    #[cfg(feature = "failpoints")]
    #[command(hide = true)]
    Failpoints,
    /// Have clusters come back with the host, and stop cleanly before it shuts down
    Service {
        #[command(subcommand)]
        command: ServiceCommand,
    },
    /// The process that serves a running cluster
    #[command(hide = true)]
    Keeper {
        name: String,
        #[arg(long)]
        folder: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Build the template that `up` would use, or an image by what is done in a machine of another one
    Build(Box<BuildFlags>),
    /// Make an image of a stopped node's disk, without what makes the node itself
    Commit {
        /// The node; its cluster is stopped
        node: String,
        /// The image's name
        #[arg(short = 't', long, value_name = "NAME")]
        tag: String,
    },
    /// Write an image, and all that it lies on, to one file that `import` takes
    Export {
        /// A tag, a digest or the beginning of one
        image: String,
        /// The file; packed where its name ends in .zst
        file: PathBuf,
        /// amd64 or arm64 [default: the host's]
        #[arg(long, value_name = "ARCH")]
        arch: Option<String>,
    },
    /// List images, and the machines frozen of them
    Ls {
        /// As JSON
        #[arg(long)]
        json: bool,
        /// The catalogue's names instead: what can be downloaded
        #[arg(long)]
        catalogue: bool,
    },
    /// Download an image, or its newest version
    Pull {
        /// A name of the catalogue, or an address, with #sha256:DIGITS behind it or --sums
        image: String,
        #[command(flatten)]
        how: TakeFlags,
        /// Address of the publisher's list of checksums
        #[arg(long, value_name = "URL")]
        sums: Option<String>,
        /// Take it though nothing can verify it
        #[arg(long)]
        insecure: bool,
    },
    /// Take an image from a file: qcow2 or raw, also packed, or what `export` wrote
    Import {
        /// The file
        file: PathBuf,
        #[command(flatten)]
        how: TakeFlags,
    },
    /// Show all that is known of an image
    Inspect {
        /// A tag, a digest or the beginning of one
        image: String,
        /// amd64 or arm64 [default: the host's]
        #[arg(long, value_name = "ARCH")]
        arch: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
        /// Compare every byte with what came into the store
        #[arg(long)]
        verify: bool,
    },
    /// Remove an image that no cluster and no other image uses
    Rm {
        /// A tag, a digest or the beginning of one
        image: String,
        /// amd64 or arm64 [default: the host's]
        #[arg(long, value_name = "ARCH")]
        arch: Option<String>,
    },
    /// Remove frozen machines, prepared cloud images and templates of another version of kvmc that no cluster uses and no `up` would take
    Prune {
        /// Also those that an `up` would use, and templates that no cluster uses
        #[arg(long)]
        all: bool,
    },
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Install and enable the systemd unit
    Install,
    /// Remove it; clusters that run go on
    Remove,
    /// Start the clusters that ran when the host went down; the unit does this
    Start,
    /// Stop all clusters, to be started with the host; the unit does this
    Stop,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ForwardCommand {
    /// Show them
    Ls {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Add some, at once if the cluster runs
    Add {
        /// Such as 8080:lbl0:80, 127.0.0.1:8080:lbl0:80 or 5353:lbl0:53/udp
        #[arg(required = true, value_name = "FORWARD")]
        forwards: Vec<String>,
    },
    /// Remove some
    Rm {
        /// The host's side, such as 8080 or 5353/udp
        #[arg(required = true, value_name = "PORT")]
        forwards: Vec<String>,
    },
}

/// What is done in a machine to make an image of it.
#[derive(Debug, Default, Args)]
pub(crate) struct BuildFlags {
    /// The image to begin with [default: the template]
    #[arg(long, value_name = "NAME|PATH|URL")]
    pub(crate) from: Option<String>,
    /// A script to run as root, or a playbook (.yml) for all of the inventory; may be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) run: Vec<PathBuf>,
    /// A file or folder to copy before that, such as ./app:/opt/app; may be repeated
    #[arg(long, value_name = "FROM:TO")]
    pub(crate) copy: Vec<String>,
    /// A name for the image, besides its digest
    #[arg(short = 't', long, value_name = "NAME")]
    pub(crate) tag: Option<String>,
    /// Seconds the machine has to become ready [default: 300, emulated 900]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    #[command(flatten)]
    machine: MachineFlags,
}

impl BuildFlags {
    /// The flags of the machine that it is built in.
    pub(crate) fn layer(&self) -> Layer {
        self.machine.layer()
    }

    /// Whether a machine is needed for it.
    pub(crate) fn is_in_a_machine(&self) -> bool {
        self.from.is_some() || !self.run.is_empty() || !self.copy.is_empty()
    }
}

/// What an image that is taken is to be.
#[derive(Debug, Args)]
pub(crate) struct TakeFlags {
    /// A name for it, besides its digest
    #[arg(short = 't', long, value_name = "NAME")]
    pub(crate) tag: Option<String>,
    /// amd64 or arm64 [default: the host's]
    #[arg(long, value_name = "ARCH")]
    pub(crate) arch: Option<String>,
    /// What boots it: bios or uefi [default: bios on amd64, uefi on arm64]
    #[arg(long, value_name = "WHICH")]
    pub(crate) firmware: Option<String>,
}

/// How images are downloaded.
#[derive(Debug, Args)]
pub(crate) struct PullFlags {
    /// Look whether the publisher has a newer image; clusters stay on what they were made from
    #[arg(long)]
    pull: bool,
    /// Take images that nothing can verify
    #[arg(long)]
    insecure: bool,
}

impl PullFlags {
    pub(crate) fn asked(&self) -> Asked {
        Asked {
            refresh: self.pull,
            insecure: self.insecure,
        }
    }
}

/// How a start is carried out.
#[derive(Debug, Default, Args)]
pub(crate) struct StartFlags {
    /// Seconds each node has to become ready [default: 300, emulated 900]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    /// Boot every node, instead of waking it from a frozen machine
    #[arg(long)]
    pub(crate) cold: bool,
    /// Go ahead though memory may not suffice
    #[arg(long)]
    pub(crate) overcommit: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
