//! Requests to build an image in a machine.

use std::path::PathBuf;
use std::time::Duration;

use crate::spec::Settings;

/// The only role of a build cluster, and the name of its only node.
pub(super) const ROLE: &str = "masters";
pub(super) const NODE: &str = "master0";
/// What to make an image from.
#[derive(Debug, Default)]
pub(crate) struct BuildSource {
    /// The image to start from; `None` means the template.
    pub(crate) from: Option<String>,
    /// Scripts to run as root, or playbooks (.yml) for the whole inventory.
    pub(crate) run: Vec<PathBuf>,
    /// Files or folders to copy before the scripts run, such as `./app:/opt/app`.
    pub(crate) copy: Vec<String>,
}

/// A request to build an image in a machine.
#[derive(Debug)]
pub(crate) struct BuildRequest {
    pub(crate) source: BuildSource,
    pub(crate) tag: Option<String>,
    /// Time that the machine has to become ready.
    pub(crate) timeout: Option<Duration>,
    /// Settings of the machine.
    pub(crate) settings: Settings,
}
