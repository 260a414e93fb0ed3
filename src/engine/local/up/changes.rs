//! Which settings of a cluster may change after it is made.

use anyhow::{Result, anyhow};

use crate::hint::{add_hint, command};
use crate::spec::{Change, ClusterSpec, Difference, Settings};
use crate::state::ClusterRecord;

/// Refuses changes that need a new cluster, and fewer nodes than there are.
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
    let fixed: Vec<_> = record
        .spec
        .differences(wanted)
        .into_iter()
        .filter(|d| d.change == Change::Never)
        .map(|d| words(&d, settings))
        .collect();
    if !fixed.is_empty() {
        let error = anyhow!(
            "cluster `{name}` exists with other settings, which cannot change: {}",
            fixed.join(", ")
        );
        return Err(add_hint(error, make_again()));
    }
    let names: Vec<_> = wanted.node_names().map(|(name, _)| name).collect();
    let gone: Vec<_> = record
        .nodes
        .iter()
        .map(|n| n.name.as_str())
        .filter(|n| !names.iter().any(|name| name == n))
        .collect();
    if !gone.is_empty() {
        let error = anyhow!(
            "cluster `{name}` has {}, but fewer nodes are requested; `up` never removes a node",
            gone.join(", ")
        );
        return Err(add_hint(error, make_again()));
    }
    Ok(())
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
    use super::*;
    use crate::samples::record;
    use crate::spec::{Key, Layer, Source, check};

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
            ("vcpus", "4"),
            ("dns.records", "a A 192.0.2.1"),
        ];
        assert_eq!(changed(&fine), Ok(()));
        let error = changed(&[("vcpus", "2"), ("workers", "3"), ("worker_ram", "1G")]);
        assert_eq!(
            error.unwrap_err(),
            "cluster `k80` exists with other settings, which cannot change: \
             roles.load_balancers.vcpus is 4, requested is 2 (from flag --x), \
             roles.masters.vcpus is 4, requested is 2 (from flag --x), \
             worker_ram is 4G, requested is 1G (from flag --x), \
             roles.workers.vcpus is 4, requested is 2 (from flag --x)"
        );
        let error = changed(&[("workers", "2")]).unwrap_err();
        assert!(
            error.contains("has worker2, but fewer nodes are requested"),
            "{error}"
        );
    }
}
