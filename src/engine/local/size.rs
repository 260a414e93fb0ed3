//! `scale` and `rm`: other numbers of nodes, without a change to any other node.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kvmc_netns::Links;

use super::Local;
use super::removal;
use super::snapshot::having;
use super::up::{change, check_removal, check_same, removed};
use crate::engine::{StartOptions, until_unchanged};
use crate::failpoint::failpoint;
use crate::hint::{add_hint, bail_with_hint, command};
use crate::interrupt::Interrupt;
use crate::model::{Interrupted, NothingThere, UpOutcome, UpReport, spoils};
use crate::network::check_namespace;
use crate::node::Secrets;
use crate::plan::{self, Scope};
use crate::project;
use crate::spec::{ClusterSpec, Key, Layer, Settings, Source, SpecError, check, nearest};
use crate::state::{ClusterRecord, Phase, Restoration, read_json};

/// See [`crate::engine::Size::scale`].
pub(super) async fn scale(
    local: &Local,
    counts: &[(String, String)],
    options: StartOptions,
) -> Result<UpReport> {
    until_unchanged(async || {
        let record = there(local)?;
        let spec = scaled(&record.spec, counts)?;
        apply(local, record, spec, options.clone(), "scale").await
    })
    .await
}

/// See [`crate::engine::Size::remove`].
pub(super) async fn remove(
    local: &Local,
    nodes: &[String],
    options: StartOptions,
) -> Result<UpReport> {
    until_unchanged(async || {
        let record = there(local)?;
        let spec = without(&record, nodes)?;
        let snapshots = having(&local.dir(), nodes);
        if !snapshots.is_empty() {
            local
                .progress
                .say(&format!("note: {}", spoils(&snapshots, "")));
        }
        apply(local, record, spec, options.clone(), "rm").await
    })
    .await
}

fn there(local: &Local) -> Result<ClusterRecord> {
    let record = local.require()?;
    match record.phase {
        Phase::Removing => Err(local.half_removed()),
        _ => Ok(record),
    }
}

/// The specification with other numbers of nodes. Pure.
fn scaled(spec: &ClusterSpec, counts: &[(String, String)]) -> Result<ClusterSpec> {
    let mut layer = Layer::default();
    for (word, count) in counts {
        let role = role(spec, word)?;
        let source = Source::Argument(format!("{word}={count}"));
        layer.set_text(Key::role(&role, "count"), count, source);
    }
    Ok(checked(spec, layer)?)
}

/// The specification under a further layer of settings.
fn checked(spec: &ClusterSpec, mut layer: Layer) -> Result<ClusterSpec, SpecError> {
    layer.set_text(Key::cluster("cluster"), &spec.name, Source::Cluster);
    check(&Settings::resolve([spec.layer(), layer]))
}

/// The role that a word names: by its name, its nodes' prefix or their group.
fn role(spec: &ClusterSpec, word: &str) -> Result<String> {
    let roles = &spec.roles;
    let by_name = roles.iter().find(|r| r.name == word || r.prefix == word);
    if let Some(role) = by_name {
        return Ok(role.name.clone());
    }
    let of_group: Vec<_> = roles
        .iter()
        .filter(|r| r.groups.iter().any(|g| g == word))
        .map(|r| r.name.as_str())
        .collect();
    let known: Vec<_> = roles
        .iter()
        .flat_map(|r| [r.name.as_str(), r.prefix.as_str()])
        .collect();
    let names: Vec<_> = roles.iter().map(|r| r.name.as_str()).collect();
    let shown = word.escape_debug();
    match &of_group[..] {
        [role] => Ok((*role).to_owned()),
        [] => {
            let expected = match nearest(word, &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("expected {}", names.join(", ")),
            };
            let error = format!("cluster `{}` has no role `{shown}`; {expected}", spec.name);
            Err(NothingThere(error).into())
        }
        several => bail!(
            "the group `{shown}` has the nodes of several roles; name one of {}",
            several.join(", ")
        ),
    }
}

