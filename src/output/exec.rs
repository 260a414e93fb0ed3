//! The output of commands on several nodes.

use std::cell::RefCell;
use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;

use super::{bytes, json, talk};
use crate::model::{ExecOutcome, ExecOutput, ExecReport, NodeExec, Stream};

/// Longest line that is held until its end comes, in bytes. A longer one is broken.
const LONGEST: usize = 64 << 10;

/// Prints each line of output after its node's name, or collects the output for JSON.
#[derive(Debug)]
pub(crate) struct Prefixed {
    as_json: bool,
    nodes: RefCell<Vec<String>>,
    /// The beginnings of lines; for JSON, all output.
    held: RefCell<BTreeMap<(usize, bool), Vec<u8>>>,
}

impl Prefixed {
    pub(crate) fn new(as_json: bool) -> Self {
        Self {
            as_json,
            nodes: RefCell::default(),
            held: RefCell::default(),
        }
    }

    fn prefix(&self, node: usize) -> Vec<u8> {
        let nodes = self.nodes.borrow();
        let width = nodes.iter().map(String::len).max().unwrap_or_default();
        let name = nodes.get(node).map_or("", String::as_str);
        format!("{name:width$} | ").into_bytes()
    }

    /// The whole lines of what came and what was held, each with its prefix. The rest is held.
    fn lines(&self, node: usize, stream: Stream, came: &[u8]) -> Vec<u8> {
        let mut held = self.held.borrow_mut();
        let held = held.entry((node, stream == Stream::Err)).or_default();
        held.extend_from_slice(came);
        let whole = memchr::memrchr(b'\n', held).map_or(0, |end| end + 1);
        let whole: Vec<u8> = match held.len() - whole > LONGEST {
            true => std::mem::take(held),
            false => held.drain(..whole).collect(),
        };
        let prefix = self.prefix(node);
        let mut text = Vec::with_capacity(whole.len() + 64);
        for line in whole.split_inclusive(|b| *b == b'\n') {
            text.extend_from_slice(&prefix);
            text.extend_from_slice(line);
        }
        if text.last().is_some_and(|b| *b != b'\n') {
            text.push(b'\n');
        }
        text
    }

    /// Prints what is left, and then how the nodes ended that did not succeed.
    ///
    /// # Errors
    /// Fails if JSON cannot represent a value.
    pub(crate) fn end(&self, report: &ExecReport) -> Result<()> {
        if report.unread {
            return Ok(());
        }
        if self.as_json {
            json(&self.objects(report))?;
        } else {
            let keys: Vec<_> = self.held.borrow().keys().copied().collect();
            for (node, is_err) in keys {
                let stream = if is_err { Stream::Err } else { Stream::Out };
                if self.holds(node, is_err) {
                    bytes(stream, &self.lines(node, stream, b"\n"));
                }
            }
        }
        faults(report).iter().for_each(|line| talk(line));
        Ok(())
    }

    fn holds(&self, node: usize, is_err: bool) -> bool {
        let held = self.held.borrow();
        held.get(&(node, is_err))
            .is_some_and(|held| !held.is_empty())
    }

    pub(super) fn objects<'a>(&self, report: &'a ExecReport) -> Vec<NodeObject<'a>> {
        let text = |node, is_err| {
            let held = self.held.borrow();
            let bytes = held.get(&(node, is_err)).map_or(&[][..], Vec::as_slice);
            String::from_utf8_lossy(bytes).into_owned()
        };
        let nodes = report.nodes.iter().enumerate();
        nodes
            .map(|(number, node)| NodeObject {
                node: &node.node,
                exit_code: node.outcome.code(),
                stdout: text(number, false),
                stderr: text(number, true),
                seconds: (node.seconds * 1000.0).round() / 1000.0,
                error: fault(node),
            })
            .collect()
    }
}

impl ExecOutput for Prefixed {
    fn begin(&self, nodes: &[String]) {
        *self.nodes.borrow_mut() = nodes.to_vec();
    }

    fn take(&self, node: usize, stream: Stream, came: &[u8]) -> bool {
        if self.as_json {
            let mut held = self.held.borrow_mut();
            let held = held.entry((node, stream == Stream::Err)).or_default();
            held.extend_from_slice(came);
            return true;
        }
        bytes(stream, &self.lines(node, stream, came))
    }
}

/// The result on one node, as JSON.
#[derive(Debug, Serialize)]
pub(super) struct NodeObject<'a> {
    node: &'a str,
    exit_code: u8,
    stdout: String,
    stderr: String,
    seconds: f64,
    /// Why there is no exit code of the command; null if there is one.
    error: Option<String>,
}

/// What kept the command from ending by itself.
fn fault(node: &NodeExec) -> Option<String> {
    match node.outcome {
        ExecOutcome::Ended(_) => None,
        _ => node.outcome.fault(),
    }
}

/// A line for each node whose command did not succeed. The error of an interruption names its nodes.
fn faults(report: &ExecReport) -> Vec<String> {
    let nodes = report.nodes.iter();
    nodes
        .filter(|n| n.outcome != ExecOutcome::Interrupted)
        .filter_map(|n| Some(format!("error: {} {}", n.node, n.outcome.fault()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixed() -> Prefixed {
        let prefixed = Prefixed::new(false);
        prefixed.begin(&["master0".to_owned(), "lbl0".to_owned()]);
        prefixed
    }

    #[test]
    fn each_whole_line_has_the_aligned_name_of_its_node_and_all_its_bytes() {
        let prefixed = prefixed();
        let text = prefixed.lines(1, Stream::Out, b"a\xff\0\nb");
        assert_eq!(text, b"lbl0    | a\xff\0\n");
        let text = prefixed.lines(1, Stream::Err, b"e\n");
        assert_eq!(text, b"lbl0    | e\n", "streams are apart");
        let text = prefixed.lines(1, Stream::Out, b"c\n\n");
        assert_eq!(text, b"lbl0    | bc\nlbl0    | \n");
        assert_eq!(prefixed.lines(0, Stream::Out, b"\n"), b"master0 | \n");
        assert!(!prefixed.holds(1, false));
    }

    #[test]
    fn a_line_without_an_end_is_broken() {
        let prefixed = prefixed();
        let mut printed = 0;
        for _ in 0..40 {
            printed += prefixed.lines(0, Stream::Out, &[b'x'; 4 << 10]).len();
        }
        let held = prefixed.held.borrow().values().map(Vec::len).sum::<usize>();
        assert!(held <= LONGEST && printed >= 40 * (4 << 10) - LONGEST);
    }
}
