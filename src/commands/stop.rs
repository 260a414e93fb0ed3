//! `stop`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use kvmc_netns::Links;

use super::Scene;
use crate::cluster::{self, Outcome};
use crate::output::{self, seconds};
use crate::state::{ClusterRecord, Lock, Phase, remove_file};

pub(super) async fn run(scene: &Scene, patience: Duration) -> Result<ExitCode> {
    let name = scene.name()?;
    let dir = scene.state.cluster(&name);
    let record = ClusterRecord::require(&dir, &name)?;
    // Whoever stops it wants it stopped when the host starts, too.
    remove_file(&dir.at_boot())?;
    if record.phase == Phase::Stopped {
        output::talk(&format!("cluster `{name}` is stopped already"));
        return Ok(ExitCode::SUCCESS);
    }
    cluster::check_namespace(&record)?;
    let _lock = Lock::take(&dir, "stop", scene.wait).await?;
    let links = Links::open()?;
    let say = |node: &str, outcome: &Outcome| {
        output::talk(&match outcome {
            Outcome::WasStopped => format!("{node:<10} was stopped"),
            Outcome::Clean(time) => format!("{node:<10} clean, {}", seconds(*time)),
            Outcome::Forced(why) => format!("{node:<10} forced: {why}"),
        });
    };
    let (clean, errors) = cluster::stop(record, &scene.state, &dir, &links, patience, say).await?;
    for error in &errors {
        output::error(error);
    }
    Ok(if clean && errors.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
