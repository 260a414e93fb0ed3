//! The board, which the keeper's tasks write and its clients watch, and the event log.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::events::EventLog;
use crate::ids::now;
use crate::model::{Board, Event, EventKind, Fault, NodeView, SeenFault, Stage, Vitals};
use crate::network::RulesMark;

/// The board and the event log. All clones share one.
#[derive(Debug, Clone)]
pub(super) struct Status {
    board: watch::Sender<Board>,
    events: Arc<Mutex<EventLog>>,
    rules: Arc<Mutex<Option<RulesMark>>>,
}

impl Status {
    pub(super) fn new(events: PathBuf) -> Self {
        let (board, _) = watch::channel(Board::new());
        Self {
            board,
            events: Arc::new(Mutex::new(EventLog::open(events))),
            rules: Arc::default(),
        }
    }

    pub(super) fn watch(&self) -> watch::Receiver<Board> {
        self.board.subscribe()
    }

    pub(super) fn board(&self) -> Board {
        self.board.borrow().clone()
    }

    /// The marks of the rules that were last found in order.
    pub(super) fn rules_in_order(&self) -> Option<RulesMark> {
        let rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        rules.clone()
    }

    /// Stores them, or that the rules are not in order.
    pub(super) fn set_rules_in_order(&self, mark: Option<RulesMark>) {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        *rules = mark;
    }

