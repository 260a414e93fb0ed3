//! The input for finding and making objects.

use kvmc_netns::Links;

use crate::image::Images;
use crate::model::Progress;
use crate::node::KeyPool;
use crate::state::{ClusterDir, State};
use crate::warm::LoadedMachines;

/// Where objects are found: the state folder, the cluster's folder, and the host's links.
#[derive(Clone, Copy)]
pub(crate) struct Host<'a> {
    pub(crate) state: &'a State,
    pub(crate) dir: &'a ClusterDir,
    pub(crate) links: &'a Links,
}

/// What is needed to make objects.
#[derive(Clone, Copy)]
pub(crate) struct Workbench<'a> {
    pub(crate) host: Host<'a>,
    pub(crate) images: &'a Images,
    /// The frozen machines that nodes wake from.
    pub(crate) frozen: &'a LoadedMachines,
    pub(crate) keys: &'a KeyPool,
    pub(crate) progress: &'a dyn Progress,
}
