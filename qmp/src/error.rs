//! Errors of connecting and of executing a command.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

/// The client could not connect.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "fields are named by what they hold")]
pub enum ConnectError {
    /// Nobody listens, or there is no such socket.
    #[error("cannot connect to {}", path.display())]
    Socket {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The peer accepted the connection and sent nothing. It is stopped, or serves another client.
    #[error("{} sent no greeting within {deadline:?}; another client may be connected", path.display())]
    NoGreeting { path: PathBuf, deadline: Duration },
    /// The connection ended before a greeting came.
    #[error("{} ended the connection before its greeting", path.display())]
    Ended { path: PathBuf },
    /// The peer refused to leave negotiation mode.
    #[error("{} did not leave negotiation mode", path.display())]
    Negotiation {
        path: PathBuf,
        #[source]
        source: ExecuteError,
    },
}

/// A command has no result.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "fields are named by what they hold")]
pub enum ExecuteError {
    /// No answer came in time. The client drops a later one.
    #[error("`{command}` got no answer within {deadline:?}")]
    Timeout { command: String, deadline: Duration },
    /// The connection ended first.
    #[error("`{command}` got no answer: the connection ended")]
    Disconnected { command: String },
    /// The peer answered with an error.
    #[error("`{command}` was refused: {desc} ({class})")]
    Refused {
        command: String,
        class: String,
        desc: String,
    },
    /// The result is not of the expected type.
    #[error("`{command}` gave an unexpected result")]
    Decode {
        command: String,
        #[source]
        source: serde_json::Error,
    },
}
