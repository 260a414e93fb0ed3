//! `logs`: consoles, QEMU's logs, the keeper's log and events, and the guests' journals, merged by time.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::mpsc;

use super::super::Local;
use super::journal;
use super::tail::Tail;
use super::{Ssh, reachable, why_down};
use crate::engine::LogRequest;
use crate::ids::now;
use crate::interrupt::Interrupt;
use crate::model::{Event, LogLine, LogOutput, LogSource};
use crate::state::{ClusterDir, TimedLine, console_before, console_lines, console_times};

/// Time between two looks at the files.
const LOOK: Duration = Duration::from_millis(200);

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Lines(LogSource),
    Events,
}

/// A followed file.
#[derive(Debug)]
struct Followed {
    tail: Tail,
    /// Empty for the whole cluster.
    node: String,
    kind: Kind,
}

/// The files of the chosen nodes.
#[derive(Debug)]
pub(super) struct Files {
    nodes: Vec<String>,
    /// Also lines that are of no node.
    is_whole: bool,
    followed: Vec<Followed>,
}

/// See [`crate::engine::Reach::logs`].
pub(in super::super) async fn logs(
    local: &Local,
    request: &LogRequest,
    output: &dyn LogOutput,
) -> Result<bool> {
    let record = local.require()?;
    let nodes: Vec<String> = record
        .selector()
        .select(&request.targets)?
        .into_iter()
        .map(str::to_owned)
        .collect();
    let ssh = match request.journal {
        true => Some(Ssh::of(local, &reachable(local)?, None)),
        false => None,
    };
    let mut interrupt = Interrupt::listen()?;
    output.begin(&nodes);
    let dir = local.dir();
    let mut files = Files::of(nodes.clone(), request.targets.is_empty());
    let mut lines = files.open(&dir, request.follow);
    let begun = now();
    if let Some(ssh) = &ssh {
        let running = nodes.iter().filter(|n| why_down(&dir, n).is_none());
        let read = journal::read(ssh, running, request.since, request.lines);
        let read = tokio::select! {
            read = read => read,
            () = interrupt.wait() => return Ok(true),
        };
        for (node, journal) in read {
            match journal {
                Ok(mut journal) => {
                    if request.follow {
                        // The follower begins there.
                        journal.retain(|line| line.time.is_none_or(|time| time < begun));
                    }
                    lines.extend(journal);
                }
                Err(why) => {
                    let text = format!("warning: the journal of {node} cannot be read: {why}");
                    local.progress.say(&text);
                }
            }
        }
    }
    let lines = chosen(lines, request.since, request.lines);
    if !lines.iter().all(|line| output.line(line)) || !request.follow {
        return Ok(false);
    }
    let (sender, mut journals) = mpsc::channel(64);
    if let Some(ssh) = ssh {
        journal::follow(&ssh, &nodes, begun, &sender);
    }
    let mut journal_lines = Vec::new();
    loop {
        tokio::select! {
            () = interrupt.wait() => return Ok(true),
            () = tokio::time::sleep(LOOK) => {}
        }
        while let Ok(line) = journals.try_recv() {
            journal_lines.push(line);
        }
        let mut lines = files.news();
        lines.append(&mut journal_lines);
        by_time(&mut lines);
        if !lines.iter().all(|line| output.line(line)) {
            return Ok(false);
        }
        if !dir.path().exists() {
            local
                .progress
                .say(&format!("cluster `{}` is removed", local.cluster));
            return Ok(false);
        }
    }
}

impl Files {
    /// `is_whole`: also lines that are of no node.
    pub(super) const fn of(nodes: Vec<String>, is_whole: bool) -> Self {
        Self {
            nodes,
            is_whole,
            followed: Vec::new(),
        }
    }

