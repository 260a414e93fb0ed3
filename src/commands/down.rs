//! `down`.

use std::process::ExitCode;

use anyhow::Result;
use kvmc_images::Store;
use kvmc_netns::Links;

use super::Scene;
use crate::cluster::{self, Removed};
use crate::node::KeyPool;
use crate::output;
use crate::state::{ClusterRecord, Lock, remove_file};
use crate::warm;

pub(super) async fn run(scene: &Scene, all: bool) -> Result<ExitCode> {
    let names = if all {
        scene.state.cluster_names()
    } else {
        vec![scene.name()?]
    };
    let mut fine = true;
    for name in &names {
        fine &= one(scene, name).await?;
    }
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

async fn one(scene: &Scene, name: &str) -> Result<bool> {
    let dir = scene.state.cluster(name);
    let Some(record) = ClusterRecord::load(&dir)? else {
        let left = cluster::firewalls::remove_leftovers(name, &Links::open()?).await?;
        if left.is_empty() {
            output::talk(&format!("there is no cluster `{name}`; nothing to do"));
        } else {
            let left = left.join(", ");
            output::talk(&format!(
                "there is no cluster `{name}`; removed what was left of one: {left}"
            ));
        }
        return Ok(true);
    };
    cluster::check_namespace(&record)?;
    let _lock = Lock::take(&dir, "down", scene.wait).await?;
    let links = Links::open()?;
    let Removed { killed, errors } = cluster::down(record, &scene.state, &dir, &links).await;
    for error in &errors {
        output::error(error);
    }
    if errors.is_empty() {
        output::talk(&format!(
            "cluster `{name}` is gone ({killed} nodes were running)"
        ));
    }
    Ok(errors.is_empty())
}
