//! The columns of the full screen, and the orders of its rows.

use std::cmp::Ordering;

use super::rows::{Rates, Row};
use crate::spec::{Bytes, approximate};

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Node,
    State,
    Cpu,
    History,
    Ram,
    Real,
    Shared,
    Private,
    In,
    Out,
    Read,
    Write,
}

/// Most bars of a history.
const LONGEST: u16 = 40;

/// All columns in their order.
const ALL: [Column; 12] = {
    use Column::{Cpu, History, In, Node, Out, Private, Ram, Read, Real, Shared, State, Write};
    [
        Node, State, Cpu, History, Ram, Real, Shared, Private, In, Out, Read, Write,
    ]
};

/// The columns that a narrow window leaves out, the first one first.
const LEFT_OUT: [Column; 9] = {
    use Column::{History, In, Out, Private, Ram, Read, Shared, State, Write};
    [Ram, History, Private, Shared, Write, Read, Out, In, State]
};

impl Column {
    /// The columns that fit into a width, with the width of each.
    pub(super) fn fitting(width: u16, rows: &[&Row]) -> Vec<(Self, u16)> {
        let mut columns: Vec<_> = ALL.iter().map(|c| (*c, c.width(rows))).collect();
        for left_out in LEFT_OUT {
            let needed: u16 = columns.iter().map(|(_, w)| w + 1).sum();
            if needed <= width + 1 {
                break;
            }
            columns.retain(|(column, _)| *column != left_out);
        }
        let needed: u16 = columns.iter().map(|(_, w)| w + 1).sum();
        for (column, own) in &mut columns {
            if *column == Self::History {
                *own = (*own + (width + 1).saturating_sub(needed)).min(LONGEST);
            }
        }
        columns
    }

    fn width(self, rows: &[&Row]) -> u16 {
        let of = |text: fn(&Row) -> &str, least: usize, most: usize| {
            let longest = rows.iter().map(|r| text(r).chars().count()).max();
            let width = longest.unwrap_or(0).clamp(least, most);
            u16::try_from(width).unwrap_or(u16::MAX)
        };
        match self {
            Self::Node => of(|r| &r.node.name, 6, 24),
            Self::State => of(|r| &r.node.state, 5, 20),
            Self::Cpu | Self::Ram => 5,
            Self::Real | Self::Shared => 6,
            Self::Private | Self::In | Self::Out | Self::Read | Self::Write => 7,
            Self::History => 10,
        }
    }

    /// Whether its cells are numbers, which stand at the right.
    pub(super) const fn is_number(self) -> bool {
        !matches!(self, Self::Node | Self::State | Self::History)
    }

    pub(super) const fn heading(self) -> &'static str {
        match self {
            Self::Node => "NODE",
            Self::State => "STATE",
            Self::Cpu => "CPU",
            Self::History => "HISTORY",
            Self::Ram => "RAM",
            Self::Real => "REAL",
            Self::Shared => "SHARED",
            Self::Private => "PRIVATE",
            Self::In => "IN/s",
            Self::Out => "OUT/s",
            Self::Read => "READ/s",
            Self::Write => "WRITE/s",
        }
    }

    /// The text of a cell of some width.
    pub(super) fn cell(self, row: &Row, width: u16) -> String {
        let (node, usage) = (&row.node, &row.node.usage);
        let rate = |of: fn(Rates) -> f64| known(row.rates.map(|r| bytes(of(r))));
        match self {
            Self::Node => node.name.clone(),
            Self::State => node.state.clone(),
            Self::Cpu => known(usage.cpu.map(percent)),
            Self::History => spark(&row.history, usize::from(width)),
            Self::Ram => Bytes(node.ram).to_string(),
            Self::Real => known(usage.rss.map(approximate)),
            Self::Shared => known(usage.shared.map(approximate)),
            Self::Private => known(usage.private.map(approximate)),
            Self::In => rate(|r| r.received),
            Self::Out => rate(|r| r.sent),
            Self::Read => rate(|r| r.read),
            Self::Write => rate(|r| r.written),
        }
    }
}

/// An unknown value is not shown as zero.
pub(super) fn known(value: Option<String>) -> String {
    value.unwrap_or_else(|| "-".to_owned())
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

/// Bytes of a rate.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate to look at"
)]
pub(super) fn bytes(rate: f64) -> String {
    if rate < 1.0 {
        return "0".to_owned();
    }
    approximate(rate.max(0.0).round() as u64)
}

/// The last shares as bars of eighths, one character each.
fn spark(history: &[f64], width: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let shown = history.get(history.len().saturating_sub(width)..);
    let bar = |share: &f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share between 0 and 1"
        )]
        let height = (share.clamp(0.0, 1.0) * 7.0).round() as usize;
        BARS.get(height).copied().unwrap_or(' ')
    };
    shown.unwrap_or_default().iter().map(bar).collect()
}

/// By what the rows are ordered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// The cluster's own order.
    #[default]
    Cluster,
    Name,
    Cpu,
    Memory,
    Network,
    Disk,
}

impl Sort {
    pub(super) const fn of_key(key: char) -> Option<Self> {
        Some(match key {
            'o' => Self::Cluster,
            'n' => Self::Name,
            'c' => Self::Cpu,
            'm' => Self::Memory,
            't' => Self::Network,
            'd' => Self::Disk,
            _ => return None,
        })
    }

    /// The next one, round and round.
    pub(super) const fn next(self) -> Self {
        match self {
            Self::Cluster => Self::Name,
            Self::Name => Self::Cpu,
            Self::Cpu => Self::Memory,
            Self::Memory => Self::Network,
            Self::Network => Self::Disk,
            Self::Disk => Self::Cluster,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Cluster => "the cluster's order",
            Self::Name => "name",
            Self::Cpu => "CPU",
            Self::Memory => "real RAM",
            Self::Network => "network",
            Self::Disk => "disk",
        }
    }

    /// Whether the heading of a column is what it goes by.
    pub(super) const fn is_by(self, column: Column) -> bool {
        matches!(
            (self, column),
            (Self::Name, Column::Node)
                | (Self::Cpu, Column::Cpu)
                | (Self::Memory, Column::Real)
                | (Self::Network, Column::In | Column::Out)
                | (Self::Disk, Column::Read | Column::Write)
        )
    }

    /// Names go upward, and uses downward.
    pub(super) fn order(self, a: &Row, b: &Row) -> Ordering {
        let by = |of: &dyn Fn(&Row) -> f64| of(b).total_cmp(&of(a));
        let rate = |of: fn(Rates) -> f64| move |r: &Row| r.rates.map_or(-1.0, of);
        match self {
            Self::Cluster => Ordering::Equal,
            Self::Name => a.node.name.cmp(&b.node.name),
            Self::Cpu => by(&|r| r.node.usage.cpu.unwrap_or(-1.0)),
            Self::Memory => b.node.usage.rss.cmp(&a.node.usage.rss),
            Self::Network => by(&rate(|r| r.received + r.sent)),
            Self::Disk => by(&rate(|r| r.read + r.written)),
        }
    }
}
