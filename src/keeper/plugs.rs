//! The host's side of the nodes' networks: bridges, ports, routes. Restores what another program changed.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Error;
use kvmc_netns::{Detour, Link, LinkError, Links, TapSpec};
use tokio::time::Instant;

use crate::hint::find;
use crate::model::Fault;
use crate::network::{Restored, bridge};
use crate::node::tap;
use crate::state::{ClusterRecord, NodeRecord};

/// So many repairs of a thing in this time are made at once; the next ones wait, longer each time.
const AT_ONCE: u32 = 3;
const SOON: Duration = Duration::from_secs(60);
const FIRST: Duration = Duration::from_secs(5);

/// The repairs so far, by the name of what was repaired.
#[derive(Debug, Default)]
pub(super) struct Repairs(BTreeMap<String, Repaired>);

#[derive(Debug)]
struct Repaired {
    at: Instant,
    times: u32,
    wait: Duration,
}

impl Repairs {
    /// Whether something may be repaired now. Another program that undoes repairs is not fought with.
    fn may(&self, what: &str, now: Instant) -> bool {
        self.0
            .get(what)
            .is_none_or(|last| now >= last.at + last.wait)
    }

    fn note(&mut self, what: &str, now: Instant) {
        let before = self.0.get(what);
        let before = before.filter(|last| now < last.at + last.wait + SOON);
        let times = before.map_or(1, |last| last.times.saturating_add(1));
        let wait = match before.map_or(Duration::ZERO, |last| last.wait) {
            _ if times < AT_ONCE => Duration::ZERO,
            Duration::ZERO => FIRST,
            wait => (2 * wait).min(SOON),
        };
        let at = now;
        self.0.insert(what.to_owned(), Repaired { at, times, wait });
    }
}

/// What a look found and did.
#[derive(Debug, Default)]
pub(super) struct Plugs {
    /// The faults that stay, by node.
    pub(super) faults: BTreeMap<String, Vec<Fault>>,
    /// What was restored, in words.
    pub(super) restored: Vec<String>,
    /// Bridges that are gone.
    pub(super) gone: Vec<String>,
    /// The first error of a repair.
    pub(super) problem: Option<Error>,
}

/// Looks at the bridges, and at the ports of `running` nodes.
pub(super) async fn look(
    record: &ClusterRecord,
    running: &[&NodeRecord],
    links: &Links,
    repairs: &mut Repairs,
) -> Result<Plugs, LinkError> {
    let mut plugs = Plugs::default();
    for network in record.networks() {
        let now = Instant::now();
        if !repairs.may(&network.bridge, now) {
            continue;
        }
        match bridge::restore(network, links).await {
            Ok(None) => plugs.gone.push(network.bridge.clone()),
            Ok(Some(restored)) if !restored.is_empty() => {
                repairs.note(&network.bridge, now);
                plugs.restored.extend(restored);
            }
            Ok(Some(_)) => {}
            Err(error) => {
                // What does not hold is tried again more rarely, too.
                repairs.note(&network.bridge, now);
                // A bridge that is another's by now is told by its ports, and by `status` itself.
                let is_foreign = find::<LinkError>(&error)
                    .is_some_and(|e| matches!(e, LinkError::Foreign { .. }));
                if !is_foreign {
                    plugs.problem.get_or_insert(error);
                }
            }
        }
    }
    let all = links.list().await?;
    for node in running {
        for (network, nic) in record.nics(node) {
            let spec = tap(network, nic);
            let Some(what) = spec.difference(&all) else {
                continue;
            };
            match restore_port(&spec, &all, links, repairs).await {
                Ok(()) => plugs
                    .restored
                    .push(format!("the port {} of {}", spec.name, spec.bridge)),
                Err(more) => plugs
                    .faults
                    .entry(node.name.clone())
                    .or_default()
                    .push(Fault::Port {
                        tap: spec.name,
                        bridge: spec.bridge,
                        what: format!("{what}{more}"),
                    }),
            }
        }
    }
    Ok(plugs)
}

/// Restores a port, or says why not.
async fn restore_port(
    spec: &TapSpec,
    all: &[Link],
    links: &Links,
    repairs: &mut Repairs,
) -> Result<(), String> {
    let now = Instant::now();
    if ![&spec.bridge, &spec.name]
        .iter()
        .all(|name| all.iter().any(|l| l.name == **name))
    {
        return Err(String::new());
    }
    if !repairs.may(&spec.name, now) {
        return Err(", and another program undoes each repair".to_owned());
    }
    repairs.note(&spec.name, now);
    let restored = links.restore_tap(spec).await;
    restored.map_err(|e| format!("; it cannot be restored: {:#}", anyhow::Error::from(e)))
}

/// The indexes of the bridges that there are, by name.
pub(super) async fn bridges(
    record: &ClusterRecord,
    links: &Links,
) -> Result<BTreeMap<String, u32>, LinkError> {
    let mut all = BTreeMap::new();
    for network in record.networks() {
        if let Some(link) = links.find(&network.bridge).await? {
            all.insert(network.bridge.clone(), link.index);
        }
    }
    Ok(all)
}

/// How packets to a node's addresses miss their bridges.
pub(super) async fn detours(
    record: &ClusterRecord,
    node: &NodeRecord,
    bridges: &BTreeMap<String, u32>,
    links: &Links,
) -> Result<Vec<Fault>, LinkError> {
    let mut faults = Vec::new();
    for (network, nic) in record.nics(node) {
        let Some(bridge) = bridges.get(&network.bridge) else {
            continue;
        };
        let sixth = network.address6(nic.mac).map(Into::into);
        for address in [Some(nic.address.into()), sixth].into_iter().flatten() {
            if let Some(detour) = links.detour(address, *bridge).await? {
                faults.push(fault(address, &network.bridge, &detour));
            }
        }
    }
    Ok(faults)
}

fn fault(address: std::net::IpAddr, bridge: &str, detour: &Detour) -> Fault {
    Fault::Route {
        address,
        bridge: bridge.to_owned(),
        way: detour.to_string(),
        rule: detour.rule.as_ref().map(|rule| rule.priority),
        table: detour.table,
        destination: detour.route.map(|route| route.to_string()),
    }
}

/// Adds a repair to those before.
pub(super) fn counted(before: Option<Restored>, what: Vec<String>, now: u64) -> Restored {
    Restored {
        time: now,
        times: before.map_or(0, |b| b.times) + 1,
        what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repairs_that_are_undone_become_rarer_and_others_do_not() {
        let mut repairs = Repairs::default();
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..8 {
            assert!(repairs.may("a", now));
            repairs.note("a", now);
            let wait = repairs.0["a"].wait;
            assert_eq!(repairs.may("a", now), wait.is_zero());
            assert!(repairs.may("b", now));
            waits.push(wait.as_secs());
            now += wait;
        }
        assert_eq!(waits, [0, 0, 5, 10, 20, 40, 60, 60]);
        now += 3 * SOON;
        repairs.note("a", now);
        assert!(repairs.may("a", now));
    }
}
