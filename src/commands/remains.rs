//! `doctor`'s look at clusters that are no more, and at records that are damaged: of this state folder and in
//! this network namespace alone.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use kvmc_images::Store;
use kvmc_netns::Links;

use super::Scene;
use crate::cluster::{self, Doomed, Traces, traces};
use crate::interrupt::Interrupt;
use crate::network;
use crate::node::KeyPool;
use crate::state::{ClusterRecord, Found, Lock};
use crate::warm;

/// A row of doctor's table: what, how it is, and more of it.
type Row = [String; 3];

/// What there is of such, mended where `fix` says so.
///
/// # Errors
/// When the host's links cannot be read, or something cannot be mended.
pub(super) async fn look(scene: &Scene, fix: bool) -> Result<Vec<Row>> {
    let links = Links::open()?;
    let mut seen = traces(&scene.state, &links).await?;
    let names: BTreeSet<_> = scene
        .state
        .cluster_names()
        .into_iter()
        .chain(seen.keys().cloned())
        .collect();
    let mut rows = Vec::new();
    for name in names {
        let dir = scene.state.cluster(&name);
        // Made or removed at this moment, its record may be missing for good reason.
        if Lock::holder(&dir).is_some() {
            continue;
        }
        let traces = seen.remove(&name).unwrap_or_default();
        rows.extend(match Found::look(&dir) {
            Found::Whole(_) => None,
            Found::Copy(copy, error) => Some(restore(scene, *copy, &error, fix).await?),
            Found::Unreadable(error) | Found::Newer(error) => {
                let what = format!("{error:#}; `kvmc --cluster {name} down` removes the cluster");
                Some(row(&name, "damaged", what))
            }
            Found::Nothing => Some(remove(scene, &name, traces, &links, fix).await?),
        });
    }
    if fix {
        warm::Store::open(scene.state.root()).sweep()?;
        Store::open(scene.state.root()).sweep();
        KeyPool::open(scene.state.root()).sweep();
    }
    Ok(rows)
}

fn row(cluster: &str, finding: &str, what: String) -> Row {
    [format!("cluster {cluster}"), finding.to_owned(), what]
}

/// The last good copy becomes the record.
async fn restore(
    scene: &Scene,
    mut copy: ClusterRecord,
    error: &anyhow::Error,
    fix: bool,
) -> Result<Row> {
    let name = copy.spec.name.clone();
    let generation = copy.generation;
    if !fix {
        let what = format!(
            "{error:#}; `kvmc doctor --fix` puts its last good copy (generation {generation}) back"
        );
        return Ok(row(&name, "damaged", what));
    }
    let dir = scene.state.cluster(&name);
    let _lock = Lock::take(&dir, "doctor", Duration::ZERO).await?;
    copy.save(&dir)?;
    let what = format!("its record was damaged ({error:#}); generation {generation} is back");
    Ok(row(&name, "mended", what))
}

async fn remove(
    scene: &Scene,
    name: &str,
    traces: Traces,
    links: &Links,
    fix: bool,
) -> Result<Row> {
    let dir = scene.state.cluster(name);
    let mut found = Vec::new();
    if !traces.is_empty() {
        found.push(traces.to_string());
    }
    if dir.path().exists() {
        found.push(format!("the folder {}", dir.path().display()));
    }
    let found = found.join(", ");
    if !fix {
        let what = format!("no more, but there is {found}; `kvmc doctor --fix` removes that");
        return Ok(row(name, "remains", what));
    }
    let _lock = Lock::take(&dir, "doctor", Duration::ZERO).await?;
    let doomed = Doomed {
        record: None,
        traces,
        state: &scene.state,
        dir: &dir,
        links,
    };
    let removed = cluster::down(doomed, &mut Interrupt::listen()?).await;
    network::accepts::remove_leftovers(name, links).await?;
    match removed.errors.into_iter().next() {
        Some(error) => Err(error.context(format!("what is left of cluster `{name}` stays"))),
        None => Ok(row(name, "mended", format!("removed {found}"))),
    }
}
