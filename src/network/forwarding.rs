//! The host's own switches that nodes need on: that it routes, IPv4 and IPv6. What they were before the
//! first cluster is kept beside the clusters, since the first to come is not always the last to go.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context, Result};
use kvmc_netns::firewall::{self, OwnNames};
use kvmc_netns::sysctl;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::namespace::namespace;
use crate::failpoint::failpoint;
use crate::ids::boot_id;
use crate::state::{ClusterRecord, Found, Phase, State, read_json, remove_file, replace_json};

const IPV4: &str = "net.ipv4.ip_forward";
const IPV6: &str = "net.ipv6.conf.all.forwarding";
const LINKS6: &str = "/proc/sys/net/ipv6/conf";

/// Which of the two switches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// What was on the host before there was a cluster, in one network namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Before {
    namespace: u64,
    boot_id: String,
    /// IPv4 forwarding was off.
    ipv4_was_off: bool,
    /// IPv6 forwarding was off; with it, what of the links was changed.
    ipv6_was_off: Option<Links6>,
    /// Who else would forward when it was switched on, and lived without it.
    #[serde(
        default,
        rename = "translated",
        skip_serializing_if = "BTreeSet::is_empty"
    )]
    forwarders: BTreeSet<String>,
}

/// Links whose IPv6 settings the switch changes along.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Links6 {
    /// Those that follow router advertisements as hosts do (`accept_ra` 1): a router does not, unless it
    /// is told to with 2, and would lose its default route on the spot.
    hosts: Vec<String>,
    /// Those that forwarded already.
    routers: Vec<String>,
}

/// IPv6 settings of one link.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Link6 {
    name: String,
    accept_ra: String,
    forwarding: String,
}

/// Whether the host routes.
pub(crate) fn is_on(family: Family) -> Result<bool> {
    let name = match family {
        Family::V4 => IPV4,
        Family::V6 => IPV6,
    };
    Ok(sysctl::read(name)?.as_deref() == Some("1"))
}

/// Switches routing on, and remembers that it was off.
///
/// # Errors
/// The system's: /proc/sys may be read-only in a container.
pub(crate) fn enable(state: &State, family: Family) -> Result<()> {
    if is_on(family)? {
        return Ok(());
    }
    let mut memory = Memory::open(state)?;
    // Another cluster may have been first while this one waited.
    if is_on(family)? {
        return Ok(());
    }
    let there = forwarders(state)?;
    let before = memory.here()?;
    before.forwarders.extend(there);
    match family {
        Family::V4 => before.ipv4_was_off = true,
        // Of one that was killed half-way the links are known, and may be changed already.
        Family::V6 if before.ipv6_was_off.is_some() => {}
        Family::V6 => before.ipv6_was_off = Some(changed_along(&links6()?)),
    }
    let hosts = before
        .ipv6_was_off
        .as_ref()
        .map(|links| links.hosts.clone())
        .unwrap_or_default();
    memory.save()?;
    failpoint!("up.forwarding.recorded");
    match family {
        Family::V4 => sysctl::write(IPV4, "1")?,
        Family::V6 => {
            for link in hosts {
                set_accept_ra(&link, "1", "2")?;
            }
            sysctl::write(IPV6, "1")?
        }
    };
    Ok(())
}

/// Makes the switches what they were, unless another cluster needs them, or somebody came to live by
/// them meanwhile: then they stay on, and the answer says why. What others have come to rely on is theirs
/// from then on.
///
/// `in_record`: this cluster's record says that it was off, as kvmc kept it before there was the file.
///
/// # Errors
/// The system's.
pub(crate) fn release(state: &State, cluster: &str, in_record: bool) -> Result<Option<String>> {
    if !in_record && !state.host_before().exists() {
        return Ok(None);
    }
    let mut memory = Memory::open(state)?;
    let others = others(state, cluster)?;
    let now = forwarders(state)?;
    let before = memory.here()?;
    before.ipv4_was_off |= in_record;
    let came = now.difference(&before.forwarders).next().cloned();
    let mut kept = Vec::new();
    if before.ipv4_was_off && others.is_empty() {
        if came.is_some() {
            kept.push(IPV4);
        } else {
            sysctl::write(IPV4, "0")?;
            failpoint!("net.forwarding");
        }
        before.ipv4_was_off = false;
    }
    let needed = others.iter().any(has_ipv6);
    if !needed && let Some(links) = before.ipv6_was_off.take() {
        if came.is_some() {
            // The links follow advertisements as they have to while it is on.
            kept.push(IPV6);
        } else {
            restore6(&links)?;
        }
    }
    memory.save()?;
    Ok(came.filter(|_| !kept.is_empty()).map(|who| {
        let settings: Vec<_> = kept.iter().map(|name| format!("{name}=0")).collect();
        format!(
            "{} stays on: others have come to need it ({who}); `sysctl -w {}` switches it off",
            kept.join(" and "),
            settings.join(" ")
        )
    }))
}

fn restore6(links: &Links6) -> Result<()> {
    sysctl::write(IPV6, "0")?;
    for link in &links.hosts {
        set_accept_ra(link, "2", "1")?;
    }
    for link in &links.routers {
        let name = format!("net/ipv6/conf/{link}/forwarding");
        if sysctl::read(&name)?.is_some() {
            sysctl::write(&name, "1")?;
        }
    }
    Ok(())
}

