//! The results of verbs that reach into nodes: commands, copies, consoles, logs and addresses.

use std::net::{Ipv4Addr, Ipv6Addr};

use schemars::JsonSchema;
use serde::Serialize;

use super::{NodeFailure, TieStatus};

/// A node's addresses, the main network's first.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct NodeAddresses {
    pub(crate) node: String,
    pub(crate) addresses: Vec<NicAddresses>,
}

/// The addresses of a NIC.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct NicAddresses {
    pub(crate) network: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) address6: Option<Ipv6Addr>,
    pub(crate) mac: String,
}

/// The output streams of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Out,
    Err,
}

/// Takes the output of commands on nodes as it comes. A node is its number among the given nodes.
pub(crate) trait ExecOutput {
    fn begin(&self, nodes: &[String]);

    /// Takes bytes. Returns false when nobody reads the output any more.
    fn take(&self, node: usize, stream: Stream, bytes: &[u8]) -> bool;
}

/// The result of a command on several nodes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ExecReport {
    /// In the cluster's order.
    pub(crate) nodes: Vec<NodeExec>,
    /// Nobody reads the output any more, so the commands were ended.
    pub(crate) unread: bool,
}

/// The result of a command on one node.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NodeExec {
    pub(crate) node: String,
    pub(crate) outcome: ExecOutcome,
    /// Seconds from the start of ssh to its end.
    pub(crate) seconds: f64,
}

/// How a command on a node ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ExecOutcome {
    /// With this exit code.
    Ended(u8),
    /// ssh could not connect or lost the connection, with the reason.
    Unreachable(String),
    /// The node does not run, with the reason.
    Down(String),
    /// It took longer than this number of seconds.
    TimedOut(u64),
    /// A signal to kvmc ended ssh.
    Interrupted,
}

impl ExecOutcome {
    /// The exit code that counts for the node: ssh's for one that is not reached, and timeout(1)'s.
    pub(crate) const fn code(&self) -> u8 {
        match self {
            Self::Ended(code) => *code,
            Self::Unreachable(_) | Self::Down(_) => 255,
            Self::TimedOut(_) => 124,
            Self::Interrupted => 130,
        }
    }

    /// What happened, in words; none for a command that succeeded.
    pub(crate) fn fault(&self) -> Option<String> {
        match self {
            Self::Ended(0) => None,
            Self::Ended(code) => Some(format!("ended with {code}")),
            Self::Unreachable(why) => Some(format!("cannot be reached: {why}")),
            Self::Down(why) => Some(why.clone()),
            Self::TimedOut(seconds) => Some(format!("did not end within {seconds} s")),
            Self::Interrupted => Some("was interrupted".to_owned()),
        }
    }
}

impl ExecReport {
    /// The worst node's exit code.
    pub(crate) fn code(&self) -> u8 {
        let codes = self.nodes.iter().map(|n| n.outcome.code());
        codes.max().unwrap_or_default()
    }

    /// The nodes whose command a signal ended.
    pub(crate) fn interrupted(&self) -> Vec<&str> {
        let nodes = self.nodes.iter();
        nodes
            .filter(|n| n.outcome == ExecOutcome::Interrupted)
            .map(|n| n.node.as_str())
            .collect()
    }
}

/// The result of copies.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub(crate) struct CopyReport {
    /// The number of copies, one for each node.
    pub(crate) number: usize,
    pub(crate) failed: Vec<NodeFailure>,
}

/// What `sync` has done.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct SyncReport {
    /// The number of nodes that were asked for.
    pub(crate) number: usize,
    /// Nodes that were reached; with `--watch` none.
    pub(crate) nodes: Vec<NodeSync>,
    /// Nodes that were not reached, that were lost, or that cannot take the folder.
    pub(crate) lost: Vec<NodeFailure>,
}

/// What `sync` has done on a node.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct NodeSync {
    pub(crate) node: String,
    /// Files, folders and links.
    pub(crate) copied: usize,
    pub(crate) bytes: u64,
    pub(crate) removed: usize,
    /// The first paths that failed, with the reasons.
    pub(crate) failed: Vec<(String, String)>,
    pub(crate) failures: usize,
    /// With `--dry-run`: what would be done, and with which path.
    pub(crate) planned: Vec<(String, String)>,
    pub(crate) seconds: f64,
}

impl NodeSync {
    pub(crate) fn fail(&mut self, path: String, why: String) {
        self.failed.push((path, why));
        self.failures += 1;
    }

    /// Whether the node had all before.
    pub(crate) const fn is_nothing(&self) -> bool {
        self.copied == 0 && self.removed == 0 && self.failures == 0
    }
}

/// The result of `mount` and `share`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub(crate) struct TieReport {
    /// The number of nodes that were asked for.
    pub(crate) number: usize,
    pub(crate) made: Vec<TieStatus>,
    pub(crate) failed: Vec<NodeFailure>,
}

/// What a viewer of a console is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shown {
    Bytes(Vec<u8>),
    /// What happened to the node, in words.
    Notice(String),
}

/// A line of a log.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LogLine {
    /// Seconds since 1970; none where nobody noted the time.
    pub(crate) time: Option<f64>,
    /// Empty for the whole cluster.
    pub(crate) node: String,
    pub(crate) source: LogSource,
    /// The line as it was written, without its line break.
    pub(crate) text: Vec<u8>,
}

/// Who wrote a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogSource {
    Console,
    Qemu,
    Keeper,
    Journal,
}

impl LogSource {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Console => "console",
            Self::Qemu => "qemu",
            Self::Keeper => "keeper",
            Self::Journal => "journal",
        }
    }
}

/// Takes the lines of logs, in the order in which they are shown.
pub(crate) trait LogOutput {
    fn begin(&self, nodes: &[String]);

    /// Takes a line. Returns false when nobody reads the output any more.
    fn line(&self, line: &LogLine) -> bool;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_exit_code_counts() {
        let report = |outcomes: &[ExecOutcome]| ExecReport {
            nodes: outcomes
                .iter()
                .map(|outcome| NodeExec {
                    node: "a".to_owned(),
                    outcome: outcome.clone(),
                    seconds: 0.0,
                })
                .collect(),
            unread: false,
        };
        let down = ExecOutcome::Down("is stopped".to_owned());
        for (outcomes, code) in [
            (&[][..], 0),
            (&[ExecOutcome::Ended(0), ExecOutcome::Ended(7)], 7),
            (&[ExecOutcome::TimedOut(1), ExecOutcome::Ended(7)], 124),
            (&[down, ExecOutcome::TimedOut(1)], 255),
        ] {
            assert_eq!(report(outcomes).code(), code, "{outcomes:?}");
        }
    }
}
