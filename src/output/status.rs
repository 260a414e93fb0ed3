//! A cluster's status as text and as JSON.

use anyhow::Result;

use super::usage::Column;
use super::{Stream, data, is_colored, json_text, states_in_color, table};
use crate::ids::{ago, now};
use crate::model::{ClusterStatus, FirewallStatus, NodeStatus, RestoredStatus, TieKind, TieStatus};

/// Prints the status as text or as JSON.
///
/// # Errors
/// Fails if JSON cannot represent a value.
pub(crate) fn status(status: &ClusterStatus, as_json: bool, wide: bool) -> Result<()> {
    data(&status_text(status, as_json, wide)?);
    Ok(())
}

/// The status as text or as JSON. With `wide`, the table has every column.
///
/// # Errors
/// Fails if JSON cannot represent a value.
pub(crate) fn status_text(status: &ClusterStatus, as_json: bool, wide: bool) -> Result<String> {
    if as_json {
        return json_text(status);
    }
    Ok(text(status, wide))
}

pub(super) fn text(status: &ClusterStatus, wide: bool) -> String {
    let mut text = heading(status);
    let firewall = status.firewall.iter().flat_map(firewall_lines);
    let restored = status.links_restored.as_ref().filter(|r| is_late(r));
    let restored = restored.map(|r| restored_line("network", r));
    let ties = status.ties.iter().map(tie_line);
    for line in firewall
        .chain(restored)
        .chain(ties)
        .chain(status.doubts_below())
    {
        text += &format!("{line}\n");
    }
    text + &nodes(status, wide)
}

fn tie_line(tie: &TieStatus) -> String {
    let kind = match tie.kind {
        TieKind::Mount => "mounted",
        TieKind::Share => "shared",
    };
    let how = if tie.read_only { ", read only" } else { "" };
    format!("{kind}: {tie}{how}, {}", tie.state)
}

fn heading(status: &ClusterStatus) -> String {
    let name = &status.cluster;
    let (Some(bridge), Some(subnet), Some(accelerator)) =
        (&status.bridge, &status.subnet, &status.accelerator)
    else {
        return format!("cluster {name}: {}\n", status.doubts.join("; "));
    };
    let keeper = if status.keeper {
        "running"
    } else {
        "not running"
    };
    let suspended = match status.suspended {
        true => ", suspended",
        false => "",
    };
    let fork = status.fork_of.as_ref();
    let fork = fork.map_or_else(String::new, |of| format!(", fork of {of}"));
    let snapshot = status.snapshot.as_ref();
    let snapshot = snapshot.map_or_else(String::new, |name| format!("snapshot: {name}\n"));
    format!(
        "cluster {name} on {bridge} ({subnet}), {}, keeper {keeper}{suspended}{fork}\n{snapshot}",
        accelerator.name()
    )
}

impl ClusterStatus {
    /// The doubts that the heading does not show. Without a record, also what was seen of the cluster.
    fn doubts_below(&self) -> Vec<String> {
        if self.accelerator.is_some() {
            return self.doubts.iter().map(|d| format!("  {d}")).collect();
        }
        if self.nodes.is_empty() && !self.keeper && self.bridges.is_empty() {
            return vec!["  this host shows no trace of it".to_owned()];
        }
        let bridges = self.bridges.iter();
        let mut seen: Vec<_> = bridges.map(|b| format!("  seen: the bridge {b}")).collect();
        if self.keeper {
            seen.push("  seen: a keeper".to_owned());
        }
        seen
    }
}

fn nodes(status: &ClusterStatus, wide: bool) -> String {
    if status.nodes.is_empty() {
        return String::new();
    }
    if status.accelerator.is_none() {
        let row = |n: &NodeStatus| {
            let pid = n
                .pid
                .map_or_else(String::new, |pid| format!(" (pid {pid})"));
            vec![n.name.clone(), format!("{}{pid}", n.state)]
        };
        let rows: Vec<_> = status.nodes.iter().map(row).collect();
        return table(&["NODE", "STATE"], &rows);
    }
    let is_emulated = status.accelerator.as_ref().is_some_and(|a| !a.is_kvm());
    let columns = Column::of(is_emulated, wide);
    let cells = |node: &NodeStatus| columns.iter().map(|c| c.cell(node)).collect();
    let rows: Vec<_> = status.nodes.iter().map(cells).collect();
    let headings: Vec<_> = columns.iter().map(|c| c.heading()).collect();
    let text = table(&headings, &rows);
    if is_colored(Stream::Out) {
        states_in_color(&text, &status.nodes)
    } else {
        text
    }
}

/// The firewall findings that deserve a line.
fn firewall_lines(status: &FirewallStatus) -> Vec<String> {
    let mut lines = Vec::new();
    if !status.missing.is_empty() {
        lines.push(format!(
            "firewall: {} missing; the keeper and `up` restore them",
            status.missing.join(", ")
        ));
    }
    lines.extend(status.obstacles.iter().map(|o| format!("firewall: {o}")));
    lines.extend(
        status
            .restored
            .as_ref()
            .map(|r| restored_line("firewall", r)),
    );
    lines
}

fn restored_line(of: &str, restored: &RestoredStatus) -> String {
    let RestoredStatus { time, times, what } = restored;
    let again = if *times > 1 {
        format!(" ({times} times so far)")
    } else {
        String::new()
    };
    let ago = ago(*time as f64);
    format!(
        "{of}: {ago}: the keeper restored {}{again}",
        what.join(", ")
    )
}

/// Whether a repair is recent enough to be worth a line.
fn is_late(restored: &RestoredStatus) -> bool {
    const LATELY: f64 = 600.0;
    now() - restored.time as f64 <= LATELY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_missing_or_repaired_rules_are_listed() {
        let mut view = FirewallStatus {
            among_others: vec!["DOCKER-USER of iptables (nft)".to_owned()],
            ..FirewallStatus::default()
        };
        assert!(firewall_lines(&view).is_empty());
        view.missing = vec!["NAT rules (nft table inet kvmc_k80)".to_owned()];
        view.restored = Some(RestoredStatus {
            time: now() as u64 - 3,
            times: 2,
            what: vec!["net.ipv4.ip_forward".to_owned()],
        });
        let lines = firewall_lines(&view);
        assert!(lines[0].starts_with("firewall: NAT rules (nft table inet kvmc_k80) missing;"));
        assert!(
            lines[1].contains("ago: the keeper restored net.ipv4.ip_forward (2 times so far)"),
            "{lines:?}"
        );
    }
}
