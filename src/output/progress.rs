//! Progress of a verb: on a terminal a live line for each node and transfer, elsewhere a line for each step.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::talk;
use crate::model::{Progress, Stage};

/// Shortest time between two lines about one transfer, without a terminal.
const PAUSE: Duration = Duration::from_secs(10);

/// Progress of many nodes and transfers.
#[derive(Debug)]
pub(crate) struct Live {
    began: Instant,
    terminal: Option<MultiProgress>,
    nodes: RefCell<BTreeMap<String, (ProgressBar, Vec<&'static str>)>>,
    transfers: RefCell<BTreeMap<String, ProgressBar>>,
    /// When each transfer was last reported.
    spoke: RefCell<Option<Instant>>,
}

impl Live {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            terminal: std::io::stderr().is_terminal().then(MultiProgress::new),
            nodes: RefCell::default(),
            transfers: RefCell::default(),
            spoke: RefCell::default(),
        }
    }

    fn show_transfer(&self, live: &MultiProgress, what: &str, done: u64, total: Option<u64>) {
        let mut transfers = self.transfers.borrow_mut();
        let bar = transfers
            .entry(what.to_owned())
            .or_insert_with(|| live.add(transfer_bar(what, total)));
        bar.set_position(done);
        if total.is_some_and(|t| t <= done) {
            bar.finish_and_clear();
            transfers.remove(what);
        }
    }

    fn tell_transfer(&self, what: &str, done: u64, total: Option<u64>) {
        let mut spoke = self.spoke.borrow_mut();
        let ends = total.is_some_and(|t| t <= done);
        if ends || spoke.is_none_or(|at| at.elapsed() >= PAUSE) {
            *spoke = Some(Instant::now());
            let of = total.map_or_else(String::new, |t| format!(" of {}", t >> 20));
            talk(&format!("  {what}: {}{of} MiB", done >> 20));
        }
    }
}

impl Progress for Live {
    fn say(&self, text: &str) {
        match &self.terminal {
            Some(live) => live.suspend(|| talk(text)),
            None => talk(text),
        }
    }

    fn stage(&self, node: &str, stage: Stage, note: &str) {
        let after = self.began.elapsed().as_secs_f64();
        let note = if note.is_empty() {
            String::new()
        } else {
            format!("  {note}")
        };
        let Some(live) = &self.terminal else {
            talk(&format!("{after:6.1} s  {node:<10} {}{note}", stage.name()));
            return;
        };
        let mut nodes = self.nodes.borrow_mut();
        let (bar, passed) = nodes.entry(node.to_owned()).or_insert_with(|| {
            let bar = live.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix:10} {msg}") {
                bar.set_style(style);
            }
            bar.set_prefix(node.to_owned());
            bar.enable_steady_tick(Duration::from_millis(120));
            (bar, Vec::new())
        });
        passed.push(stage.name());
        let message = format!("{}  {after:.1} s{note}", passed.join(" > "));
        if matches!(stage, Stage::Ready | Stage::Ended) {
            bar.finish_with_message(message);
        } else {
            bar.set_message(message);
        }
    }

    fn transfer(&self, what: &str, done: u64, total: Option<u64>) {
        match &self.terminal {
            Some(live) => self.show_transfer(live, what, done, total),
            None => self.tell_transfer(what, done, total),
        }
    }

    fn end(&self) {
        for (bar, _) in self.nodes.borrow().values() {
            bar.abandon();
        }
        for bar in self.transfers.borrow().values() {
            bar.finish_and_clear();
        }
    }
}

fn transfer_bar(name: &str, total: Option<u64>) -> ProgressBar {
    let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
    let template = match total {
        Some(_) => {
            "{prefix} {wide_bar:.dim} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}"
        }
        None => "{prefix} {spinner} {binary_bytes} {binary_bytes_per_sec}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_prefix(name.to_owned());
    bar
}
