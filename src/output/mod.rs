//! The only place that prints: data to stdout, talk to stderr.

mod transfer;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::model::{Progress, Stage};

pub(crate) use transfer::Transfer;

/// Writes data to stdout; a reader that went away is no error.
pub(crate) fn data(text: &str) {
    let _reader_gone = std::io::stdout().write_all(text.as_bytes());
}

/// Writes one line of talk to stderr.
pub(crate) fn talk(text: &str) {
    let _reader_gone = writeln!(std::io::stderr(), "{text}");
}

/// An error, with all its causes in one line.
pub(crate) fn error(error: &anyhow::Error) {
    talk(&format!("error: {error:#}"));
}

/// A table without borders.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(header.to_vec());
    for row in rows {
        table.add_row(row.clone());
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    // What a first cell begins with says what it belongs to.
    let text = table.to_string();
    let lines = text.lines();
    lines.map(|l| format!("{}\n", l.trim_end())).collect()
}

/// Seconds to one decimal.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Progress of many nodes: a live line each on a terminal, else a line for each step of each.
#[derive(Debug)]
pub(crate) struct Nodes {
    began: Instant,
    live: Option<MultiProgress>,
    bars: RefCell<BTreeMap<String, (ProgressBar, Vec<&'static str>)>>,
}

impl Nodes {
    pub(crate) fn new() -> Self {
        let live = std::io::stderr().is_terminal().then(MultiProgress::new);
        Self {
            began: Instant::now(),
            live,
            bars: RefCell::default(),
        }
    }

    /// Leaves the live lines as they are.
    pub(crate) fn end(&self) {
        for (bar, _) in self.bars.borrow().values() {
            bar.abandon();
        }
    }
}

impl Progress for Nodes {
    fn say(&self, text: &str) {
        match &self.live {
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
        let Some(live) = &self.live else {
            talk(&format!("{after:6.1} s  {node:<10} {}{note}", stage.name()));
            return;
        };
        let mut bars = self.bars.borrow_mut();
        let (bar, passed) = bars.entry(node.to_owned()).or_insert_with(|| {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_belongs_to_another_stands_below_it_in_columns() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let rows = [row(["image", "1G"]), row(["  frozen", "2M"])];
        assert_eq!(
            table(&["NAME", "SIZE"], &rows),
            "NAME      SIZE\nimage     1G\n  frozen  2M\n"
        );
    }
}
