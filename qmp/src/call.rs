//! One command on its way from a caller to the task that owns the socket, and back.

use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicUsize;

use serde_json::Value;
use tokio::sync::{oneshot, watch};

/// A command, with the caller that waits for its outcome.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) name: String,
    pub(crate) arguments: Value,
    /// A descriptor to send with the command (`getfd`).
    pub(crate) fd: Option<OwnedFd>,
    /// The log shows neither arguments nor answer.
    pub(crate) is_secret: bool,
    pub(crate) answer: oneshot::Sender<Outcome>,
}

/// The peer's answer.
#[derive(Debug)]
pub(crate) enum Outcome {
    Return(Value),
    Error { class: String, desc: String },
}

/// Whether a connection's commands are kept back.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    pub(crate) is_shut: watch::Sender<bool>,
    /// Commands that were sent and are not answered yet.
    pub(crate) waiting: AtomicUsize,
}
