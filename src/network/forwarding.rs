//! The sysctls of the host that nodes need: IPv4 and IPv6 forwarding. Their original values are stored beside the
//! clusters, because the cluster that comes first may not be the last to go.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context, Result};
use kvmc_netns::firewall::{self, OwnNames};
use kvmc_netns::sysctl;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::failpoint::failpoint;
use crate::ids::boot_id;
use crate::state::{
    ClusterRecord, Found, Phase, State, read_json, remove_file, replace_json, sweep, temporaries,
};
use crate::state::{is_inside, namespace, namespace_is_gone};

const IPV4: &str = "net.ipv4.ip_forward";
const IPV6: &str = "net.ipv6.conf.all.forwarding";
const LINKS6: &str = "/proc/sys/net/ipv6/conf";

/// The two forwarding sysctls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// The original values in one network namespace, before there was a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct OriginalValues {
    namespace: u64,
    boot_id: String,
    /// IPv4 forwarding was off.
    ipv4_was_off: bool,
    /// IPv6 forwarding was off. Holds the link settings that were changed with it.
    ipv6_was_off: Option<ChangedLinks>,
    /// The other programs that forwarded when kvmc switched it on, and so did not need it.
    #[serde(
        default,
        rename = "translated",
        skip_serializing_if = "BTreeSet::is_empty"
    )]
    forwarders: BTreeSet<String>,
}

/// Links whose IPv6 settings change with the sysctl.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct ChangedLinks {
    /// Links that accept router advertisements as hosts (`accept_ra` 1). A router accepts them only with `accept_ra`
    /// 2, and would lose its default route at once otherwise.
    hosts: Vec<String>,
    /// Links that forwarded before.
    routers: Vec<String>,
}

/// The IPv6 settings of one link.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LinkSettings {
    name: String,
    accept_ra: String,
    forwarding: String,
}

/// Whether the host forwards.
pub(crate) fn is_on(family: Family) -> Result<bool> {
    let name = match family {
        Family::V4 => IPV4,
        Family::V6 => IPV6,
    };
    Ok(sysctl::read(name)?.as_deref() == Some("1"))
}

/// Switches forwarding on, and records that it was off.
///
/// # Errors
/// Fails if a sysctl cannot be written; /proc/sys may be read-only in a container.
pub(crate) fn enable(state: &State, family: Family) -> Result<()> {
    if is_on(family)? {
        return Ok(());
    }
    // A fork's namespace ends with the fork, and nobody wants its values back.
    if is_inside()? {
        let hosts = match family {
            Family::V4 => Vec::new(),
            Family::V6 => changed_along(&links6()?).hosts,
        };
        return switch_on(family, &hosts);
    }
    let mut memory = LockedFile::open(state)?;
    // Another cluster may have done it while this one waited for the lock.
    if is_on(family)? {
        return Ok(());
    }
    let there = forwarders(state)?;
    let before = memory.here()?;
    before.forwarders.extend(there);
    match family {
        Family::V4 => before.ipv4_was_off = true,
        // After a kill half-way, the links are recorded and may be changed already.
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
    switch_on(family, &hosts)
}

/// Switches forwarding on. Of IPv6, `hosts` are the links that would accept no advertisements any more.
fn switch_on(family: Family, hosts: &[String]) -> Result<()> {
    match family {
        Family::V4 => sysctl::write(IPV4, "1")?,
        Family::V6 => {
            for link in hosts {
                set_accept_ra(link, "1", "2")?;
            }
            sysctl::write(IPV6, "1")?
        }
    };
    Ok(())
}

/// Restores the original values, unless another cluster needs forwarding or another program has come to need it. In
/// the second case forwarding stays on, the return value says why, and kvmc never switches it off later.
///
/// `in_record`: this cluster's record says that forwarding was off. kvmc stored it there before this file existed.
///
/// # Errors
/// Fails if a sysctl or the file cannot be read or written.
pub(crate) fn release(state: &State, cluster: &str, in_record: bool) -> Result<Option<String>> {
    let file = state.host_before();
    // A kvmc that was killed while it wrote the file for the first time left only a temporary file.
    if !in_record && !file.exists() && temporaries(&file).is_empty() {
        return Ok(None);
    }
    let mut memory = LockedFile::open(state)?;
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
            // Links must accept advertisements as routers while forwarding is on.
            kept.push(IPV6);
        } else {
            restore6(&links)?;
        }
    }
    memory.save()?;
    Ok(came.filter(|_| !kept.is_empty()).map(|who| {
        let settings: Vec<_> = kept.iter().map(|name| format!("{name}=0")).collect();
        format!(
            "{} stays on, because others need it now ({who}); `sysctl -w {}` switches it off",
            kept.join(" and "),
            settings.join(" ")
        )
    }))
}

