//! A cluster's status as text and as JSON.

use anyhow::Result;

use super::{data, json, table};
use crate::ids::ago;
use crate::model::{ClusterStatus, FirewallStatus, NodeStatus, RestoredStatus, VitalsStatus};
use crate::spec::Bytes;

/// Prints the status as text or as JSON.
///
/// # Errors
/// Fails if JSON cannot represent a value.
pub(crate) fn status(status: &ClusterStatus, as_json: bool) -> Result<()> {
    if as_json {
        return json(status);
    }
    data(&text(status));
    Ok(())
}

pub(super) fn text(status: &ClusterStatus) -> String {
    let mut text = heading(status);
    let firewall = status.firewall.iter().flat_map(firewall_lines);
    for line in firewall.chain(status.doubts_below()) {
        text += &format!("{line}\n");
    }
    text + &nodes(status)
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
    format!(
        "cluster {name} on {bridge} ({subnet}), {}, keeper {keeper}\n",
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

fn nodes(status: &ClusterStatus) -> String {
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
    // These disturb a guest's own timeouts, see docs/EMULATION.md.
    let is_emulated = status.accelerator.as_ref().is_some_and(|a| !a.is_kvm());
    let rows: Vec<_> = status
        .nodes
        .iter()
        .map(|node| {
            let mut cells = vec![node.name.clone(), node.state.clone()];
            if let Some(machine) = &node.machine {
                cells.extend([
                    machine.address.to_string(),
                    machine.vcpus.to_string(),
                    Bytes(machine.ram).to_string(),
                    Bytes(machine.disk).to_string(),
                ]);
            }
            if is_emulated {
                cells.extend(vitals(&node.vitals));
            }
            cells
        })
        .collect();
    let mut headings = vec!["NODE", "STATE", "ADDRESS", "VCPUS", "RAM", "DISK"];
    if is_emulated {
        headings.extend(["STEAL", "DRIFT"]);
    }
    table(&headings, &rows)
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
    if let Some(RestoredStatus { time, times, what }) = &status.restored {
        let again = if *times > 1 {
            format!(" ({times} times so far)")
        } else {
            String::new()
        };
        lines.push(format!(
            "firewall: {}: the keeper restored {}{again}",
            ago(*time as f64),
            what.join(", ")
        ));
    }
    lines
}

/// The two cells for steal and drift.
fn vitals(vitals: &VitalsStatus) -> [String; 2] {
    let unknown = || "-".to_owned();
    let steal = vitals
        .steal
        .map_or_else(unknown, |s| format!("{:.0}%", s * 100.0));
    let drift = match (vitals.clock_drift, vitals.clock_drift_error) {
        // A difference within the error of the measurement is not drift.
        (Some(drift), Some(error)) if drift.abs() <= error => {
            format!("<{:.2} s", error.max(0.01))
        }
        (Some(drift), _) => format!("{drift:+.2} s"),
        (None, _) => unknown(),
    };
    [steal, drift]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::now;

    fn drift(drift: f64, error: f64) -> String {
        let [_, cell] = vitals(&VitalsStatus {
            clock_drift: Some(drift),
            clock_drift_error: Some(error),
            ..VitalsStatus::default()
        });
        cell
    }

    #[test]
    fn a_drift_within_the_error_of_asking_is_shown_as_a_bound() {
        assert_eq!(drift(0.004, 0.03), "<0.03 s");
        assert_eq!(drift(-0.004, 0.005), "<0.01 s");
        assert_eq!(drift(-2.5, 0.03), "-2.50 s");
        assert_eq!(drift(0.5, 0.03), "+0.50 s");
    }

    #[test]
    fn an_unknown_value_is_not_shown_as_zero() {
        assert_eq!(vitals(&VitalsStatus::default()), ["-", "-"]);
        let steal = VitalsStatus {
            steal: Some(0.256),
            ..VitalsStatus::default()
        };
        assert_eq!(vitals(&steal)[0], "26%");
    }

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
