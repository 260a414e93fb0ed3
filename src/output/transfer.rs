//! One file that comes in: a live bar on a terminal, else a line now and then.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::talk;

/// Without a terminal, a line no more often than this.
const PAUSE: Duration = Duration::from_secs(10);

/// Progress of one transfer.
#[derive(Debug)]
pub(crate) struct Transfer {
    name: String,
    bar: Option<ProgressBar>,
    spoke: Instant,
}

impl Transfer {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            bar: None,
            spoke: Instant::now(),
        }
    }

    /// A line beside it.
    pub(crate) fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| talk(text)),
            None => talk(text),
        }
    }

    /// `done` bytes of `total` are there.
    pub(crate) fn bytes(&mut self, done: u64, total: Option<u64>) {
        if std::io::stderr().is_terminal() {
            let bar = self.bar.get_or_insert_with(|| bar(&self.name, total));
            bar.set_position(done);
            if total.is_some_and(|t| t <= done) {
                bar.finish_and_clear();
            }
            return;
        }
        let ends = total.is_some_and(|t| t <= done);
        if ends || self.spoke.elapsed() >= PAUSE {
            self.spoke = Instant::now();
            let of = total.map_or_else(String::new, |t| format!(" of {}", t >> 20));
            talk(&format!("  {}: {}{of} MiB", self.name, done >> 20));
        }
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(name: &str, total: Option<u64>) -> ProgressBar {
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
