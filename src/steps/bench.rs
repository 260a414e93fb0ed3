//! What objects are found and made with.

use kvmc_netns::Links;

use crate::image::Images;
use crate::model::Progress;
use crate::node::KeyPool;
use crate::state::{ClusterDir, State};
use crate::warm::AtHand;

/// Where objects are: the state folder, the cluster's folder in it, and the host's links.
#[derive(Clone, Copy)]
pub(crate) struct Host<'a> {
    pub(crate) state: &'a State,
    pub(crate) dir: &'a ClusterDir,
    pub(crate) links: &'a Links,
}

/// What objects are made with.
#[derive(Clone, Copy)]
pub(crate) struct Workbench<'a> {
    pub(crate) host: Host<'a>,
    pub(crate) images: &'a Images,
    /// The frozen machines that nodes wake from.
    pub(crate) frozen: &'a AtHand,
    pub(crate) keys: &'a KeyPool,
    pub(crate) progress: &'a dyn Progress,
}