/// Who else lives by forwarding in this namespace, clusters of another state folder included.
fn forwarders(state: &State) -> Result<BTreeSet<String>> {
    let mut own = OwnNames::default();
    for name in state.cluster_names() {
        let Some(record) = Found::look(&state.cluster(&name)).record() else {
            continue;
        };
        for network in record.networks() {
            own.tables.insert(network.table.clone());
            own.bridges.insert(network.bridge.clone());
        }
    }
    let all = firewall::forwarders(&own).context("failed to read the host's firewall rules")?;
    Ok(all.into_iter().collect())
}

/// Whether any network of a cluster has IPv6.
pub(crate) fn has_ipv6(record: &ClusterRecord) -> bool {
    record.networks().any(|n| n.prefix6.is_some())
}

/// The other clusters that run in this namespace.
fn others(state: &State, cluster: &str) -> Result<Vec<ClusterRecord>> {
    let (namespace, boot_id) = (namespace()?, boot_id()?);
    let names = state.cluster_names();
    Ok(names
        .iter()
        .filter(|name| *name != cluster)
        // Of one that cannot be read there may be a copy; that is its own verbs' to tell of.
        .filter_map(|name| Found::look(&state.cluster(name)).record())
        .filter(|r| !matches!(r.phase, Phase::Stopped | Phase::Removing))
        .filter(|r| r.host.namespace == namespace)
        .filter(|r| r.host.boot_id.is_empty() || r.host.boot_id == boot_id)
        .collect())
}

fn set_accept_ra(link: &str, from: &str, to: &str) -> Result<()> {
    let name = format!("net/ipv6/conf/{link}/accept_ra");
    // A link that is gone, or that somebody set otherwise meanwhile, is not ours to set.
    if sysctl::read(&name)?.as_deref() == Some(from) {
        sysctl::write(&name, to)?;
    }
    Ok(())
}

/// What of the links is to be set, and to be set back.
fn changed_along(links: &[Link6]) -> Links6 {
    let names = |is_one: &dyn Fn(&Link6) -> bool| {
        links
            .iter()
            .filter(|l| is_one(l))
            .map(|l| l.name.clone())
            .collect()
    };
    Links6 {
        hosts: names(&|l| l.accept_ra == "1" && l.forwarding == "0"),
        routers: names(&|l| l.forwarding == "1"),
    }
}

/// All links and `default`, of which links that come later take their settings.
fn links6() -> Result<Vec<Link6>> {
    let mut links = Vec::new();
    for entry in fs_err::read_dir(LINKS6)? {
        let Ok(name) = entry?.file_name().into_string() else {
            continue;
        };
        if matches!(name.as_str(), "all" | "lo") {
            continue;
        }
        let read = |key: &str| sysctl::read(&format!("net/ipv6/conf/{name}/{key}"));
        // One that went meanwhile has none.
        if let (Some(accept_ra), Some(forwarding)) = (read("accept_ra")?, read("forwarding")?) {
            links.push(Link6 {
                name,
                accept_ra,
                forwarding,
            });
        }
    }
    links.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(links)
}

/// The file, locked while this lives. The lock is the folder's: the file comes and goes.
struct Memory {
    path: PathBuf,
    all: Vec<Before>,
    _lock: Flock<File>,
}

impl Memory {
    fn open(state: &State) -> Result<Self> {
        let folder = fs_err::File::open(state.root())?.into_parts().0;
        let lock = Flock::lock(folder, FlockArg::LockExclusive)
            .map_err(|(_, e)| e)
            .with_context(|| format!("failed to lock {}", state.root().display()))?;
        let path = state.host_before();
        let all = read_json(&path)?.unwrap_or_default();
        Ok(Self {
            path,
            all,
            _lock: lock,
        })
    }

    /// That of this namespace; what was before a reboot of the host is forgotten.
    fn here(&mut self) -> Result<&mut Before> {
        let (namespace, boot_id) = (namespace()?, boot_id()?);
        self.all.retain(|b| b.boot_id == boot_id);
        let at = match self.all.iter().position(|b| b.namespace == namespace) {
            Some(at) => at,
            None => {
                self.all.push(Before {
                    namespace,
                    boot_id,
                    ..Before::default()
                });
                self.all.len() - 1
            }
        };
        self.all.get_mut(at).context("it was just put there")
    }

    fn save(&mut self) -> Result<()> {
        self.all
            .retain(|b| b.ipv4_was_off || b.ipv6_was_off.is_some());
        if self.all.is_empty() {
            return remove_file(&self.path);
        }
        replace_json(&self.path, &self.all, 0o600)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p33_links_that_follow_advertisements_are_told_apart() {
        let link = |name: &str, accept_ra: &str, forwarding: &str| Link6 {
            name: name.to_owned(),
            accept_ra: accept_ra.to_owned(),
            forwarding: forwarding.to_owned(),
        };
        let links = changed_along(&[
            link("default", "1", "0"),
            link("eth0", "1", "0"),
            // networkd and NetworkManager hear them by themselves.
            link("eth1", "0", "0"),
            link("eth2", "2", "0"),
            link("docker0", "1", "1"),
        ]);
        assert_eq!(links.hosts, ["default", "eth0"]);
        assert_eq!(links.routers, ["docker0"]);
    }

    #[test]
    fn fuzz_host() {
        kvmc_fuzz::run("host", crate::fuzz::round_trip::<Vec<Before>>);
    }
}
