//! The command line, as clap's types.

mod access;
mod file;
mod flags;
mod groups;
#[cfg(test)]
mod help_tests;
mod image;
mod seeing;
mod size;
mod snapshot;
mod start;
mod up;
mod verbs;

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub(crate) use self::access::{
    ConsoleFlags, CpFlags, ExecFlags, IpFlags, LogFlags, MountFlags, ShareFlags, SshConfigCommand,
    SyncFlags,
};
pub(crate) use self::file::{InitFlags, InventoryFlags, InventoryForm};
pub(crate) use self::flags::Flags;
pub(crate) use self::groups::{command, plain_command};
pub(crate) use self::image::{BuildFlags, ImageCommand, TakeFlags};
pub(crate) use self::seeing::{
    DfFlags, DoctorFlags, EventsFlags, ExplainFlags, LsFlags, Shell, StatusFlags, SupportFlags,
    TimelineFlags, TopFlags, VersionFlags,
};
pub(crate) use self::size::{NodeArgs, PlanArgs, RestartArgs, RmArgs, ScaleArgs};
pub(crate) use self::snapshot::{Clock, ForkArgs, SnapshotCommand, TryArgs};
pub(crate) use self::start::{PullFlags, StartFlags};
pub(crate) use self::up::{StopArgs, UpArgs};
pub(crate) use self::verbs::parse;
use crate::output::ColorChoice;

/// Run multi-VM clusters on one Linux machine, straight on QEMU/KVM
#[derive(Debug, Parser)]
#[command(
    name = "kvmc",
    version = version(),
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
    /// Colours in output; auto means on a terminal, unless NO_COLOR or CLICOLOR=0 is set
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        default_value_t,
        help_heading = "Options of every verb"
    )]
    pub(crate) color: ColorChoice,
    /// Print no progress; data, warnings and errors stay
    #[arg(long, global = true, help_heading = "Options of every verb")]
    pub(crate) quiet: bool,
    /// Tell each step, on stderr and in kvmc.log of the state folder
    #[arg(long, global = true, help_heading = "Options of every verb")]
    pub(crate) verbose: bool,
    /// As --verbose, and tell requests to the keeper too
    #[arg(long, global = true, help_heading = "Options of every verb")]
    pub(crate) debug: bool,
}

/// The version of kvmc.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit that kvmc is built from; empty if unknown.
pub(crate) const COMMIT: &str = env!("KVMC_COMMIT");

