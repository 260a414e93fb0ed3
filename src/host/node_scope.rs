//! Puts a node's QEMU into a scope of systemd's of its own, with limits: so that one node takes neither the memory nor
//! the processors of the others. The scope ends with QEMU.

use std::path::Path;

use anyhow::{Context, Result};
use zbus::zvariant::{OwnedObjectPath, OwnedValue, Value};
use zbus::{Connection, connection};

use super::scope::{MANAGER, OBJECT, call, is_in, start_or_join, timed};
use super::unit::{UNIT as SERVICE, is_running};

/// Bytes beside the guest's RAM that a QEMU may take: translated code of the emulator, its own memory, and pages of its
/// disks, which the kernel takes back before it kills.
const HEADROOM: u64 = 1 << 30;
/// systemd's own weight for everything, for a vcpu.
const WEIGHT: u64 = 100;
const MOST_WEIGHT: u64 = 10_000;
/// Threads and a fork that should not be.
const TASKS: u64 = 2048;

/// What a node may take of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NodeLimits {
    /// Bytes.
    memory: u64,
    /// Of processors, beside those of other nodes.
    weight: u64,
}

impl NodeLimits {
    /// The limits of a node with so many bytes of RAM and vcpus.
    pub(crate) fn of(ram: u64, vcpus: u32) -> Self {
        Self {
            memory: ram.saturating_add(ram / 16).saturating_add(HEADROOM),
            weight: WEIGHT
                .saturating_mul(u64::from(vcpus))
                .clamp(1, MOST_WEIGHT),
        }
    }
}

/// Puts the process `pid` into the scope `unit` with these limits, if it is in the cluster's scope `cluster`. A process in
/// a scope that its user made stays there, and one that systemd knows by another number is left alone.
///
/// # Errors
/// Fails with systemd's words.
pub(crate) async fn limit_node(
    pid: i32,
    unit: &str,
    cluster: &str,
    about: &str,
    limits: NodeLimits,
) -> Result<()> {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    if !is_running() || !is_in(&groups, cluster) || !is_numbered_as_here() {
        return Ok(());
    }
    let pid = u32::try_from(pid).context("a pid is negative")?;
    let bus = timed(connection::Builder::system()?.build()).await?;
    let before = stopped_before(&bus, cluster).await;
    let before = before.unwrap_or_else(|_| vec![SERVICE.to_owned()]);
    let properties = [
        ("Description", Value::from(about)),
        ("PIDs", Value::from(vec![pid])),
        // At shutdown it ends after these have stopped the nodes.
        ("Before", Value::from(before)),
        ("CollectMode", Value::from("inactive-or-failed")),
        ("MemoryMax", Value::from(limits.memory)),
        ("CPUWeight", Value::from(limits.weight)),
        ("IOWeight", Value::from(WEIGHT)),
        ("TasksMax", Value::from(TASKS)),
    ];
    let others: [(&str, Vec<(&str, Value<'_>)>); 0] = [];
    let body = (unit, "fail", properties.to_vec(), others.to_vec());
    let made = start_or_join(&bus, unit, pid, &body).await;
    made.map(drop)
        .with_context(|| format!("systemd gives kvmc no scope `{unit}`"))
}

/// The services that systemd stops before the cluster's scope, and before its nodes. The scope itself must not be named: a
/// unit that others name stays loaded when it ends, and could not be started again.
async fn stopped_before(bus: &Connection, cluster: &str) -> Result<Vec<String>> {
    let unit = call(bus, OBJECT, MANAGER, "GetUnit", &cluster).await?;
    let unit: OwnedObjectPath = unit.body().deserialize()?;
    let asked = ("org.freedesktop.systemd1.Unit", "Before");
    let properties = "org.freedesktop.DBus.Properties";
    let before = call(bus, unit.as_str(), properties, "Get", &asked).await?;
    let before: OwnedValue = before.body().deserialize()?;
    let mut all = Vec::<String>::try_from(before)?;
    all.retain(|unit| unit.ends_with(".service"));
    Ok(all)
}

/// Whether systemd, which is number 1, numbers processes as this one does.
fn is_numbered_as_here() -> bool {
    let namespace = |of: &str| std::fs::read_link(Path::new("/proc").join(of).join("ns/pid")).ok();
    let (first, here) = (namespace("1"), namespace("self"));
    first.is_some() && first == here
}

/// Which of the controllers that limits need the host's cgroups lack; none of them where it has no cgroup v2.
pub(crate) fn missing_controllers() -> Vec<&'static str> {
    let text = std::fs::read_to_string(Path::new(super::cgroup::ROOT).join("cgroup.controllers"));
    lacking(&text.unwrap_or_default())
}

fn lacking(controllers: &str) -> Vec<&'static str> {
    let there: Vec<_> = controllers.split_ascii_whitespace().collect();
    let wanted = ["memory", "cpu", "io", "pids"].into_iter();
    wanted.filter(|c| !there.contains(c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_leave_room_for_the_emulator_and_weigh_by_vcpus() {
        let small = NodeLimits::of(512 << 20, 1);
        assert_eq!((small.memory, small.weight), ((544 << 20) + HEADROOM, 100));
        assert_eq!(NodeLimits::of(64 << 30, 8).memory, 69 << 30);
        assert_eq!(NodeLimits::of(64 << 30, 8).weight, 800);
        assert_eq!(NodeLimits::of(u64::MAX, 400).memory, u64::MAX);
        assert_eq!(NodeLimits::of(1, 400).weight, MOST_WEIGHT);
        assert_eq!(NodeLimits::of(1, 0).weight, 1);
    }

    #[test]
    fn controllers_that_are_missing_are_named() {
        assert!(lacking("cpuset cpu io memory hugetlb pids rdma\n").is_empty());
        assert_eq!(lacking("hugetlb\n"), ["memory", "cpu", "io", "pids"]);
        assert_eq!(lacking("cpu memory"), ["io", "pids"]);
    }
}
