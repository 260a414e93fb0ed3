//! Which settings of a cluster may change after it is made.

use anyhow::{Result, anyhow};

use crate::engine::Consent;
use crate::engine::changed::Changed;
use crate::engine::local::snapshot::having;
use crate::hint::{add_hint, command};
use crate::model::RemovesNodes;
use crate::plan::Scope;
use crate::spec::{Change, ClusterSpec, Difference, Key, Settings};
use crate::state::{ClusterDir, ClusterRecord, Phase};

/// Refuses to carry out what was made from a record, `before`, that another verb has replaced. It would undo the other's
/// work, and remove the nodes that the other added.
///
/// # Errors
/// Fails with [`Changed`].
pub(in crate::engine::local) fn check_same(
    before: &ClusterRecord,
    now: Option<&ClusterRecord>,
    scope: &Scope,
) -> Result<()> {
    let is_stopped = |r: &ClusterRecord| r.phase == Phase::Stopped;
    let is_same = now.is_some_and(|now| {
        now.spec == before.spec && (*scope != Scope::New || is_stopped(now) == is_stopped(before))
    });
    if is_same {
        return Ok(());
    }
    let name = &before.spec.name;
    let status = command(name, "status");
    let error = Changed(name.clone()).into();
    Err(add_hint(error, format!("{status} shows it; try again")))
}

/// Refuses changes that need a new cluster, and smaller disks.
///
/// # Errors
/// Fails with all refused settings, each with its current and its requested value.
pub(super) fn check_unchanged(
    record: &ClusterRecord,
    wanted: &ClusterSpec,
    settings: &Settings,
) -> Result<()> {
    let name = &record.spec.name;
    let make_again = || {
        let (down, up) = (command(name, "down"), command(name, "up"));
        format!("{down} removes the cluster with its nodes' data, {up} creates it again")
    };
    let (fixed, others): (Vec<_>, Vec<_>) = record
        .spec
        .differences(wanted)
        .into_iter()
        .partition(|d| d.change == Change::Never);
    if !fixed.is_empty() {
        let fixed: Vec<_> = fixed.iter().map(|d| words(d, settings)).collect();
        let error = anyhow!(
            "cluster `{name}` exists with other settings, which cannot change: {}{}",
            fixed.join(", "),
            changeable(&others)
        );
        return Err(add_hint(error, make_again()));
    }
    check_disks(record, wanted, settings)
}

/// Refuses disks that are to be smaller. What lies at their end would be lost.
fn check_disks(record: &ClusterRecord, wanted: &ClusterSpec, settings: &Settings) -> Result<()> {
    for role in &wanted.roles {
        let nodes = record.nodes.iter().filter(|n| n.role == role.name);
        let Some(largest) = nodes.map(|n| n.disk).max().filter(|disk| role.disk < *disk) else {
            continue;
        };
        let key = Key::role(&role.name, "disk");
        let why = format!(
            "{} is less than the {largest} of the nodes that there are; a disk only grows",
            role.disk
        );
        return Err(settings.error(&key, why).into());
    }
    Ok(())
}

/// The nodes that `wanted` does not have, and whose removal is not decided yet.
pub(in crate::engine::local) fn removed(
    record: &ClusterRecord,
    wanted: &ClusterSpec,
) -> Vec<String> {
    let has = |spec: &ClusterSpec, name: &str| spec.roles.iter().any(|r| r.has_node(name));
    let names = record.nodes.iter().map(|n| &n.name);
    // A verb that was cut short has decided already.
    let gone = names.filter(|n| !has(wanted, n) && has(&record.spec, n));
    gone.cloned().collect()
}

/// Refuses to remove nodes that nobody has agreed to remove.
///
/// # Errors
/// Fails with [`RemovesNodes`].
pub(in crate::engine::local) fn check_removal(
    dir: &ClusterDir,
    existing: Option<&ClusterRecord>,
    wanted: &ClusterSpec,
    consent: &Consent,
) -> Result<()> {
    let nodes = existing.map_or_else(Vec::new, |r| removed(r, wanted));
    match nodes.iter().all(|n| consent.covers(n)) {
        true => Ok(()),
        false => {
            let snapshots = having(dir, &nodes);
            Err(RemovesNodes { nodes, snapshots }.into())
        }
    }
}

