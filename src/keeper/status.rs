//! The board that the keeper's tasks write on and its clients watch, and the event log.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::sync::watch;

use crate::ids::now;
use crate::model::Vitals;
use crate::model::{Board, NodeView, Stage};

/// The event log starts anew beyond this; the one before is kept beside it.
const LONGEST_LOG: u64 = 1 << 20;

/// Cheap to clone; all clones are of one board.
#[derive(Debug, Clone)]
pub(super) struct Status {
    board: watch::Sender<Board>,
    events: Arc<Mutex<Events>>,
}

impl Status {
    pub(super) fn new(events: PathBuf) -> Self {
        let (board, _) = watch::channel(Board::new());
        Self {
            board,
            events: Arc::new(Mutex::new(Events { path: events })),
        }
    }

    pub(super) fn watch(&self) -> watch::Receiver<Board> {
        self.board.subscribe()
    }

    pub(super) fn board(&self) -> Board {
        self.board.borrow().clone()
    }

    /// A node that is attended from now on.
    pub(super) fn begin(&self, node: &str, process: Option<(i32, u64)>) {
        self.board.send_modify(|board| {
            board.insert(
                node.to_owned(),
                NodeView {
                    process,
                    stage: Stage::Started,
                    passed: vec![Stage::Started],
                    paused: None,
                    note: String::new(),
                    vitals: None,
                    steal: None,
                },
            );
        });
        self.log(node, Stage::Started, "");
    }

    /// What `status` is told of how nodes keep up. Nobody who watches the board waits for that.
    pub(super) fn set_vitals(&self, vitals: &BTreeMap<String, Vitals>) {
        self.change_quietly(|name, view| view.vitals = vitals.get(name).copied());
    }

    /// As [`Self::set_vitals`]: the share of the time that its vcpus waited for a core of the host.
    pub(super) fn set_steal(&self, steal: &BTreeMap<String, f64>) {
        self.change_quietly(|name, view| view.steal = steal.get(name).copied());
    }

    fn change_quietly(&self, change: impl Fn(&str, &mut NodeView)) {
        self.board.send_if_modified(|board| {
            for (name, view) in board {
                change(name, view);
            }
            false
        });
    }

    /// A node has come to `stage`; one that it is past is no news.
    pub(super) fn reach(&self, node: &str, stage: Stage, note: &str) {
        let news = self
            .board
            .send_if_modified(|board| match board.get_mut(node) {
                Some(view) if view.stage < stage => {
                    view.stage = stage;
                    if stage == Stage::Ended {
                        view.paused = None;
                    }
                    view.passed.push(stage);
                    note.clone_into(&mut view.note);
                    true
                }
                _ => false,
            });
        if news {
            self.log(node, stage, note);
        }
    }

    /// A guest has gone back to its boot.
    pub(super) fn restart(&self, node: &str) {
        self.event(node, "rebooted", "");
        let process = self.board().get(node).and_then(|v| v.process);
        self.begin(node, process);
    }

    /// A guest stands still, or goes on.
    pub(super) fn pause(&self, node: &str, why: Option<String>) {
        let news = self
            .board
            .send_if_modified(|board| match board.get_mut(node) {
                Some(view) if view.paused != why => {
                    view.paused.clone_from(&why);
                    true
                }
                _ => false,
            });
        if news {
            let event = if why.is_some() { "paused" } else { "resumed" };
            self.event(node, event, &why.unwrap_or_default());
        }
    }

    /// A connection is there; that it was lost is no news any more.
    pub(super) fn regained(&self, node: &str) {
        let was_lost = self.board().get(node).is_some_and(|v| !v.note.is_empty());
        if was_lost {
            self.note(node, "regained", "");
        }
    }

    /// Says on the board what is to be known of a node, at whatever stage it is.
    pub(super) fn note(&self, node: &str, event: &str, note: &str) {
        self.board.send_if_modified(|board| {
            let view = board.get_mut(node);
            view.is_some_and(|view| {
                let news = view.note != note;
                note.clone_into(&mut view.note);
                news
            })
        });
        self.event(node, event, note);
    }

    pub(super) fn log(&self, node: &str, stage: Stage, note: &str) {
        self.event(node, stage.name(), note);
    }

    pub(super) fn event(&self, node: &str, event: &str, note: &str) {
        if let Ok(mut events) = self.events.lock() {
            events.write(node, event, note);
        }
    }
}

#[derive(Debug)]
struct Events {
    path: PathBuf,
}

impl Events {
    fn write(&mut self, node: &str, event: &str, note: &str) {
        let time = now();
        let mut line =
            json!({ "time": time, "node": node, "event": event, "note": note }).to_string();
        line.push('\n');
        if std::fs::metadata(&self.path).is_ok_and(|m| m.len() > LONGEST_LOG) {
            // A log: losing the one before the last costs nobody anything.
            let _kept = std::fs::rename(&self.path, self.path.with_extension("jsonl.old"));
        }
        let _full_disk = File::options()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&self.path)
            .and_then(|mut file| file.write_all(line.as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_reached_once_and_never_goes_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let status = Status::new(path.clone());
        status.begin("a", None);
        status.reach("a", Stage::Lease, "");
        status.reach("a", Stage::Kernel, "");
        status.reach("a", Stage::Lease, "");
        status.reach("unknown", Stage::Lease, "");
        assert_eq!(status.board()["a"].stage, Stage::Lease);
        assert_eq!(status.board()["a"].passed, [Stage::Started, Stage::Lease]);
        assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 2);
    }
}
