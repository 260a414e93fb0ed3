//! The protocol between the CLI and the keeper: one request a connection, in lines of JSON that carry the protocol's
//! version.
//!
//! Each request has one kind of answer. `watch` and `events` get a stream of answers. After the answer to `console`,
//! the connection carries the console's bytes in both directions.

use serde::{Deserialize, Serialize};

use crate::model::{Board, Event};

/// The version of this protocol. Version 1 sent no version number.
pub(crate) const PROTOCOL: u32 = 2;

/// A line: its version and its body.
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

/// A request from the CLI.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "lowercase")]
pub(crate) enum Request {
    /// Read the record again and attend every running node. Answer: done.
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
    /// Events after a number, as far as they are kept; without a number, first the state. Answers: state, missed,
    /// event.
    Events {
        #[serde(default)]
        since: Option<u64>,
        /// Also send the events that follow.
        #[serde(default)]
        follow: bool,
    },
    /// A node's console. Answer: done, then bytes.
    Console { node: String },
}

/// An answer from the keeper.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", content = "value", rename_all = "lowercase")]
pub(crate) enum Answer {
    Done,
    Board(Board),
    /// The board, and the number of the last event that it includes.
    State {
        number: u64,
        board: Board,
    },
    Event(Event),
    /// The events from one number to another are not kept any more.
    Missed {
        from: u64,
        to: u64,
    },
    Failed(String),
}
