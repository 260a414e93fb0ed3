//! The command line, as clap's types.

mod flags;
#[cfg(test)]
mod help_tests;
mod verbs;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use self::flags::{Flags, MachineFlags};
pub(crate) use self::verbs::parse;
use crate::image::PullOptions;
use crate::spec::Layer;

/// Run multi-VM clusters on one Linux machine, straight on QEMU/KVM
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
    /// Cluster to work on [default: k80]
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        help_heading = "Options of every verb"
    )]
    pub(crate) cluster: Option<String>,
    /// Longest time to wait for another kvmc that works on the cluster
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
    /// Create the cluster, or complete it and start what does not run
    Up {
        #[command(flatten)]
        flags: Flags,
        #[command(flatten)]
        start: StartFlags,
        #[command(flatten)]
        pull: PullFlags,
        /// Print the steps without carrying them out
        #[arg(long)]
        dry_run: bool,
    },
    /// Start a stopped cluster
    Start {
        #[command(flatten)]
        start: StartFlags,
    },
    /// Shut down all nodes; disks and addresses stay
    Stop {
        /// Seconds that a guest has to power off before it is forced; systemd gives each service 90
        #[arg(long, value_name = "SECONDS", default_value_t = 120)]
        timeout: u64,
    },
    /// Remove the cluster: nodes, network and files
    Down {
        /// Remove every cluster, and the templates and frozen machines too
        #[arg(long)]
        all: bool,
    },
    /// Show the cluster and its nodes
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Run a shell or a command on a node
    Ssh {
        /// Name of the node
        node: String,
        /// Command to run, with its arguments
        #[arg(trailing_var_arg = true)]
        command: Vec<String>,
    },
    /// Show, add and remove forwards from ports of the host to nodes
    Forward {
        #[command(subcommand)]
        command: ForwardCommand,
    },
    /// Show every setting and where its value came from
    Config {
        #[command(flatten)]
        flags: Flags,
    },
    /// Check whether this host has what kvmc needs; --fix installs what is missing
    Doctor {
        /// Install what is missing, remove remains of clusters and restore damaged records
        #[arg(long)]
        fix: bool,
        /// Architecture of the guests: amd64 or arm64
        #[arg(long)]
        arch: Option<String>,
    },
    /// Manage the images that nodes are made from: templates, downloads and your own
    Image {
        #[command(subcommand)]
        command: ImageCommand,
    },
    /// List the failpoints of this program
    #[cfg(feature = "failpoints")]
    #[command(hide = true)]
    Failpoints,
    /// Start clusters when the host starts, and stop them before it shuts down
    Service {
        #[command(subcommand)]
        command: ServiceCommand,
    },
    /// Serve a running cluster (other verbs start this)
    #[command(hide = true)]
    Keeper {
        name: String,
        #[arg(long)]
        folder: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Build the template that `up` would use, or build an image in a machine
    Build(Box<BuildFlags>),
    /// Make an image of a stopped node's disk, without the node's identity
    Commit {
        /// Name of the node; its cluster must be stopped
        node: String,
        /// Name of the new image
        #[arg(short = 't', long, value_name = "NAME")]
        tag: String,
    },
    /// Write an image and its backing files to one file that `import` reads
    Export {
        /// Tag or digest of the image, or the beginning of the digest
        image: String,
        /// File to write; a name that ends in .zst is compressed
        file: PathBuf,
        /// Architecture, amd64 or arm64 [default: the host's]
        #[arg(long, value_name = "ARCH")]
        arch: Option<String>,
    },
    /// List images and their frozen machines
    Ls {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// List the catalogue's images, which can be downloaded, instead
        #[arg(long)]
        catalogue: bool,
    },
    /// Download an image or its newest version
    Pull {
        /// Name from the catalogue, or URL, which needs #sha256:DIGITS at its end or --sums
        image: String,
        #[command(flatten)]
        how: TakeFlags,
        /// URL of the publisher's list of checksums
        #[arg(long, value_name = "URL")]
        sums: Option<String>,
        /// Accept an image without a checksum or signature
        #[arg(long)]
        insecure: bool,
    },
    /// Import an image from a file: qcow2 or raw, compressed or not, or written by `export`
    Import {
        /// File to import
        file: PathBuf,
        #[command(flatten)]
        how: TakeFlags,
    },
    /// Show everything known about an image
    Inspect {
        /// Tag or digest of the image, or the beginning of the digest
        image: String,
        /// Architecture, amd64 or arm64 [default: the host's]
        #[arg(long, value_name = "ARCH")]
        arch: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Compare every byte of the image with its digest in the store
        #[arg(long)]
        verify: bool,
    },
    /// Remove an image that no cluster and no other image uses
    Rm {
        /// Tag or digest of the image, or the beginning of the digest
        image: String,
        /// Architecture, amd64 or arm64 [default: the host's]
        #[arg(long, value_name = "ARCH")]
        arch: Option<String>,
    },
    /// Remove unused frozen machines, prepared images and outdated templates that `up` would not use
    Prune {
        /// Remove unused frozen machines, prepared images and templates even if `up` would use them
        #[arg(long)]
        all: bool,
    },
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Install and enable the systemd unit
    Install,
    /// Disable and remove the unit; running clusters go on
    Remove,
    /// Start the clusters that ran when the host shut down; the unit calls this
    Start,
    /// Stop all clusters and mark them to start with the host; the unit calls this
    Stop,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ForwardCommand {
    /// List forwards
    Ls {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Add forwards, at once if the cluster runs
    Add {
        /// Forward, such as 8080:lbl0:80, 127.0.0.1:8080:lbl0:80 or 5353:lbl0:53/udp
        #[arg(required = true, value_name = "FORWARD")]
        forwards: Vec<String>,
    },
    /// Remove forwards
    Rm {
        /// Host side of the forward, such as 8080 or 5353/udp
        #[arg(required = true, value_name = "PORT")]
        forwards: Vec<String>,
    },
}

/// What to do in a machine to make an image from it.
#[derive(Debug, Default, Args)]
pub(crate) struct BuildFlags {
    /// Image to start from [default: the template]
    #[arg(long, value_name = "NAME|PATH|URL")]
    pub(crate) from: Option<String>,
    /// Script to run as root, or playbook (.yml) for the whole inventory; may be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) run: Vec<PathBuf>,
    /// File or folder to copy before scripts run, such as ./app:/opt/app; may be repeated
    #[arg(long, value_name = "FROM:TO")]
    pub(crate) copy: Vec<String>,
    /// Name for the image, in addition to its digest
    #[arg(short = 't', long, value_name = "NAME")]
    pub(crate) tag: Option<String>,
    /// Seconds that the machine has to become ready [default: 300, emulated 900]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    #[command(flatten)]
    machine: MachineFlags,
}

impl BuildFlags {
    /// The settings of the build machine.
    pub(crate) fn layer(&self) -> Layer {
        self.machine.layer()
    }

    /// Whether the request needs a build machine.
    pub(crate) fn is_in_a_machine(&self) -> bool {
        self.from.is_some() || !self.run.is_empty() || !self.copy.is_empty()
    }
}

/// Properties of an imported or downloaded image.
#[derive(Debug, Args)]
pub(crate) struct TakeFlags {
    /// Name for the image, in addition to its digest
    #[arg(short = 't', long, value_name = "NAME")]
    pub(crate) tag: Option<String>,
    /// Architecture, amd64 or arm64 [default: the host's]
    #[arg(long, value_name = "ARCH")]
    pub(crate) arch: Option<String>,
    /// Firmware that boots the image, bios or uefi [default: bios on amd64, uefi on arm64]
    #[arg(long, value_name = "WHICH")]
    pub(crate) firmware: Option<String>,
}

/// How images are downloaded.
#[derive(Debug, Args)]
pub(crate) struct PullFlags {
    /// Check whether the publisher has newer images; existing clusters keep theirs
    #[arg(long)]
    pull: bool,
    /// Accept images without a checksum or signature
    #[arg(long)]
    insecure: bool,
}

impl PullFlags {
    pub(crate) fn asked(&self) -> PullOptions {
        PullOptions {
            refresh: self.pull,
            insecure: self.insecure,
        }
    }
}

/// Options for starting nodes.
#[derive(Debug, Default, Args)]
pub(crate) struct StartFlags {
    /// Seconds that each node has to become ready [default: 300, emulated 900]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    /// Boot every node instead of waking it from a frozen machine
    #[arg(long)]
    pub(crate) cold: bool,
    /// Start even if memory may not suffice
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