/// The version, and the commit if it is known.
pub(crate) const fn version() -> &'static str {
    match COMMIT.is_empty() {
        true => VERSION,
        false => concat!(env!("CARGO_PKG_VERSION"), " (", env!("KVMC_COMMIT"), ")"),
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create the cluster, or bring it to what the settings say and start it
    Up(Box<UpArgs>),
    /// Show what `up` would change, without a change; ends with 2 if there is something
    Plan(Box<PlanArgs>),
    /// Set the numbers of nodes of roles; the last ones leave, no other node is touched
    Scale(ScaleArgs),
    /// Remove nodes with their data; no other node is touched
    Rm(RmArgs),
    /// Start a stopped cluster, or stopped nodes
    Start {
        #[command(flatten)]
        nodes: NodeArgs,
        #[command(flatten)]
        start: StartFlags,
        /// Print the outcome as JSON on stdout
        #[arg(long)]
        json: bool,
    },
    /// Shut nodes down and start them again
    Restart(RestartArgs),
    /// Shut down all nodes, or some; disks and addresses stay
    Stop(StopArgs),
    /// Save the whole running cluster at one instant, and bring it back to that
    Snapshot {
        #[command(subcommand)]
        command: SnapshotCommand,
    },
    /// Run a second copy of the cluster from one instant on, in a network of its own
    Fork(ForkArgs),
    /// Run a command, and bring the cluster back to what it was before if the command fails
    Try(TryArgs),
    /// Remove the cluster: nodes, network and files
    Down {
        /// Remove every cluster, and the templates and frozen machines too
        #[arg(long)]
        all: bool,
        /// Print the outcome as JSON on stdout, an object for each cluster
        #[arg(long)]
        json: bool,
    },
    /// List all clusters
    Ls(LsFlags),
    /// Show the cluster and its nodes
    Status(StatusFlags),
    /// Show what the nodes use on a full screen, with their logs
    Top(TopFlags),
    /// Show what happened to the nodes, or what happens now
    Events(EventsFlags),
    /// Show the stages of the last start, and what each node waited for
    Timeline(TimelineFlags),
    /// Show what images, frozen machines and nodes take on disk
    Df(DfFlags),
    /// Run a shell or a command on a node
    Ssh {
        /// Name of the node
        node: String,
        /// Command to run, with its arguments
        #[arg(trailing_var_arg = true)]
        command: Vec<String>,
    },
    /// Run a command on nodes at once, each line of output after its node's name
    Exec(ExecFlags),
    /// Show the addresses of nodes
    Ip(IpFlags),
    /// Copy files and folders to, from and between nodes
    Cp(CpFlags),
    /// Bring a folder of nodes to what a folder of this host holds; copies only what differs
    Sync(SyncFlags),
    /// Show a folder of a node on this host, by sshfs, until `umount` or `stop`
    Mount(MountFlags),
    /// End a `mount`
    Umount {
        /// Folder of this host
        #[arg(value_name = "FOLDER")]
        folder: String,
        /// Print the outcome as JSON on stdout
        #[arg(long)]
        json: bool,
    },
    /// Show a folder of this host on nodes, by sftp over ssh, until `unshare` or `stop`
    Share(ShareFlags),
    /// End a `share`
    Unshare {
        /// Folder of the node
        #[arg(value_name = "NODE:PATH")]
        place: String,
        /// Print the outcome as JSON on stdout
        #[arg(long)]
        json: bool,
    },
    /// Use the serial console of a node; Ctrl-] leaves it
    Console(ConsoleFlags),
    /// Show what consoles, QEMU and the keeper have logged, in the order of time
    Logs(LogFlags),
    /// Let ssh, rsync and editors know the nodes' names, by a line in ~/.ssh/config
    SshConfig {
        #[command(subcommand)]
        command: SshConfigCommand,
    },
    /// Show, add and remove forwards from ports of the host to nodes
    Forward {
        #[command(subcommand)]
        command: ForwardCommand,
    },
    /// Write a commented kvmc.toml, also from a libvirt network or a Vagrantfile
    Init(InitFlags),
    /// Print the JSON Schema of kvmc.toml, with which editors complete and check it
    Schema {
        /// Print the shape of what a verb prints with --json instead
        #[arg(long, value_name = "VERB")]
        of: Option<String>,
    },
    /// Print the inventory for Ansible, or write files with which Ansible asks for it
    Inventory(InventoryFlags),
    /// Run ansible with the cluster's inventory
    Ansible {
        /// Arguments of ansible, such as all -m ping
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "ARGS"
        )]
        arguments: Vec<OsString>,
    },
    /// Run ansible-playbook with the cluster's inventory
    Playbook {
        /// The playbook
        file: PathBuf,
        /// Further arguments of ansible-playbook, such as --limit workers
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "ARGS"
        )]
        arguments: Vec<OsString>,
    },
    /// Show every setting and where its value came from
    Config {
        #[command(flatten)]
        flags: Flags,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Check whether this host has what kvmc needs; --fix installs what is missing
    Doctor(DoctorFlags),
    /// Explain the code of an error
    Explain(ExplainFlags),
    /// Pack logs, record and doctor's words for a bug report, without secrets
    Support(SupportFlags),
    /// Show the versions of kvmc and of the QEMU that it finds
    Version(VersionFlags),
    /// Manage the images that nodes are made from: templates, downloads and your own
    Image {
        #[command(subcommand)]
        command: ImageCommand,
    },
    /// Print the script that completes kvmc's command lines in a shell
    Completions {
        /// Shell that reads the script
        shell: Shell,
    },
    /// Write the manual pages
    #[command(hide = true)]
    Man {
        /// Folder for the pages, such as /usr/share/man/man1
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// List the failpoints of this program
    #[cfg(feature = "failpoints")]
    #[command(hide = true)]
    Failpoints,
    /// Serve verbs as tools of the Model Context Protocol on stdin and stdout
    Mcp,
    /// Serve verbs to programs as JSON lines on a socket
    Serve {
        /// Socket to make, which only this user can reach
        #[arg(long, value_name = "PATH")]
        socket: PathBuf,
    },
    /// Start clusters when the host starts, and stop them before it shuts down
    Service {
        #[command(subcommand)]
        command: ServiceCommand,
    },
    /// Connect input and output to a port of a fork's node (ssh starts this)
    #[command(hide = true)]
    Proxy { address: IpAddr, port: u16 },
    /// Serve a folder that is mounted or shared (other verbs start this)
    #[command(hide = true)]
    Attach {
        name: String,
        #[arg(long)]
        tie: String,
    },
    /// Serve a running cluster (other verbs start this)
    #[command(hide = true)]
    Keeper {
        name: String,
        #[arg(long)]
        folder: String,
    },
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Install and enable the systemd unit
    Install {
        /// At shutdown, save the memory of the clusters to disk instead of shutting the nodes down; they go on from there
        #[arg(long)]
        suspend: bool,
    },
    /// Disable and remove the unit; running clusters go on
    Remove,
    /// Start the clusters that ran when the host shut down; the unit calls this
    Start,
    /// Stop all clusters and mark them to start with the host; the unit calls this
    Stop {
        /// Suspend them; those that cannot be are shut down
        #[arg(long)]
        suspend: bool,
    },
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
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove forwards
    Rm {
        /// Host side of the forward, such as 8080 or 5353/udp
        #[arg(required = true, value_name = "PORT")]
        forwards: Vec<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