fn restore6(links: &ChangedLinks) -> Result<()> {
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

/// Everything else that needs forwarding in this namespace, including clusters of another state folder.
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
        if let Some(fork) = &record.host.fork {
            own.tables.insert(super::naming::table(&fork.link));
            own.bridges.insert(fork.link.clone());
        }
    }
    let all = firewall::forwarders(&own).context("cannot read the host's firewall rules")?;
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
        // A record that cannot be read may have a good copy. The verbs for its cluster report the damage.
        .filter_map(|name| Found::look(&state.cluster(name)).record())
        .filter(|r| !matches!(r.phase, Phase::Stopped | Phase::Removing))
        .filter(|r| r.outer_namespace() == namespace)
        .filter(|r| r.host.boot_id.is_empty() || r.host.boot_id == boot_id)
        .collect())
}

fn set_accept_ra(link: &str, from: &str, to: &str) -> Result<()> {
    let name = format!("net/ipv6/conf/{link}/accept_ra");
    // Leave alone a link that was removed, or whose setting somebody has changed meanwhile.
    if sysctl::read(&name)?.as_deref() == Some(from) {
        sysctl::write(&name, to)?;
    }
    Ok(())
}

/// The links to change, and to restore later.
fn changed_along(links: &[LinkSettings]) -> ChangedLinks {
    let names = |is_one: &dyn Fn(&LinkSettings) -> bool| {
        links
            .iter()
            .filter(|l| is_one(l))
            .map(|l| l.name.clone())
            .collect()
    };
    ChangedLinks {
        hosts: names(&|l| l.accept_ra == "1" && l.forwarding == "0"),
        routers: names(&|l| l.forwarding == "1"),
    }
}

/// All links, and `default`, which new links take their settings from.
fn links6() -> Result<Vec<LinkSettings>> {
    let mut links = Vec::new();
    for entry in fs_err::read_dir(LINKS6)? {
        let Ok(name) = entry?.file_name().into_string() else {
            continue;
        };
        if matches!(name.as_str(), "all" | "lo") {
            continue;
        }
        let read = |key: &str| sysctl::read(&format!("net/ipv6/conf/{name}/{key}"));
        // A link that was removed meanwhile has no settings.
        if let (Some(accept_ra), Some(forwarding)) = (read("accept_ra")?, read("forwarding")?) {
            links.push(LinkSettings {
                name,
                accept_ra,
                forwarding,
            });
        }
    }
    links.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(links)
}

/// The locked file. The lock is on its folder, because the file is created and removed.
struct LockedFile {
    path: PathBuf,
    all: Vec<OriginalValues>,
    _lock: Flock<File>,
}

impl LockedFile {
    fn open(state: &State) -> Result<Self> {
        let folder = fs_err::File::open(state.root())?.into_parts().0;
        let lock = Flock::lock(folder, FlockArg::LockExclusive)
            .map_err(|(_, e)| e)
            .with_context(|| format!("cannot lock {}", state.root().display()))?;
        let path = state.host_before();
        sweep(&path);
        let all = read_json(&path)?.unwrap_or_default();
        Ok(Self {
            path,
            all,
            _lock: lock,
        })
    }

    /// The values of this namespace. Values from before a reboot of the host, and of namespaces that are gone,
    /// are dropped.
    fn here(&mut self) -> Result<&mut OriginalValues> {
        let (namespace, boot_id) = (namespace()?, boot_id()?);
        self.all.retain(|b| {
            let is_here = b.namespace == namespace;
            b.boot_id == boot_id && (is_here || !namespace_is_gone(b.namespace))
        });
        let at = match self.all.iter().position(|b| b.namespace == namespace) {
            Some(at) => at,
            None => {
                self.all.push(OriginalValues {
                    namespace,
                    boot_id,
                    ..OriginalValues::default()
                });
                self.all.len() - 1
            }
        };
        self.all.get_mut(at).context("the entry was added above")
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
    fn p3_a_killed_writers_temporary_file_is_removed() {
        let temp = tempfile::tempdir().unwrap();
        let state = State::at(temp.path());
        let left = temp.path().join(".host.json.kvmc-new-x");
        std::fs::write(&left, "[]").unwrap();
        assert_eq!(
            temporaries(&state.host_before()),
            std::slice::from_ref(&left)
        );
        drop(LockedFile::open(&state).unwrap());
        assert!(!left.exists());
    }

    #[test]
    fn p33_only_links_that_accept_advertisements_are_changed() {
        let link = |name: &str, accept_ra: &str, forwarding: &str| LinkSettings {
            name: name.to_owned(),
            accept_ra: accept_ra.to_owned(),
            forwarding: forwarding.to_owned(),
        };
        let links = changed_along(&[
            link("default", "1", "0"),
            link("eth0", "1", "0"),
            // networkd and NetworkManager read advertisements themselves.
            link("eth1", "0", "0"),
            link("eth2", "2", "0"),
            link("docker0", "1", "1"),
        ]);
        assert_eq!(links.hosts, ["default", "eth0"]);
        assert_eq!(links.routers, ["docker0"]);
    }

    #[test]
    fn fuzz_host() {
        kvmc_fuzz::run("host", crate::fuzz::round_trip::<Vec<OriginalValues>>);
    }
}
