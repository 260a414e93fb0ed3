//! What the CLI and the keeper say to each other: one request a connection, lines of JSON, each with the protocol's
//! version.
//!
//! A request has one kind of answer. `watch` and `events` have a stream of them; behind the answer to `console` the
//! connection is the console's, byte by byte in both directions.

use serde::{Deserialize, Serialize};

use crate::model::{Board, Event};

/// The version of all that is here. Version 1 had no word for it.
pub(crate) const PROTOCOL: u32 = 2;

/// A line: its version, and what it says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Line<T> {
    pub(crate) protocol: u32,
    #[serde(flatten)]
    pub(crate) body: T,
}

impl<T> Line<T> {
    pub(crate) const fn new(body: T) -> Self {
        let protocol = PROTOCOL;
        Self { protocol, body }
    }
}

/// What the CLI asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "lowercase")]
pub(crate) enum Request {
    /// Read the record again and attend every node that runs. Answer: done.
    Sync,
    /// Read the record again and serve its forwards. Answer: done.
    Forward,
    /// The board, once. Answer: board.
    Board,
    /// The board, and again whenever it changes. Answers: board.
    Watch,
    /// Ask a guest to power off: ACPI's button by QMP, and the agent. Answer: done.
    Powerdown { node: String },
    /// Tell a QEMU to quit. Answer: done.
    Quit { node: String },
    /// Events behind a number, as far as they are kept; without one, the state first. Answers: state, missed, event.
    Events {
        #[serde(default)]
        since: Option<u64>,
        /// Go on with those that come.
        #[serde(default)]
        follow: bool,
    },
    /// A node's console. Answer: done, and then bytes.
    Console { node: String },
}

/// What the keeper answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", content = "value", rename_all = "lowercase")]
pub(crate) enum Answer {
    Done,
    Board(Board),
    /// The board, and the last event that it knows of.
    State {
        number: u64,
        board: Board,
    },
    Event(Event),
    /// Events from one number to another are kept no more.
    Missed {
        from: u64,
        to: u64,
    },
    Failed(String),
}
