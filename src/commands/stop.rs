//! `stop`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use kvmc_netns::Links;

use super::Scene;
use crate::cluster::{self, Outcome, Stopped};
use crate::interrupt::{INTERRUPTED, Interrupt};
use crate::network;
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
    network::check_namespace(&record)?;
    let mut interrupt = Interrupt::listen()?;
    let _lock = tokio::select! {
        lock = Lock::take(&dir, "stop", scene.wait) => lock?,
        () = interrupt.wait() => {
            output::talk("interrupted; the cluster is as it was");
            return Ok(ExitCode::from(INTERRUPTED));
        }
    };
    // Who held the lock before may have changed all of it.
    let record = match ClusterRecord::load(&dir)? {
        Some(record) if record.phase == Phase::Stopped => {
            output::talk(&format!("cluster `{name}` is stopped already"));
            return Ok(ExitCode::SUCCESS);
        }
        Some(record) if record.phase == Phase::Removing => {
            bail!("cluster `{name}` is half removed; `kvmc down` goes on with that")
        }
        Some(record) => record,
        None => bail!("cluster `{name}` was removed in the meantime"),
    };
    let links = Links::open()?;
    let say = |node: &str, outcome: &Outcome| {
        output::talk(&match outcome {
            Outcome::WasStopped => format!("{node:<10} was stopped"),
            Outcome::Clean(time) => format!("{node:<10} clean, {}", seconds(*time)),
            Outcome::Forced(why) => format!("{node:<10} forced: {why}"),
        });
    };
    let stopped = cluster::stop(
        record,
        &scene.state,
        &dir,
        &links,
        patience,
        &mut interrupt,
        say,
    );
    let (clean, errors, kept) = match stopped.await? {
        Stopped::Done {
            all_clean,
            errors,
            kept,
        } => (all_clean, errors, kept),
        Stopped::Interrupted => {
            output::talk(
                "interrupted; `kvmc stop` goes on from here, `kvmc up` starts what has stopped",
            );
            return Ok(ExitCode::from(INTERRUPTED));
        }
    };
    for error in &errors {
        output::error(error);
    }
    if let Some(kept) = kept {
        output::talk(&kept);
    }
    Ok(if clean && errors.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
