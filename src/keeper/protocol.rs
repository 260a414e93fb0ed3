//! What the CLI and the keeper say to each other: one request a connection, lines of JSON.

use serde::{Deserialize, Serialize};

use crate::model::Board;

/// What the CLI asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "lowercase")]
pub(crate) enum Request {
    /// Read the record again and attend every node that runs.
    Sync,
    /// Read the record again and serve its forwards.
    Forward,
    /// The board, once.
    Board,
    /// The board, and again whenever it changes.
    Watch,
    /// Ask a guest to power off: ACPI's button by QMP, and the agent.
    Powerdown { node: String },
    /// Tell a QEMU to quit.
    Quit { node: String },
}

/// What the keeper answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Answer {
    Done,
    Board(Board),
    Failed(String),
}