    /// Opens all files and returns the lines in them. The beginning of a line is left to who follows.
    pub(super) fn open(&mut self, dir: &ClusterDir, follow: bool) -> Vec<LogLine> {
        let mut lines = Vec::new();
        for node in &self.nodes.clone() {
            let files = dir.node(node);
            let log = files.console_log();
            let before = console_before(&log);
            let old = std::fs::read(&before).unwrap_or_default();
            let (mut console, _) = console_lines(&old, &text(&console_times(&before)));
            let (tail, bytes) = Tail::open(&log);
            let (whole, rest) = console_lines(&bytes, &text(&console_times(&log)));
            console.extend(whole);
            if !follow && !rest.1.is_empty() {
                console.push(rest);
            }
            lines.extend(timed(node, LogSource::Console, console));
            self.follow(tail, node, Kind::Lines(LogSource::Console));
            lines.extend(self.plain(&files.qemu_log(), node, LogSource::Qemu));
        }
        let events = dir.events();
        let old = std::fs::read(events.with_extension("jsonl.old")).unwrap_or_default();
        let (tail, bytes) = Tail::open(&events);
        let all = [old, bytes].concat();
        lines.extend(
            all.split(|b| *b == b'\n')
                .filter_map(|line| self.event(line)),
        );
        self.follow(tail, "", Kind::Events);
        if self.is_whole {
            lines.extend(self.plain(&dir.keeper_log(), "", LogSource::Keeper));
        }
        lines
    }

    /// Opens a file whose lines have no times. They are not younger than the file.
    fn plain(&mut self, path: &Path, node: &str, source: LogSource) -> Vec<LogLine> {
        let changed = std::fs::metadata(path).map(|meta| meta.mtime() as f64).ok();
        let (tail, bytes) = Tail::open(path);
        let whole = bytes.len() - tail.rest().len();
        let lines = bytes.get(..whole).unwrap_or_default();
        let lines: Vec<_> = lines
            .split_inclusive(|b| *b == b'\n')
            .map(|line| (changed, line.strip_suffix(b"\n").unwrap_or(line).to_vec()))
            .collect();
        self.follow(tail, node, Kind::Lines(source));
        timed(node, source, lines).collect()
    }

    fn follow(&mut self, tail: Tail, node: &str, kind: Kind) {
        let node = node.to_owned();
        self.followed.push(Followed { tail, node, kind });
    }

    /// The lines that have come since the last look.
    pub(super) fn news(&mut self) -> Vec<LogLine> {
        let mut lines = Vec::new();
        let mut events = Vec::new();
        for followed in &mut self.followed {
            let came = followed.tail.lines();
            match followed.kind {
                Kind::Lines(source) => {
                    let came = came.into_iter().map(|text| (Some(now()), text));
                    lines.extend(timed(&followed.node, source, came));
                }
                Kind::Events => events.extend(came),
            }
        }
        lines.extend(events.iter().filter_map(|line| self.event(line)));
        lines
    }

