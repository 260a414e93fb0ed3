//! What the full screen shows, and how keys change it.

use super::columns::Sort;
use super::keys::Input;
use super::rows::{Row, Rows};
use crate::model::{LogLine, TopSample};
use crate::output::plain::plain;

/// Most lines of a log that are held.
const LINES: usize = 5000;

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    GoOn,
    Quit,
    /// Ctrl-C
    Interrupted,
}

/// What is in the middle of the screen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum View {
    #[default]
    Nodes,
    /// The filter is being typed.
    Filter,
    Log(LogView),
    Help,
}

/// A node's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogView {
    pub(super) node: String,
    pub(super) lines: Vec<String>,
    /// Lines between the last one that is shown and the end; 0 follows the log.
    pub(super) back: usize,
}

/// The full screen.
#[derive(Debug, Default)]
pub(crate) struct Top {
    /// The last look, without its nodes.
    pub(super) sample: TopSample,
    pub(super) rows: Rows,
    /// Why the last look failed.
    pub(super) fault: Option<String>,
    pub(super) sort: Sort,
    pub(super) is_reversed: bool,
    /// The text that was typed, in lower case.
    pub(super) filter: String,
    /// The name of the selected node.
    pub(super) selected: Option<String>,
    pub(super) view: View,
    /// Rows of the middle at the last drawing, for the keys that turn pages.
    pub(super) height: usize,
}

impl Top {
    pub(crate) fn new(sample: TopSample) -> Self {
        let mut top = Self::default();
        top.take(Ok(sample));
        top
    }

    /// Takes the next look, or why there is none.
    pub(crate) fn take(&mut self, look: anyhow::Result<TopSample>) {
        match look {
            Ok(mut sample) => {
                self.rows.take(&mut sample);
                self.sample = sample;
                self.fault = None;
            }
            Err(error) => self.fault = Some(format!("{error:#}")),
        }
        self.keep_selection();
    }

    /// The node whose log is shown.
    pub(crate) fn log_node(&self) -> Option<&str> {
        match &self.view {
            View::Log(log) => Some(&log.node),
            _ => None,
        }
    }

    /// Takes lines of the log that is shown.
    pub(crate) fn take_lines(&mut self, lines: &[LogLine]) {
        let page = self.height.max(1);
        let View::Log(log) = &mut self.view else {
            return;
        };
        let text = |line: &LogLine| format!("{:7} | {}", line.source.name(), plain(&line.text));
        log.lines.extend(lines.iter().map(text));
        if log.back > 0 {
            // What is read stands still.
            log.back += lines.len();
        }
        let surplus = log.lines.len().saturating_sub(LINES);
        log.lines.drain(..surplus);
        log.back = log.back.min(log.lines.len().saturating_sub(page));
    }

    /// Leaves the log with a reason.
    pub(crate) fn leave_log(&mut self, why: &anyhow::Error) {
        self.view = View::Nodes;
        self.fault = Some(format!("{why:#}"));
    }

    /// The rows that the filter lets through, in their order.
    pub(super) fn shown(&self) -> Vec<&Row> {
        let mut rows: Vec<_> = self.rows.all.iter().filter(|r| self.passes(r)).collect();
        rows.sort_by(|a, b| self.sort.order(a, b));
        if self.is_reversed {
            rows.reverse();
        }
        rows
    }

    /// A row passes by a part of its name or of its state, or by a role or group.
    fn passes(&self, row: &Row) -> bool {
        let has = |text: &str| text.to_lowercase().contains(&self.filter);
        let node = &row.node;
        self.filter.is_empty()
            || has(&node.name)
            || has(&node.state)
            || node.groups.iter().any(|g| g.to_lowercase() == self.filter)
    }

    /// The place of the selected node among the shown rows.
    pub(super) fn place(&self) -> Option<usize> {
        let selected = self.selected.as_ref()?;
        self.shown().iter().position(|r| r.node.name == *selected)
    }

