//! The arguments of `image`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::flags::MachineFlags;
use crate::spec::Layer;

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
        /// Print JSON
        #[arg(long)]
        json: bool,
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
        /// Print JSON
        #[arg(long)]
        json: bool,
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
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Import an image from a file: qcow2 or raw, compressed or not, or written by `export`
    Import {
        /// File to import
        file: PathBuf,
        #[command(flatten)]
        how: TakeFlags,
        /// Print JSON
        #[arg(long)]
        json: bool,
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
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove unused frozen machines, prepared images and outdated templates that `up` would not use
    Prune {
        /// Remove unused frozen machines, prepared images and templates even if `up` would use them
        #[arg(long)]
        all: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
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
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
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