/// The specification without some nodes. Pure.
fn without(record: &ClusterRecord, nodes: &[String]) -> Result<ClusterSpec> {
    let mut spec = record.spec.clone();
    for name in nodes {
        if record.node(name).is_err() && record.selector().knows(name) {
            let error = format!("`{name}` is a group; `rm` takes the names of nodes");
            return Err(NothingThere(error).into());
        }
        let role = record.node(name)?.role.clone();
        if let Some(role) = spec.roles.iter_mut().find(|r| r.name == role) {
            // A node that leaves already is no longer one of the role's.
            role.remove(name);
        }
    }
    let down = || format!("{} removes the whole cluster", command(&spec.name, "down"));
    if spec.roles.iter().all(|r| r.count == 0) {
        let name = &spec.name;
        bail_with_hint!(
            down(),
            "cluster `{name}` has no other node than {}; a cluster needs at least one",
            nodes.join(", ")
        );
    }
    let name = &spec.name;
    checked(&spec, Layer::default()).map_err(|e| match e.key == "masters" {
        true => add_hint(
            anyhow::anyhow!("cluster `{name}` needs at least one master"),
            down(),
        ),
        false => e.into(),
    })
}

async fn apply(
    local: &Local,
    record: ClusterRecord,
    spec: ClusterSpec,
    mut options: StartOptions,
    verb: &'static str,
) -> Result<UpReport> {
    if record.phase == Phase::Stopped {
        return set_aside(local, &record, &spec, &options, verb).await;
    }
    options.scope = Scope::New;
    change(local, record, spec, options, verb).await
}

/// Changes a stopped cluster, without a start of anything. The next start makes new nodes.
async fn set_aside(
    local: &Local,
    before: &ClusterRecord,
    spec: &ClusterSpec,
    options: &StartOptions,
    verb: &str,
) -> Result<UpReport> {
    let began = Instant::now();
    check_removal(&local.dir(), Some(before), spec, &options.consent)?;
    let mut interrupt = Interrupt::listen()?;
    let (mut record, _lock) = local.lock(verb, &mut interrupt).await?;
    check_same(before, Some(&record), &Scope::New)?;
    check_namespace(&record)?;
    if Restoration::decided(&local.dir())?.is_some() {
        bail_with_hint!(
            format!("{} resumes it", local.command("start")),
            "cluster `{}` goes on from a saved state, which fits only the nodes that it has",
            local.cluster
        );
    }
    check_removal(&local.dir(), Some(&record), spec, &options.consent)?;
    let undecided = removed(&record, spec);
    take_out(local, &mut record, spec, &mut interrupt, verb).await?;
    let later = spec.node_names().map(|(name, _)| name);
    let later: Vec<_> = later.filter(|n| record.node(n).is_err()).collect();
    Ok(UpReport {
        cluster: local.cluster.clone(),
        nodes: record.nodes.len(),
        first: record
            .nodes
            .first()
            .map(|n| n.name.clone())
            .unwrap_or_default(),
        outcome: UpOutcome::Recorded {
            removed: undecided,
            later,
        },
        pending: Vec::new(),
        waiting: Vec::new(),
        instead: None,
        project: record.project,
        faults: Vec::new(),
        took: began.elapsed(),
    })
}