    /// Selects the first row when the selected one is gone.
    fn keep_selection(&mut self) {
        if self.place().is_none() {
            self.selected = self.shown().first().map(|r| r.node.name.clone());
        }
    }

    /// Obeys a key.
    pub(crate) fn obey(&mut self, input: Input) -> After {
        if input == Input::Break {
            return After::Interrupted;
        }
        match self.view {
            View::Nodes => self.obey_in_nodes(input),
            View::Filter => self.obey_in_filter(input),
            View::Log(_) => self.obey_in_log(input),
            View::Help if input == Input::Char('q') => After::Quit,
            View::Help if input != Input::Resize => self.show(View::Nodes),
            View::Help => After::GoOn,
        }
    }

    fn show(&mut self, view: View) -> After {
        self.view = view;
        After::GoOn
    }

    fn obey_in_nodes(&mut self, input: Input) -> After {
        match input {
            Input::Char('q') => return After::Quit,
            Input::Escape if self.filter.is_empty() => return After::Quit,
            Input::Escape => {
                self.filter.clear();
                self.keep_selection();
            }
            Input::Char('?' | 'h') => return self.show(View::Help),
            Input::Char('/' | 'f') => return self.show(View::Filter),
            Input::Char('s') => self.sort = self.sort.next(),
            Input::Char('r') => self.is_reversed = !self.is_reversed,
            Input::Char('k') | Input::Up => self.select(|at, _| at.saturating_sub(1)),
            Input::Char('j') | Input::Down => self.select(|at, _| at + 1),
            Input::PageUp => {
                let page = self.height.max(1);
                self.select(|at, _| at.saturating_sub(page));
            }
            Input::PageDown => {
                let page = self.height.max(1);
                self.select(|at, _| at + page);
            }
            Input::Home => self.select(|_, _| 0),
            Input::End => self.select(|_, last| last),
            Input::Enter | Input::Char('l') => {
                if let Some(node) = self.selected.clone() {
                    return self.show(View::Log(LogView {
                        node,
                        lines: Vec::new(),
                        back: 0,
                    }));
                }
            }
            Input::Char(key) => {
                if let Some(sort) = Sort::of_key(key) {
                    self.sort = sort;
                    self.is_reversed = false;
                }
            }
            _ => {}
        }
        After::GoOn
    }

    /// Selects another row by its place and the last one's.
    fn select(&mut self, to: impl Fn(usize, usize) -> usize) {
        let rows = self.shown();
        let last = rows.len().saturating_sub(1);
        let at = self.place().unwrap_or(0);
        let row = rows.get(to(at, last).min(last));
        self.selected = row.map(|r| r.node.name.clone());
    }

    fn obey_in_filter(&mut self, input: Input) -> After {
        match input {
            Input::Enter => self.view = View::Nodes,
            Input::Escape => {
                self.filter.clear();
                self.view = View::Nodes;
            }
            Input::Backspace => {
                self.filter.pop();
            }
            Input::Char(c) => self.filter.extend(c.to_lowercase()),
            Input::Up => self.select(|at, _| at.saturating_sub(1)),
            Input::Down => self.select(|at, _| at + 1),
            _ => {}
        }
        self.keep_selection();
        After::GoOn
    }

    fn obey_in_log(&mut self, input: Input) -> After {
        let page = self.height.max(1);
        let View::Log(log) = &mut self.view else {
            return After::GoOn;
        };
        let most = log.lines.len().saturating_sub(page);
        let back = match input {
            Input::Char('q') => return After::Quit,
            Input::Escape | Input::Enter | Input::Backspace => return self.show(View::Nodes),
            Input::Up | Input::Char('k') => log.back + 1,
            Input::Down | Input::Char('j') => log.back.saturating_sub(1),
            Input::PageUp => log.back + page,
            Input::PageDown => log.back.saturating_sub(page),
            Input::Home => most,
            Input::End => 0,
            _ => log.back,
        };
        log.back = back.min(most);
        After::GoOn
    }
}
