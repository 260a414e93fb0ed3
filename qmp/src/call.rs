//! One command on its way from a caller to the task that owns the socket, and back.

use std::os::fd::OwnedFd;

use serde_json::Value;
use tokio::sync::oneshot;

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
