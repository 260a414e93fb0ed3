//! Progress of a verb: on a terminal a live line for each node and transfer, elsewhere a line for each step.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};

use super::{is_quiet, talk};
use crate::ids::span;
use crate::model::{Progress, Stage};
use crate::spec::approximate;

/// Shortest time between two lines about one transfer, without a terminal.
const PAUSE: Duration = Duration::from_secs(10);

/// Progress of many nodes and transfers.
#[derive(Debug)]
pub(crate) struct Live {
    began: Instant,
    terminal: Option<MultiProgress>,
    nodes: RefCell<BTreeMap<String, (ProgressBar, Vec<&'static str>)>>,
    transfers: RefCell<BTreeMap<String, ProgressBar>>,
    /// What goes on with an unknown end.
    tasks: RefCell<BTreeMap<String, ProgressBar>>,
    /// When each transfer was last reported.
    spoke: RefCell<Option<Instant>>,
    /// When each transfer began, and with how many bytes, without a terminal.
    starts: RefCell<BTreeMap<String, (Instant, u64)>>,
}

impl Live {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            terminal: (std::io::stderr().is_terminal() && !is_quiet()).then(MultiProgress::new),
            nodes: RefCell::default(),
            transfers: RefCell::default(),
            tasks: RefCell::default(),
            spoke: RefCell::default(),
            starts: RefCell::default(),
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
        let mut starts = self.starts.borrow_mut();
        let (began, from) = *starts
            .entry(what.to_owned())
            .or_insert_with(|| (Instant::now(), done));
        let mut spoke = self.spoke.borrow_mut();
        let ends = total.is_some_and(|t| t <= done);
        if ends {
            starts.remove(what);
        }
        if ends || spoke.is_none_or(|at| at.elapsed() >= PAUSE) {
            *spoke = Some(Instant::now());
            let of = total.map_or_else(String::new, |t| format!(" of {}", approximate(t)));
            let pace = pace(done.saturating_sub(from), done, total, began.elapsed());
            talk(&format!("  {what}: {}{of}{pace}", approximate(done)));
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

    fn begin(&self, what: &str) {
        let Some(live) = &self.terminal else { return };
        let bar = live.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}  {elapsed}") {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        self.tasks.borrow_mut().insert(what.to_owned(), bar);
    }

    fn finish(&self, what: &str) {
        if let Some(bar) = self.tasks.borrow_mut().remove(what) {
            bar.finish_and_clear();
        }
    }

    fn end(&self) {
        for (bar, _) in self.nodes.borrow().values() {
            bar.abandon();
        }
        for bar in self
            .transfers
            .borrow()
            .values()
            .chain(self.tasks.borrow().values())
        {
            bar.finish_and_clear();
        }
    }
}

/// The rate of a transfer and the time that it still takes, once there is something to measure.
fn pace(came: u64, done: u64, total: Option<u64>, took: Duration) -> String {
    if came == 0 || took < Duration::from_secs(1) {
        return String::new();
    }
    let rate = came as f64 / took.as_secs_f64();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a speed to look at"
    )]
    let speed = approximate(rate as u64);
    let left = total
        .map(|t| t.saturating_sub(done))
        .filter(|left| *left > 0);
    let left = left.map(|left| format!(", {} left", span(left as f64 / rate)));
    format!(", {speed}/s{}", left.unwrap_or_default())
}

fn transfer_bar(name: &str, total: Option<u64>) -> ProgressBar {
    let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
    let template = match total {
        Some(_) => "{prefix} {wide_bar:.dim} {done}/{all} {speed} {eta}",
        None => "{prefix} {spinner} {done} {speed}",
    };
    // indicatif's own keys have other units than settings and messages.
    type Out<'a> = &'a mut dyn std::fmt::Write;
    let done = |state: &ProgressState, out: Out<'_>| {
        let _to_memory = write!(out, "{}", approximate(state.pos()));
    };
    let all = |state: &ProgressState, out: Out<'_>| {
        let _to_memory = write!(out, "{}", approximate(state.len().unwrap_or(0)));
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a speed to look at"
    )]
    let speed = |state: &ProgressState, out: Out<'_>| {
        let _to_memory = write!(out, "{}/s", approximate(state.per_sec() as u64));
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        let style = style.with_key("done", done).with_key("all", all);
        bar.set_style(style.with_key("speed", speed));
    }
    bar.set_prefix(name.to_owned());
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_and_the_time_left_are_those_of_this_run() {
        let told =
            |came, done, total, seconds| pace(came, done, total, Duration::from_secs(seconds));
        assert_eq!(told(0, 0, None, 9), "");
        assert_eq!(told(50 << 20, 50 << 20, None, 0), "");
        assert_eq!(told(50 << 20, 50 << 20, None, 10), ", 5M/s");
        // Half of it was there before.
        assert_eq!(
            told(50 << 20, 150 << 20, Some(200 << 20), 10),
            ", 5M/s, 10 s left"
        );
        assert_eq!(told(50 << 20, 200 << 20, Some(200 << 20), 10), ", 5M/s");
    }
}