    /// An event of the chosen nodes as a line.
    fn event(&self, line: &[u8]) -> Option<LogLine> {
        let event: Event = serde_json::from_slice(line).ok()?;
        let is_node = self.nodes.contains(&event.node);
        if !is_node && !self.is_whole {
            return None;
        }
        let kind = serde_json::to_value(event.event).ok()?;
        let mut text = kind.as_str()?.to_owned();
        if !is_node && !event.node.is_empty() {
            text = format!("{}: {text}", event.node);
        }
        if !event.note.is_empty() {
            text = format!("{text}: {}", event.note);
        }
        Some(LogLine {
            time: Some(event.time),
            node: if is_node { event.node } else { String::new() },
            source: LogSource::Keeper,
            text: text.into_bytes(),
        })
    }
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn timed(
    node: &str,
    source: LogSource,
    lines: impl IntoIterator<Item = TimedLine>,
) -> impl Iterator<Item = LogLine> {
    let node = node.to_owned();
    lines.into_iter().map(move |(time, text)| LogLine {
        time,
        node: node.clone(),
        source,
        text,
    })
}

/// Sorts lines by their times. Those without a time come first.
pub(super) fn by_time(lines: &mut [LogLine]) {
    let order = |line: &LogLine| line.time.unwrap_or_default();
    lines.sort_by(|a, b| order(a).total_cmp(&order(b)));
}

/// The lines in the order of their times, those after `since`, and the last ones of each node.
fn chosen(mut lines: Vec<LogLine>, since: Option<f64>, last: Option<usize>) -> Vec<LogLine> {
    by_time(&mut lines);
    if let Some(since) = since {
        lines.retain(|line| line.time.is_some_and(|time| time >= since));
    }
    let Some(last) = last else { return lines };
    let mut left: BTreeMap<String, usize> = BTreeMap::new();
    let mut kept: Vec<_> = lines
        .into_iter()
        .rev()
        .filter(|line| {
            let left = left.entry(line.node.clone()).or_insert(last);
            let is_kept = *left > 0;
            *left = left.saturating_sub(1);
            is_kept
        })
        .collect();
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::State;

    fn shown(lines: &[LogLine]) -> Vec<String> {
        let show = |line: &LogLine| {
            let text = String::from_utf8_lossy(&line.text);
            format!("{}/{}: {text}", line.node, line.source.name())
        };
        lines.iter().map(show).collect()
    }

    /// A cluster's folder with a console that was rotated, events and the keeper's log.
    fn folder(root: &Path) -> ClusterDir {
        let dir = State::at(root).cluster("k80");
        let log = dir.node("a0").console_log();
        std::fs::create_dir_all(log.parent().unwrap()).unwrap();
        std::fs::create_dir_all(dir.node("b0").path()).unwrap();
        let before = console_before(&log);
        std::fs::write(&before, "old\n").unwrap();
        std::fs::write(console_times(&before), "0 5.000\n").unwrap();
        std::fs::write(&log, "boot\nlogin: ").unwrap();
        std::fs::write(console_times(&log), "0 10.000\n5 30.000\n").unwrap();
        let event = |time: u32, node: &str, event: &str, note: &str| {
            format!(r#"{{"time":{time},"node":"{node}","event":"{event}","note":"{note}"}}"#)
        };
        let events = [
            event(20, "a0", "ready", ""),
            event(25, "b0", "ended", "the guest powered off"),
            event(26, "52:54:00:00:00:01", "refused", "x"),
            "damaged".to_owned(),
        ];
        std::fs::write(dir.events(), events.join("\n") + "\n").unwrap();
        dir
    }

    #[test]
    fn sources_are_merged_by_time() {
        let root = tempfile::tempdir().unwrap();
        let dir = folder(root.path());
        let open = |nodes: &[String], is_whole, follow| {
            let mut files = Files::of(nodes.to_vec(), is_whole);
            let lines = files.open(&dir, follow);
            (chosen(lines, None, None), files.news())
        };
        let both = ["a0".to_owned(), "b0".to_owned()];
        let (lines, _) = open(&both, true, false);
        let expected = [
            "a0/console: old",
            "a0/console: boot",
            "a0/keeper: ready",
            "b0/keeper: ended: the guest powered off",
            "/keeper: 52:54:00:00:00:01: refused: x",
            "a0/console: login: ",
        ];
        assert_eq!(shown(&lines), expected);
        let (lines, news) = open(&both[1..], false, true);
        assert_eq!(shown(&lines), ["b0/keeper: ended: the guest powered off"]);
        assert!(news.is_empty());
    }

    #[test]
    fn the_last_lines_of_each_node_after_a_time_are_chosen() {
        let line = |time, node: &str, text: &str| LogLine {
            time,
            node: node.to_owned(),
            source: LogSource::Qemu,
            text: text.into(),
        };
        let lines = vec![
            line(Some(3.0), "a", "3"),
            line(Some(1.0), "a", "1"),
            line(None, "a", "untimed"),
            line(Some(2.0), "b", "2"),
            line(Some(4.0), "a", "4"),
        ];
        let chosen = |since, last| shown(&chosen(lines.clone(), since, last));
        assert_eq!(
            chosen(None, Some(2)),
            ["b/qemu: 2", "a/qemu: 3", "a/qemu: 4"]
        );
        assert_eq!(chosen(Some(2.0), Some(1)), ["b/qemu: 2", "a/qemu: 4"]);
        assert_eq!(chosen(None, None).len(), 5);
        assert!(chosen(None, Some(0)).is_empty());
    }
}
