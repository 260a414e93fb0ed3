//! `service`: stops clusters cleanly before the host shuts down and starts them with the host.

use std::time::Duration;

use anyhow::Result;

use super::Session;
use crate::cli::ServiceCommand;
use crate::engine::{Lifecycle, Local, Scope, StartOptions};
use crate::host::{install_unit, remove_unit};
use crate::model::Exit;
use crate::output;

/// Time for the guests of one cluster to power off.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) async fn run(session: &Session, command: ServiceCommand) -> Result<Exit> {
    let engine = session.host()?;
    match command {
        ServiceCommand::Install { suspend } => {
            let path = install_unit(engine.root(), suspend)?;
            let what = match suspend {
                true => "suspended and go on with the host",
                false => "stopped cleanly and start with the host",
            };
            output::talk(&format!(
                "{} is installed: clusters that run when the host shuts down are {what} again",
                path.display()
            ));
            Ok(Exit::Done)
        }
        ServiceCommand::Remove => {
            output::talk(&match remove_unit()? {
                Some(path) => format!("{} is removed; running clusters go on", path.display()),
                None => "the unit is not installed".to_owned(),
            });
            Ok(Exit::Done)
        }
        ServiceCommand::Start => Ok(start_all(session, &engine)),
        ServiceCommand::Stop { suspend } => stop_all(session, &engine, suspend),
    }
}

/// Starts the clusters that ran when the host shut down or lost power.
fn start_all(session: &Session, engine: &Local) -> Exit {
    let mut exit = Exit::Done;
    for cluster in engine.to_start_with_host() {
        let started = match cluster {
            Ok(cluster) => {
                session.elsewhere(cluster.name(), async |cluster: Local| start(&cluster).await)
            }
            Err(e) => Err(e),
        };
        match started {
            Ok(Exit::Done) => {}
            Ok(_) => exit = Exit::Failed,
            Err(e) => {
                output::error(&e);
                exit = Exit::Failed;
            }
        }
    }
    exit
}

async fn start(cluster: &Local) -> Result<Exit> {
    let options = StartOptions {
        scope: Scope::Wanted,
        ..StartOptions::default()
    };
    let report = cluster.start(&[], options).await;
    let report =
        report.map_err(|e| e.context(format!("cluster `{}` was not started", cluster.name())))?;
    let exit = output::up(&report);
    if exit == Exit::Done {
        cluster.set_at_boot(false)?;
    }
    Ok(exit)
}

/// Stops or suspends all running clusters, and marks them to start with the host.
fn stop_all(session: &Session, engine: &Local, suspends: bool) -> Result<Exit> {
    let mut exit = Exit::Done;
    for cluster in engine.running() {
        let stop = async |cluster: Local| {
            if suspends && suspended(&cluster).await {
                return Ok(None);
            }
            cluster.stop(&[], PATIENCE).await.map(Some)
        };
        let stopped = session.elsewhere(cluster.name(), stop);
        cluster.set_at_boot(true)?;
        match stopped {
            Ok(None) => {}
            Ok(Some(report)) if output::stop(&report) == Exit::Done => {}
            Ok(Some(_)) => exit = Exit::Failed,
            Err(e) => {
                let name = cluster.name();
                output::error(&e.context(format!("cluster `{name}` was not stopped")));
                exit = Exit::Failed;
            }
        }
    }
    Ok(exit)
}

/// Suspends a cluster. Where that is impossible, it says why.
async fn suspended(cluster: &Local) -> bool {
    match cluster.suspend().await {
        Ok(saved) => {
            output::talk(&format!("cluster `{}`:", cluster.name()));
            output::suspended(&saved);
            true
        }
        Err(e) => {
            let name = cluster.name();
            let how = format!("cluster `{name}` is shut down, because it cannot be suspended");
            output::error(&e.context(how));
            false
        }
    }
}