    /// Begins to attend a node.
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
                    old_agent: false,
                    kernel: None,
                    stopping: false,
                    replaced: false,
                    killed: Vec::new(),
                    vitals: None,
                    steal: None,
                    faults: Vec::new(),
                    cpu: None,
                },
            );
        });
        self.log(node, Stage::Started, "");
    }

    /// Forgets all other nodes.
    pub(super) fn keep(&self, is_there: impl Fn(&str) -> bool) {
        self.board.send_if_modified(|board| {
            let before = board.len();
            board.retain(|name, _| is_there(name));
            board.len() != before
        });
    }

    /// Stores the nodes' vitals without waking those who watch the board.
    pub(super) fn set_vitals(&self, told: &BTreeMap<String, (Vitals, Option<String>)>) {
        self.change_quietly(|name, view| {
            let told = told.get(name).cloned().unzip();
            (view.vitals, view.kernel) = (told.0, told.1.flatten());
        });
    }

    /// Stores the nodes' steal, the share of time that vcpus waited for a host core. Like [`Self::set_vitals`].
    pub(super) fn set_steal(&self, steal: &BTreeMap<String, f64>) {
        self.change_quietly(|name, view| view.steal = steal.get(name).copied());
    }

    /// Stores a node's faults, and logs those that are new or over.
    pub(super) fn set_faults(&self, node: &str, faults: Vec<Fault>) {
        let (mut new, mut over) = (Vec::new(), Vec::new());
        self.board.send_if_modified(|board| {
            let Some(view) = board.get_mut(node) else {
                return false;
            };
            let before = std::mem::take(&mut view.faults);
            let since = |fault: &Fault| before.iter().find(|b| b.fault == *fault).map(|b| b.since);
            for fault in faults {
                let began = since(&fault);
                if began.is_none() {
                    new.push(fault.to_string());
                }
                let since = began.unwrap_or_else(now);
                view.faults.push(SeenFault { fault, since });
            }
            let is_over = |b: &&SeenFault| view.faults.iter().all(|f| f.fault != b.fault);
            over.extend(before.iter().filter(is_over).map(|b| b.fault.to_string()));
            !(new.is_empty() && over.is_empty())
        });
        for note in over {
            self.event(node, EventKind::FaultOver, &note);
        }
        for note in new {
            self.event(node, EventKind::Fault, &note);
        }
    }

    /// Stores the cores that the nodes kept busy. Like [`Self::set_vitals`].
    pub(super) fn set_cpu(&self, cpu: &BTreeMap<String, f64>) {
        self.change_quietly(|name, view| view.cpu = cpu.get(name).copied());
    }

    /// kvmc asks a node to power off. Its end is then no news.
    pub(super) fn stop(&self, node: &str) {
        self.change_quietly(|name, view| view.stopping |= name == node);
    }

    pub(super) fn is_stopping(&self, node: &str) -> bool {
        self.board.borrow().get(node).is_some_and(|v| v.stopping)
    }

    /// Another QEMU takes the place of a node's. The end of this one is then no news.
    pub(super) fn replace(&self, node: &str) {
        self.change_quietly(|name, view| view.replaced |= name == node);
    }

    /// A QEMU that is there stays, because nothing took its place.
    pub(super) fn keep_running(&self, node: &str) {
        self.change_quietly(|name, view| view.replaced &= name != node);
    }

    pub(super) fn is_replaced(&self, node: &str) -> bool {
        self.board.borrow().get(node).is_some_and(|v| v.replaced)
    }

    /// A node's agent writes the identity at each boot.
    pub(super) fn has_old_agent(&self, node: &str) {
        self.change_quietly(|name, view| view.old_agent |= name == node);
    }

    /// A unit of a node's systemd was killed during a shutdown.
    pub(super) fn killed(&self, node: &str, unit: &str) {
        self.change_quietly(|name, view| {
            if name == node {
                view.killed.push(unit.to_owned());
            }
        });
    }

    fn change_quietly(&self, change: impl Fn(&str, &mut NodeView)) {
        self.board.send_if_modified(|board| {
            for (name, view) in board {
                change(name, view);
            }
            false
        });
    }

    /// Reports that a node has reached `stage`, unless it was there before.
    pub(super) fn reach(&self, node: &str, stage: Stage, note: &str) {
        let news = self
            .board
            .send_if_modified(|board| match board.get_mut(node) {
                Some(view) if view.stage < stage => {
                    view.stage = stage;
                    if stage == Stage::Ended {
                        view.paused = None;
                        view.faults.clear();
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

    /// Reports that a guest reboots.
    pub(super) fn restart(&self, node: &str) {
        self.event(node, EventKind::Rebooted, "");
        let process = self.board().get(node).and_then(|v| v.process);
        self.begin(node, process);
    }

    /// Reports that a guest is paused, or resumes with `None`.
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
            let event = match why {
                Some(_) => EventKind::Paused,
                None => EventKind::Resumed,
            };
            self.event(node, event, &why.unwrap_or_default());
        }
    }

    /// Removes the note about a lost connection.
    pub(super) fn regained(&self, node: &str) {
        let was_lost = self.board().get(node).is_some_and(|v| !v.note.is_empty());
        if was_lost {
            self.note(node, EventKind::Regained, "");
        }
    }

    /// Puts a note about a node on the board, at any stage.
    pub(super) fn note(&self, node: &str, event: EventKind, note: &str) {
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
        self.event(node, stage.into(), note);
    }

    /// A receiver for the number of the last event, which changes with each event.
    pub(super) fn watch_events(&self) -> watch::Receiver<u64> {
        match self.events.lock() {
            Ok(events) => events.watch(),
            // A task has panicked, so no more events will come.
            Err(_) => watch::channel(0).1,
        }
    }

    /// The events after a number, as far as they are kept.
    pub(super) fn events_since(&self, number: u64) -> Vec<Event> {
        let events = self.events.lock();
        events
            .map(|events| events.since(number))
            .unwrap_or_default()
    }

    pub(super) fn event(&self, node: &str, event: EventKind, note: &str) {
        if let Ok(mut events) = self.events.lock() {
            events.write(node, event, note);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_told_when_it_comes_and_when_it_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let status = Status::new(path.clone());
        status.begin("a", None);
        let [none, silent] = [false, true].map(|runs| Fault::Agent { runs });
        status.set_faults("a", vec![none.clone()]);
        let since = status.board()["a"].faults[0].since;
        status.set_faults("a", vec![none.clone(), silent]);
        assert_eq!(status.board()["a"].faults.len(), 2);
        assert!((status.board()["a"].faults[0].since - since).abs() < f64::EPSILON);
        status.set_faults("a", Vec::new());
        status.set_faults("unknown", vec![none]);
        assert!(status.board()["a"].faults.is_empty());
        let log = std::fs::read_to_string(path).unwrap();
        assert_eq!(log.matches(r#""event":"fault""#).count(), 2, "{log}");
        assert_eq!(log.matches(r#""event":"fault-over""#).count(), 2, "{log}");
    }

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
