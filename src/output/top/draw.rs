//! Draws the full screen.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Cell, Paragraph, Row as Cells, Table, TableState};

use super::columns::{Column, bytes, known, percent};
use super::state::{LogView, Top, View};
use crate::hint::command;
use crate::output::count;
use crate::spec::approximate;

/// The keys, for the screen that explains them.
const HELP: &str = "  up, down, j, k    select a node; Page Up, Page Down, Home and End too
  Enter, l          show the node's log; Esc goes back
  /                 show only nodes with this text, role or group; Esc shows all
  c m t d n         order by CPU, real RAM, network, disk, name
  o                 the cluster's order
  s, r              the next order; reverse it
  q, Ctrl-C         quit

  CPU       cores of this host that the node keeps busy, 100% is one
  HISTORY   the share of its vcpus that were busy at the last looks
  RAM       what the guest has
  REAL      what of it is in this host's RAM
  SHARED    the part of REAL that it shares with other nodes
  PRIVATE   the part of REAL that is its own
  IN, OUT   bytes a second that the guest's NICs receive and send
  READ      bytes a second that its QEMU reads from this host's disks
  WRITE     bytes a second that it writes to them";

/// Draws everything. `is_colored`: with colours.
pub(super) fn draw(frame: &mut Frame<'_>, top: &mut Top, is_colored: bool) {
    let areas = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
    ]);
    let [title, host, nodes, middle, keys] = areas.areas(frame.area());
    let paint = Paint { is_colored };
    frame.render_widget(Paragraph::new(heading(top, paint)), title);
    frame.render_widget(Paragraph::new(host_line(top)), host);
    let line = match &top.fault {
        Some(fault) => Line::styled(format!("error: {fault}"), paint.of(Color::Red)),
        None => Line::raw(nodes_line(top)),
    };
    frame.render_widget(Paragraph::new(line), nodes);
    top.height = usize::from(middle.height).saturating_sub(1);
    match &top.view {
        View::Help => frame.render_widget(Paragraph::new(Text::raw(HELP)), middle),
        View::Log(log) => draw_log(frame, middle, log, paint),
        View::Nodes | View::Filter => draw_nodes(frame, middle, top, paint),
    }
    frame.render_widget(Paragraph::new(key_line(top, paint)), keys);
}

/// Styles, which have no colours where none are wanted.
#[derive(Debug, Clone, Copy)]
struct Paint {
    is_colored: bool,
}

impl Paint {
    fn of(self, color: Color) -> Style {
        match self.is_colored {
            true => Style::new().fg(color),
            false => Style::new(),
        }
    }

    fn bold() -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// Without the colours of what is drawn, which would be backgrounds of several colours.
    fn reversed() -> Style {
        let plain = Style::new().fg(Color::Reset);
        plain.add_modifier(Modifier::REVERSED)
    }

    /// As `status` paints states.
    fn state(self, state: &str) -> Style {
        match state {
            state if is_ready(state) => self.of(Color::Green),
            "stopped" | "stopped (by name)" => Style::new(),
            state if state.starts_with("stopped (") => self.of(Color::Red),
            _ => self.of(Color::Yellow),
        }
    }
}

/// Whether a node is ready, also with a word about its last end: `ready (3 s ago: …)`.
fn is_ready(state: &str) -> bool {
    state == "ready" || state.starts_with("ready (")
}

fn heading(top: &Top, paint: Paint) -> Line<'static> {
    let sample = &top.sample;
    let name = Span::styled(format!("cluster {}", sample.cluster), Paint::bold());
    let Some(phase) = &sample.phase else {
        return Line::from(vec![
            name,
            Span::raw(": "),
            Span::styled("there is no such cluster now", paint.of(Color::Yellow)),
        ]);
    };
    let rows = &top.rows.all;
    let ready = rows.iter().filter(|r| is_ready(&r.node.state)).count();
    let shown = top.shown().len();
    let filter = match top.filter.is_empty() {
        true => String::new(),
        false => format!(", {shown} shown"),
    };
    let keeper = match sample.keeper {
        true => Span::raw("keeper running"),
        false => Span::styled("keeper not running", paint.of(Color::Yellow)),
    };
    Line::from(vec![
        name,
        Span::raw(format!(
            ": {phase}, {}, {}, {ready} ready{filter}, ",
            sample.accelerator,
            count(rows.len(), "node"),
        )),
        keeper,
    ])
}

fn host_line(top: &Top) -> String {
    let host = &top.sample.host;
    let load = known(host.load.map(|l| format!("{l:.2}")));
    let free = known(host.available.map(approximate));
    let memory = known(host.memory.map(approximate));
    let cores = count(usize::try_from(host.cores).unwrap_or(0), "core");
    format!("host: load {load} on {cores}, {free} of {memory} RAM free")
}

