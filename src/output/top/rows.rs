//! The nodes as rows, with rates between two looks and a history.

use std::collections::{BTreeMap, VecDeque};

use crate::model::{TopNode, TopSample, Traffic};

/// Looks that the history remembers.
pub(super) const HISTORY: usize = 60;

/// A node with what it does now.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Row {
    pub(super) node: TopNode,
    /// Bytes a second; `None` until the same QEMU was seen twice.
    pub(super) rates: Option<Rates>,
    /// Shares of its vcpus that were busy at the last looks, the newest last.
    pub(super) history: Vec<f64>,
}

/// Bytes a second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) received: f64,
    pub(super) sent: f64,
    pub(super) read: f64,
    pub(super) written: f64,
}

impl Rates {
    fn between(before: Traffic, now: Traffic, seconds: f64) -> Option<Self> {
        let rate = |was: u64, is: u64| is.saturating_sub(was) as f64 / seconds;
        (seconds > 0.0).then(|| Self {
            received: rate(before.received, now.received),
            sent: rate(before.sent, now.sent),
            read: rate(before.read, now.read),
            written: rate(before.written, now.written),
        })
    }

    fn plus(self, other: Self) -> Self {
        Self {
            received: self.received + other.received,
            sent: self.sent + other.sent,
            read: self.read + other.read,
            written: self.written + other.written,
        }
    }
}

/// The rows of the last look.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) all: Vec<Row>,
    /// The shares of each QEMU's vcpus.
    history: BTreeMap<(String, i32), VecDeque<f64>>,
    time: f64,
}

impl Rows {
    /// Replaces the rows by those of the next look.
    pub(super) fn take(&mut self, sample: &mut TopSample) {
        let seconds = sample.time - self.time;
        let before = std::mem::take(&mut self.all);
        for mut node in std::mem::take(&mut sample.nodes) {
            let same = |r: &&Row| r.node.name == node.name && r.node.pid == node.pid;
            let before = before.iter().find(same).map(|r| &r.node);
            if let Some(before) = before {
                node.usage.count_since(&before.usage);
            }
            let traffic = before.and_then(|b| b.traffic).zip(node.traffic);
            let rates = traffic.and_then(|(was, is)| Rates::between(was, is, seconds));
            let history = self.remember(&node);
            self.all.push(Row {
                node,
                rates,
                history,
            });
        }
        self.time = sample.time;
        let all = &self.all;
        let is_there = |key: &(String, i32)| {
            all.iter()
                .any(|r| r.node.name == key.0 && r.node.pid == Some(key.1))
        };
        self.history.retain(|key, _| is_there(key));
    }

    fn remember(&mut self, node: &TopNode) -> Vec<f64> {
        let Some(pid) = node.pid else {
            return Vec::new();
        };
        let history = self.history.entry((node.name.clone(), pid)).or_default();
        if let Some(cpu) = node.usage.cpu {
            history.push_back(cpu / f64::from(node.vcpus.max(1)));
        }
        while history.len() > HISTORY {
            history.pop_front();
        }
        history.iter().copied().collect()
    }

    /// The sum of all nodes.
    pub(super) fn total(&self) -> Row {
        let mut total = Row::default();
        let plus = |sum: &mut Option<u64>, more: Option<u64>| {
            if let Some(more) = more {
                *sum = Some(sum.unwrap_or(0) + more);
            }
        };
        for row in &self.all {
            let (sum, usage) = (&mut total.node.usage, &row.node.usage);
            plus(&mut sum.rss, usage.rss);
            plus(&mut sum.pss, usage.pss);
            plus(&mut sum.private, usage.private);
            if let Some(cpu) = usage.cpu {
                sum.cpu = Some(sum.cpu.unwrap_or(0.0) + cpu);
            }
            if let Some(rates) = row.rates {
                total.rates = Some(total.rates.unwrap_or_default().plus(rates));
            }
        }
        total
    }
}