/// How the other settings that differ would change; empty if there are none.
fn changeable(others: &[Difference]) -> String {
    let of = |change, when: &str| {
        let keys = others.iter().filter(|d| d.change == change);
        let keys: Vec<_> = keys.map(|d| d.key.to_string()).collect();
        (!keys.is_empty()).then(|| format!("{} {when}", keys.join(", ")))
    };
    let all: Vec<_> = [
        of(Change::Live, "while the nodes run"),
        of(Change::NextStart, "at the next start of each node"),
    ]
    .into_iter()
    .flatten()
    .collect();
    match all.is_empty() {
        true => String::new(),
        false => format!("; without these, `up` changes {}", all.join(", ")),
    }
}

fn words(difference: &Difference, settings: &Settings) -> String {
    let text = |value: &Option<crate::spec::Value>| match value {
        Some(value) if !value.is_empty() => value.to_string(),
        _ => "none".to_owned(),
    };
    let source = settings.source(&difference.key);
    format!(
        "{} is {}, requested is {} (from {source})",
        difference.key,
        text(&difference.before),
        text(&difference.after),
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::samples::record;
    use crate::spec::{Layer, Source, check};
    use crate::state::State;

    fn changed(settings: &[(&str, &str)]) -> Result<(), String> {
        let record = record();
        let mut layer = Layer::default();
        for (key, value) in settings {
            let key = Key::parse(key).unwrap();
            layer.set_text(key, value, Source::Flag("--x".to_owned()));
        }
        let settings = Settings::resolve([record.spec.layer(), layer]);
        let wanted = check(&settings).unwrap();
        check_unchanged(&record, &wanted, &settings).map_err(|e| e.to_string())
    }

    #[test]
    fn only_settings_that_differ_and_cannot_change_are_named() {
        assert_eq!(changed(&[]), Ok(()));
        let fine = [
            ("workers", "5"),
            ("roles.etcd.count", "3"),
            ("master_restart", "always"),
            ("accel", "kvm"),
            ("vcpus", "2"),
            ("worker_ram", "1G"),
            ("disk", "6G"),
            ("workers", "2"),
            ("network.host_ports", "8080"),
            ("dns.records", "a A 192.0.2.1"),
        ];
        assert_eq!(changed(&fine), Ok(()));
        let error = changed(&[
            ("network.ipv6", "true"),
            ("workers", "3"),
            ("image.suite", "noble"),
        ]);
        assert_eq!(
            error.unwrap_err(),
            "cluster `k80` exists with other settings, which cannot change: \
             image.suite is trixie, requested is noble (from flag --x), \
             network.ipv6 is false, requested is true (from flag --x)"
        );
        let error = changed(&[
            ("network.ipv6", "true"),
            ("disk", "4G"),
            ("workers", "5"),
            ("accel", "kvm"),
        ]);
        let error = error.unwrap_err();
        assert!(!error.contains("disk"), "{error}");
        assert!(
            error.ends_with(
                "; without these, `up` changes workers while the nodes run, accel at the next start of each node"
            ),
            "{error}"
        );
    }

    #[test]
    fn a_disk_never_becomes_smaller() {
        assert_eq!(
            changed(&[("disk", "3G")]).unwrap_err(),
            "disk: 3G is less than the 4G of the nodes that there are; a disk only grows (from flag --x)"
        );
        let error = changed(&[("roles.workers.disk", "2G")]).unwrap_err();
        assert!(
            error.starts_with("roles.workers.disk: 2G is less"),
            "{error}"
        );
    }

    #[test]
    fn nodes_are_removed_only_with_consent() {
        let record = record();
        let dir = State::at(Path::new("/nowhere")).cluster("k80");
        let mut wanted = record.spec.clone();
        wanted.roles[1].scale(1);
        let check = |record, consent| check_removal(&dir, Some(record), &wanted, &consent);
        let error = check(&record, Consent::None).unwrap_err().to_string();
        assert_eq!(
            error,
            "this removes worker1, worker2 with all data on their disks; --yes agrees to it"
        );
        let some = Consent::Nodes(vec!["worker1".to_owned()]);
        assert!(check(&record, some).is_err());
        let both = Consent::Nodes(vec!["worker1".to_owned(), "worker2".to_owned()]);
        assert!(check(&record, both).is_ok());
        assert!(check(&record, Consent::All).is_ok());
        // An earlier verb had the consent, and was cut short.
        let mut begun = record.clone();
        begun.spec = wanted.clone();
        assert!(check(&begun, Consent::None).is_ok());
        assert!(check_removal(&dir, None, &wanted, &Consent::None).is_ok());
    }
}
