//! The event log: numbered, of bounded size, and readable again by clients that missed events.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tokio::sync::watch;

use crate::ids::now;
use crate::model::{Event, EventKind};

/// Size in bytes at which a new log is begun. The log before it is kept beside it.
const LONGEST: u64 = 1 << 20;
/// Number of events that are kept in memory.
const RECENT: usize = 512;

#[derive(Debug)]
pub(super) struct EventLog {
    path: PathBuf,
    recent: VecDeque<Event>,
    /// The number of the last event.
    last: watch::Sender<u64>,
}

impl EventLog {
    /// Opens a log that continues the numbers in the file.
    pub(super) fn open(path: PathBuf) -> Self {
        let numbers = read(&path).map(|e| e.number);
        let (last, _) = watch::channel(numbers.max().unwrap_or(0));
        Self {
            path,
            recent: VecDeque::new(),
            last,
        }
    }

    /// A receiver that changes with each new event.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    pub(super) fn last(&self) -> u64 {
        *self.last.borrow()
    }

    pub(super) fn write(&mut self, node: &str, event: EventKind, note: &str) {
        let event = Event {
            number: self.last() + 1,
            time: now(),
            node: node.to_owned(),
            event,
            note: note.to_owned(),
        };
        if std::fs::metadata(&self.path).is_ok_and(|m| m.len() > LONGEST) {
            // Losing the log before the last is acceptable.
            let _kept = std::fs::rename(&self.path, before(&self.path));
        }
        let mut line = serde_json::to_vec(&event).unwrap_or_default();
        line.push(b'\n');
        let _full_disk = File::options()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&self.path)
            .and_then(|mut file| file.write_all(&line));
        let number = event.number;
        self.recent.push_back(event);
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        self.last.send_replace(number);
    }

    /// The events after a number, as far as they are kept.
    pub(super) fn since(&self, number: u64) -> Vec<Event> {
        let oldest = self.recent.front().map_or(u64::MAX, |e| e.number);
        let is_newer = |e: &Event| e.number > number;
        if oldest <= number + 1 {
            return self
                .recent
                .iter()
                .filter(|e| is_newer(e))
                .cloned()
                .collect();
        }
        let mut events: Vec<_> = read(&self.path).filter(is_newer).collect();
        // Events that a full disk kept out of the file are still in memory.
        let written = events.last().map_or(number, |e| e.number);
        events.extend(self.recent.iter().filter(|e| e.number > written).cloned());
        events
    }
}

/// The path of the log before this one.
fn before(path: &Path) -> PathBuf {
    path.with_extension("jsonl.old")
}

/// All kept events. Lines that are not events, such as one that a crash has cut off, are skipped.
pub(crate) fn read(path: &Path) -> impl Iterator<Item = Event> + use<> {
    let files = [before(path), path.to_owned()].into_iter();
    let files = files.filter_map(|path| File::open(path).ok());
    let lines = files.flat_map(|file| BufReader::new(file).lines().map_while(Result::ok));
    lines.filter_map(|line| serde_json::from_str(&line).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_continue_across_a_new_keeper_and_a_new_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let unnumbered = r#"{"time":1.0,"node":"a","event":"started","note":""}"#;
        std::fs::write(&path, format!("{unnumbered}\n{{\"time\":")).unwrap();
        let mut log = EventLog::open(path.clone());
        assert_eq!(log.last(), 0);
        // The cut-off line makes the first new event unreadable.
        for _ in 0..3 {
            log.write("a", EventKind::Ready, "");
        }
        let mut log = EventLog::open(path.clone());
        assert_eq!(log.last(), 3);
        std::fs::rename(&path, before(&path)).unwrap();
        log.write("b", EventKind::Ended, "note");
        let numbers: Vec<_> = log.since(1).iter().map(|e| e.number).collect();
        assert_eq!(numbers, [2, 3, 4]);
        assert_eq!(log.since(3)[0].note, "note");
        assert!(log.since(4).is_empty());
    }

    #[test]
    fn the_log_and_the_events_in_memory_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let mut log = EventLog::open(path.clone());
        let note = "x".repeat(1 << 12);
        for _ in 0..1000 {
            log.write("a", EventKind::Firewall, &note);
        }
        let files = [path.clone(), before(&path)];
        let size = |path: &PathBuf| std::fs::metadata(path).unwrap().len();
        assert!(files.iter().all(|f| size(f) < LONGEST + (1 << 13)));
        assert_eq!(log.recent.len(), RECENT);
        let kept = log.since(0);
        assert!(kept.len() < 1000 && kept.last().unwrap().number == 1000);
        assert!(kept.windows(2).all(|w| w[1].number == w[0].number + 1));
    }
}
