//! What can go wrong, by operation.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

/// A connection that did not come about.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// Nobody listens, or the path leads nowhere.
    #[error("failed to connect to {}", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: std::io::Error,
    },
    /// The peer took the connection and said nothing: it is stopped, or serves another client.
    #[error("{} gave no greeting for {deadline:?}; is another client connected?", path.display())]
    NoGreeting {
        /// The socket.
        path: PathBuf,
        /// How long it was waited for.
        deadline: Duration,
    },
    /// The peer ended, or said what is no greeting.
    #[error("{} ended before its greeting", path.display())]
    Ended {
        /// The socket.
        path: PathBuf,
    },
    /// The peer refused to leave negotiation mode.
    #[error("{} refused the negotiation", path.display())]
    Negotiation {
        /// The socket.
        path: PathBuf,
        /// Its answer.
        #[source]
        source: ExecuteError,
    },
}

/// A command without its result.
#[derive(Debug, Error)]
pub enum ExecuteError {
    /// No answer in time; one that comes later is dropped.
    #[error("`{command}` got no answer for {deadline:?}")]
    Timeout {
        /// The command.
        command: String,
        /// How long it was waited for.
        deadline: Duration,
    },
    /// The peer is gone.
    #[error("`{command}` got no answer: the connection ended")]
    Disconnected {
        /// The command.
        command: String,
    },
    /// The peer's own error.
    #[error("`{command}` was refused: {desc} ({class})")]
    Refused {
        /// The command.
        command: String,
        /// QAPI's error class.
        class: String,
        /// The peer's words.
        desc: String,
    },
    /// A result that is not of the type asked for.
    #[error("`{command}` gave a result of another form")]
    Decode {
        /// The command.
        command: String,
        /// What was wrong with it.
        #[source]
        source: serde_json::Error,
    },
}
