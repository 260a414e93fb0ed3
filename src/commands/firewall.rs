//! What `up` and `status` say of the host's firewalls.

use anyhow::{Result, bail};
use kvmc_netns::Links;
use kvmc_netns::firewall::Obstacle;
use serde_json::{Value, json};

use crate::network::accepts::{Made, Restored};
use crate::network::{self, NetworkState};
use crate::output;
use crate::state::{ClusterDir, ClusterRecord, Phase};

/// Refuses to make a network that is dead from the start; where nodes run already, or where it is not
/// certain, warns.
///
/// # Errors
/// All that is in the way, each with its table, chain and policy and what to do.
pub(super) fn check(obstacles: &[Obstacle], existing: Option<&ClusterRecord>) -> Result<()> {
    let runs = existing.is_some_and(|r| r.phase != Phase::Stopped);
    let (refused, warned): (Vec<_>, Vec<_>) = obstacles.iter().partition(|o| o.certain && !runs);
    for obstacle in warned {
        output::talk(&format!("warning: {obstacle}"));
    }
    if refused.is_empty() {
        return Ok(());
    }
    let refused: Vec<_> = refused.iter().map(ToString::to_string).collect();
    bail!("{}", refused.join("\n       "))
}

/// The rules of a cluster, as they are; none of one that has no network now, or when rules cannot be seen,
/// as by an ordinary user.
pub(super) async fn look(record: &ClusterRecord, links: &Links) -> Option<NetworkState> {
    if record.phase == Phase::Stopped || crate::network::check_namespace(record).is_err() {
        return None;
    }
    network::look(record, links).await.ok()
}

/// What there is to say of a cluster's rules.
#[derive(Debug)]
pub(super) struct View {
    missing: Vec<String>,
    obstacles: Vec<String>,
    among_others: Vec<String>,
    restored: Option<Restored>,
}

impl View {
    pub(super) fn of(seen: &NetworkState, dir: &ClusterDir) -> Self {
        let made = Made::load(dir).unwrap_or_default();
        Self {
            missing: seen.missing(),
            obstacles: seen.obstacles.iter().map(ToString::to_string).collect(),
            among_others: made.accepts.iter().map(ToString::to_string).collect(),
            restored: made.restored,
        }
    }

    /// What is worth a line; `ago` tells how long ago a time was, as the beginning of a sentence.
    pub(super) fn lines(&self, ago: &dyn Fn(Option<f64>) -> String) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.missing.is_empty() {
            lines.push(format!(
                "firewall: {} missing; the keeper puts them back, and so does `kvmc up`",
                self.missing.join(", ")
            ));
        }
        lines.extend(self.obstacles.iter().map(|o| format!("firewall: {o}")));
        if let Some(Restored { time, times, what }) = &self.restored {
            let again = if *times > 1 {
                format!(" ({times} times so far)")
            } else {
                String::new()
            };
            lines.push(format!(
                "firewall: {}another program took away what the keeper put back: {}{again}",
                ago(Some(*time as f64)),
                what.join(", ")
            ));
        }
        lines
    }

    pub(super) fn as_json(&self) -> Value {
        json!({
            "missing": self.missing, "obstacles": self.obstacles,
            "among_others": self.among_others, "restored": self.restored,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn obstacle(certain: bool) -> Obstacle {
        Obstacle {
            place: "the nft table inet filter, chain forward (policy drop)".to_owned(),
            packets: vec!["from the nodes to the outside"],
            cure: "let them through".to_owned(),
            certain,
        }
    }

    #[test]
    fn a_network_that_would_be_dead_is_refused_unless_nodes_run_or_it_may_live() {
        let error = check(&[obstacle(true)], None).unwrap_err().to_string();
        assert!(error.contains("chain forward (policy drop)"), "{error}");
        assert!(check(&[obstacle(false)], None).is_ok());
        let mut record = crate::cluster::tests::record();
        record.phase = Phase::Up;
        assert!(check(&[obstacle(true)], Some(&record)).is_ok());
    }

    #[test]
    fn whole_rules_are_no_line_and_lost_ones_are() {
        let mut view = View {
            missing: Vec::new(),
            obstacles: Vec::new(),
            among_others: vec!["DOCKER-USER of iptables (nft)".to_owned()],
            restored: None,
        };
        assert!(view.lines(&|_| String::new()).is_empty());
        view.missing = vec!["NAT rules (nft table inet kvmc_k80)".to_owned()];
        view.restored = Some(Restored {
            time: 1,
            times: 2,
            what: vec!["net.ipv4.ip_forward".to_owned()],
        });
        let lines = view.lines(&|_| "3 s ago: ".to_owned());
        assert!(lines[0].starts_with("firewall: NAT rules (nft table inet kvmc_k80) missing;"));
        assert!(lines[1].contains("3 s ago: another program took away"));
    }
}