/// Removes what is surplus, and writes the record and the files.
async fn take_out(
    local: &Local,
    record: &mut ClusterRecord,
    spec: &ClusterSpec,
    interrupt: &mut Interrupt,
    verb: &str,
) -> Result<()> {
    let dir = local.dir();
    let is_wanted = |name: &str| spec.roles.iter().any(|r| r.has_node(name));
    let nodes = record.nodes.iter();
    let gone: Vec<_> = nodes.filter(|n| !is_wanted(&n.name)).cloned().collect();
    if record.spec == *spec && gone.is_empty() {
        return Ok(());
    }
    record.spec.clone_from(spec);
    let links = Links::open()?;
    let done = removal::carry_out(
        &plan::shrink(&gone),
        Some(record),
        local.host(&dir, &links),
        Duration::ZERO,
        interrupt,
        &|_, _| {},
    )
    .await?;
    if let Some(error) = done.errors.into_iter().next() {
        return Err(error);
    }
    if done.interrupted {
        let now = format!("{} completes the change", local.command(verb));
        return Err(Interrupted(now).into());
    }
    let names: Vec<_> = gone.iter().map(|n| n.name.as_str()).collect();
    record.forget(&names);
    record.spec.forwards.clone_from(&record.forwards);
    record.save(&dir)?;
    failpoint!("leave.stopped");
    let secrets = read_json::<Secrets>(&dir.secrets())?.context("the keys are gone")?;
    for text in project::write(record, &secrets, &dir, false)? {
        local.progress.say(&text);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{record, record_of_file};

    fn names(spec: &ClusterSpec) -> String {
        let names: Vec<_> = spec.node_names().map(|(name, _)| name).collect();
        names.join(" ")
    }

    fn to(record: &ClusterRecord, counts: &[(&str, &str)]) -> Result<String, String> {
        let counts: Vec<_> = counts
            .iter()
            .map(|(r, n)| ((*r).to_owned(), (*n).to_owned()))
            .collect();
        let spec = scaled(&record.spec, &counts);
        spec.map(|s| names(&s)).map_err(|e| format!("{e:#}"))
    }

    #[test]
    fn roles_are_scaled_by_name_prefix_and_group() {
        let record = record();
        assert_eq!(
            to(&record, &[("workers", "5"), ("lbl", "0"), ("master", "1")]).unwrap(),
            "master0 worker0 worker1 worker2 worker3 worker4"
        );
        let grouped = record_of_file(
            "[roles.one]\ngroups = [\"etcd\", \"plane\"]\n[roles.two]\ngroups = [\"etcd\"]\n",
        );
        assert_eq!(to(&grouped, &[("plane", "2")]).unwrap(), "one0 one1 two0");
        let error = to(&grouped, &[("etcd", "2")]).unwrap_err();
        assert!(
            error.contains("several roles; name one of one, two"),
            "{error}"
        );
    }

    #[test]
    fn wrong_roles_and_numbers_are_refused() {
        let record = record();
        for (role, count, expected) in [
            ("wrokers", "2", "no role `wrokers`; did you mean `workers`?"),
            (
                "zzz",
                "2",
                "no role `zzz`; expected masters, workers, load_balancers",
            ),
            ("workers", "-1", "workers: `-1` is not a number of nodes"),
            ("workers", "x", "(from argument workers=x)"),
            (
                "workers",
                "300",
                "192.168.80.0/24 has 253 addresses for nodes",
            ),
            ("masters", "0", "a cluster needs at least 1"),
        ] {
            let error = to(&record, &[(role, count)]).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    fn rm(record: &ClusterRecord, nodes: &[&str]) -> Result<ClusterSpec, String> {
        let nodes: Vec<_> = nodes.iter().map(|n| (*n).to_owned()).collect();
        without(record, &nodes).map_err(|e| format!("{e:#}"))
    }

    #[test]
    fn nodes_are_removed_by_name_and_take_their_forwards_with_them() {
        let mut record = record();
        record.spec.forwards = vec![
            "80:worker1:80".parse().unwrap(),
            "81:lbl0:80".parse().unwrap(),
        ];
        let spec = rm(&record, &["worker1", "master0", "worker1"]).unwrap();
        assert_eq!(names(&spec), "master1 master2 worker0 worker2 lbl0");
        let forwards: Vec<_> = spec.forwards.iter().map(ToString::to_string).collect();
        assert_eq!(forwards, ["81:lbl0:80"]);
        // A later number of nodes fills the gap first.
        record.spec = spec;
        assert_eq!(
            to(&record, &[("workers", "4")]).unwrap(),
            "master1 master2 worker0 worker1 worker2 worker3 lbl0"
        );
        assert!(
            rm(&record, &["worker9"])
                .unwrap_err()
                .contains("no node `worker9`")
        );
        let group = rm(&record, &["workers"]).unwrap_err();
        assert_eq!(group, "`workers` is a group; `rm` takes the names of nodes");
        let masters = rm(&record, &["master1", "master2", "master0"]).unwrap_err();
        assert_eq!(masters, "cluster `k80` needs at least one master");
        let one = record_of_file("[roles.a]\n");
        assert_eq!(
            rm(&one, &["a0"]).unwrap_err(),
            "cluster `k80` has no other node than a0; a cluster needs at least one"
        );
    }
}
