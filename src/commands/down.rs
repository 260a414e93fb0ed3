//! `down`.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::Result;
use kvmc_images::Store;
use kvmc_netns::Links;

use super::Scene;
use crate::cluster::{self, Doomed, Removed, traces};
use crate::interrupt::{INTERRUPTED, Interrupt};
use crate::network;
use crate::node::KeyPool;
use crate::output;
use crate::state::{Found, Lock, remove_file};
use crate::warm;

pub(super) async fn run(scene: &Scene, all: bool) -> Result<ExitCode> {
    let links = Links::open()?;
    let mut interrupt = Interrupt::listen()?;
    let names: BTreeSet<String> = if all {
        let found = traces(&scene.state, &links).await?.into_keys();
        scene
            .state
            .cluster_names()
            .into_iter()
            .chain(found)
            .collect()
    } else {
        [scene.name()?].into()
    };
    let mut fine = true;
    for name in &names {
        match one(scene, name, &links, &mut interrupt).await? {
            Some(went_well) => fine &= went_well,
            None => return Ok(ExitCode::from(INTERRUPTED)),
        }
    }
    // What builds and freezes that were killed have left.
    warm::Store::open(scene.state.root()).sweep()?;
    Store::open(scene.state.root()).sweep();
    KeyPool::open(scene.state.root()).sweep();
    if all && fine {
        warm::Store::open(scene.state.root()).remove_all()?;
        KeyPool::open(scene.state.root()).remove()?;
        Store::open(scene.state.root()).remove_all()?;
        remove_file(&scene.state.accel_cache())?;
        output::talk("templates and frozen machines removed");
        // Only if nothing of the user's is in it.
        let _not_empty = std::fs::remove_dir(scene.state.root());
    }
    Ok(if fine {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// True when nothing is left, `None` when it was interrupted.
async fn one(
    scene: &Scene,
    name: &str,
    links: &Links,
    interrupt: &mut Interrupt,
) -> Result<Option<bool>> {
    let dir = scene.state.cluster(name);
    let is_there = || async {
        let found = traces(&scene.state, links).await?.remove(name);
        anyhow::Ok((found.unwrap_or_default(), dir.path().exists()))
    };
    let (seen, has_folder) = is_there().await?;
    if seen.is_empty() && !has_folder {
        let left = network::accepts::remove_leftovers(name, links).await?;
        if left.is_empty() {
            output::talk(&format!("there is no cluster `{name}`; nothing to do"));
        } else {
            let left = left.join(", ");
            output::talk(&format!(
                "there is no cluster `{name}`; removed what was left of one: {left}"
            ));
        }
        return Ok(Some(true));
    }
    let _lock = tokio::select! {
        lock = Lock::take(&dir, "down", scene.wait) => lock?,
        () = interrupt.wait() => {
            output::talk("interrupted; the cluster is as it was");
            return Ok(None);
        }
    };
    // Who held the lock before may have changed all of it.
    let (seen, _) = is_there().await?;
    let record = match Found::look(&dir) {
        Found::Newer(error) => return Err(error),
        Found::Whole(record) => Some(*record),
        Found::Copy(copy, error) => {
            output::talk(&format!("warning: {error:#}; going by its last good copy"));
            Some(*copy)
        }
        Found::Unreadable(error) => {
            output::talk(&format!("warning: {error:#}; going by what is seen"));
            None
        }
        Found::Nothing => None,
    };
    if let Some(record) = &record {
        network::check_namespace(record)?;
    }
    let has_record = record.is_some();
    let is_cluster = record.is_some() || !seen.is_empty();
    let Removed {
        killed,
        errors,
        interrupted,
        kept,
    } = cluster::down(
        Doomed {
            record,
            traces: seen,
            state: &scene.state,
            dir: &dir,
            links,
        },
        interrupt,
    )
    .await;
    for error in &errors {
        output::error(error);
    }
    if let Some(kept) = kept {
        output::talk(&kept);
    }
    if !has_record && !interrupted {
        network::accepts::remove_leftovers(name, links).await?;
    }
    if interrupted {
        output::talk("interrupted; `kvmc down` goes on from here");
        return Ok(None);
    }
    if !errors.is_empty() {
        output::talk(&format!(
            "cluster `{name}` is not wholly gone; `kvmc down` tries again"
        ));
    } else if is_cluster {
        output::talk(&format!(
            "cluster `{name}` is gone ({killed} nodes were running)"
        ));
    } else {
        output::talk(&format!(
            "there was no cluster `{name}`; its folder, left by a kvmc that was killed, is gone"
        ));
    }
    Ok(Some(errors.is_empty()))
}
