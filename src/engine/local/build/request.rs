//! What is asked for when an image is built in a machine.

use std::path::PathBuf;
use std::time::Duration;

use crate::spec::Settings;

/// The only role of such a cluster, and its only node.
pub(super) const ROLE: &str = "masters";
pub(super) const NODE: &str = "master0";
/// What an image is made of.
#[derive(Debug, Default)]
pub(crate) struct BuildSource {
    /// The image to begin with; none for the template.
    pub(crate) from: Option<String>,
    /// Scripts to run as root, or playbooks (.yml) for all of the inventory.
    pub(crate) run: Vec<PathBuf>,
    /// Files or folders to copy before that, such as `./app:/opt/app`.
    pub(crate) copy: Vec<String>,
}

/// An image that is to be built in a machine.
#[derive(Debug)]
pub(crate) struct BuildRequest {
    pub(crate) source: BuildSource,
    pub(crate) tag: Option<String>,
    /// What the machine has to become ready.
    pub(crate) timeout: Option<Duration>,
    /// Of the machine.
    pub(crate) settings: Settings,
}