/// What all nodes use together.
fn nodes_line(top: &Top) -> String {
    let total = top.rows.total();
    let usage = &total.node.usage;
    if top.rows.all.is_empty() {
        return String::new();
    }
    let rates = total.rates.map_or_else(String::new, |r| {
        format!(
            ", in {}/s, out {}/s, read {}/s, write {}/s",
            bytes(r.received),
            bytes(r.sent),
            bytes(r.read),
            bytes(r.written)
        )
    });
    format!(
        "nodes: CPU {}, RAM {}{rates}",
        known(usage.cpu.map(percent)),
        known(usage.pss.or(usage.rss).map(approximate)),
    )
}

fn draw_nodes(frame: &mut Frame<'_>, area: Rect, top: &Top, paint: Paint) {
    let rows = top.shown();
    if rows.is_empty() {
        let text = match (&top.sample.phase, top.filter.is_empty()) {
            (None, _) => {
                let up = command(&top.sample.cluster, "up");
                format!("it is looked for again and again; {up} creates it")
            }
            (_, false) => "no node has this text, role or group; Esc shows all".to_owned(),
            (_, true) => "the cluster has no nodes".to_owned(),
        };
        frame.render_widget(Paragraph::new(text), area);
        return;
    }
    let columns = Column::fitting(area.width, &rows);
    let widths: Vec<_> = columns
        .iter()
        .map(|(_, w)| Constraint::Length(*w))
        .collect();
    let head = columns.iter().map(|(column, _)| {
        let style = match top.sort.is_by(*column) {
            true => Paint::bold().add_modifier(Modifier::UNDERLINED),
            false => Paint::bold(),
        };
        cell(*column, column.heading().to_owned()).style(style)
    });
    let lines = rows.iter().map(|row| {
        Cells::new(columns.iter().map(|(column, width)| {
            let text = cell(*column, column.cell(row, *width));
            match column {
                Column::State => text.style(paint.state(&row.node.state)),
                Column::History => text.style(paint.of(Color::Cyan)),
                _ => text,
            }
        }))
    });
    let table = Table::new(lines, widths)
        .header(Cells::new(head))
        .row_highlight_style(Paint::reversed())
        .column_spacing(1);
    let mut state = TableState::new().with_selected(top.place());
    frame.render_stateful_widget(table, area, &mut state);
}

fn cell(column: Column, text: String) -> Cell<'static> {
    let alignment = match column.is_number() {
        true => Alignment::Right,
        false => Alignment::Left,
    };
    Cell::from(Text::from(text).alignment(alignment))
}

fn draw_log(frame: &mut Frame<'_>, area: Rect, log: &LogView, paint: Paint) {
    let [head, body] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
    let place = match log.back {
        0 => "the end, followed".to_owned(),
        back => format!("{} further down", count(back, "line")),
    };
    let head_line = format!(
        "log of {}: {}; {place}",
        log.node,
        count(log.lines.len(), "line")
    );
    frame.render_widget(Paragraph::new(Span::styled(head_line, Paint::bold())), head);
    let end = log.lines.len().saturating_sub(log.back);
    let begin = end.saturating_sub(usize::from(body.height));
    let shown = log.lines.get(begin..end).unwrap_or_default();
    let lines: Vec<_> = shown
        .iter()
        .map(|line| match line.strip_prefix("console") {
            Some(_) => Line::raw(line.as_str()),
            None => Line::styled(line.as_str(), paint.of(Color::Cyan)),
        })
        .collect();
    frame.render_widget(Paragraph::new(lines), body);
}

fn key_line(top: &Top, paint: Paint) -> Line<'static> {
    let keys: &[(&str, &str)] = match &top.view {
        View::Filter => {
            return Line::from(vec![
                Span::styled("filter: ", Paint::bold()),
                Span::raw(top.filter.clone()),
                Span::styled(" ", Paint::reversed()),
                Span::raw("  Enter keeps it, Esc shows all"),
            ]);
        }
        View::Help => &[("any key", "back"), ("q", "quit")],
        View::Log(_) => &[
            ("Esc", "back"),
            ("up/down", "scroll"),
            ("End", "follow"),
            ("q", "quit"),
        ],
        View::Nodes => &[
            ("q", "quit"),
            ("Enter", "log"),
            ("/", "filter"),
            ("c m t d n", "order"),
            ("r", "reverse"),
            ("?", "help"),
        ],
    };
    let mut spans = Vec::new();
    for (key, does) in keys {
        spans.push(Span::styled(
            (*key).to_owned(),
            paint.of(Color::Cyan).add_modifier(Modifier::BOLD),
        ));
        spans.push(Span::raw(format!(" {does}  ")));
    }
    if top.view == View::Nodes {
        let reversed = if top.is_reversed { ", reversed" } else { "" };
        spans.push(Span::raw(format!("by {}{reversed}", top.sort.name())));
        if !top.filter.is_empty() {
            spans.push(Span::raw(format!(", filter `{}`", top.filter)));
        }
    }
    Line::from(spans)
}
