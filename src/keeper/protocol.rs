//! The protocol between the CLI and the keeper: one request a connection, in lines of JSON that carry the protocol's
//! version.
//!
//! Each request has one kind of answer. `watch` and `events` get a stream of answers. After the answer to `console`,
//! the connection carries the console's bytes in both directions.

use serde::{Deserialize, Serialize};

use crate::model::{Board, Event};
use crate::network::RulesMark;

/// The version of this protocol. Version 1 sent no version number.
pub(crate) const PROTOCOL: u32 = 2;

/// The answer to a request that this keeper does not know.
pub(crate) const UNKNOWN: &str = "unknown request";

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
    /// The marks of the rules, if the keeper found the rules in order and nothing of theirs has changed since. Answer: rules.
    Rules,
    /// Ask a guest to power off: ACPI's button by QMP, and the agent. Answer: done.
    Powerdown { node: String },
    /// Read the record again, and grow a running node's disk to its recorded size, and then the guest's file system.
    /// Answer: done.
    Grow { node: String },
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
    /// Stop all guests at one instant and save the states of their devices into the unfinished snapshot. With
    /// `overlays`, each disk goes on in the image that the record names first. Steps: `stop`, then `go` or `quit`, and `written` once it is a snapshot.
    /// Answers: done when prepared and after each step; `stop` has two, when all guests stand and when all are saved.
    /// Without the next step the guests go on.
    Save { overlays: bool, name: String },
    /// Restore what the cluster's folder says is to be restored. Steps: `load` when the new QEMUs run, then `go`.
    /// Answers: done when the keeper expects the ends of the old QEMUs, and after each step. Once all are loaded, the
    /// guests run also without `go`.
    Restore,
    /// As `restore`, by QEMUs that stand by with their states. The keeper leaves those that run before it answers, and they
    /// may go on until `load`.
    TakeOver,
    /// A node's console, with `history` after the end of its log. Answer: done, then bytes.
    Console {
        node: String,
        #[serde(default = "yes")]
        history: bool,
    },
}

/// The next step of a request that its client leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "lowercase")]
pub(crate) enum Step {
    Stop,
    Load,
    Go,
    Quit,
    Written,
}

const fn yes() -> bool {
    true
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
    Rules(Option<RulesMark>),
    /// The events from one number to another are not kept any more.
    Missed {
        from: u64,
        to: u64,
    },
    Failed(String),
}
