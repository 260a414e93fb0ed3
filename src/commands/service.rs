//! `service`: stops clusters cleanly before the host shuts down and starts them with the host.

use std::time::Duration;

use anyhow::Result;

use super::Session;
use crate::cli::ServiceCommand;
use crate::engine::{Lifecycle, Local, StartOptions};
use crate::host::{install_unit, remove_unit};
use crate::model::Exit;
use crate::output;

/// Time for the guests of one cluster to power off.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) async fn run(session: &Session, command: ServiceCommand) -> Result<Exit> {
    let engine = session.engine()?;
    match command {
        ServiceCommand::Install => {
            let path = install_unit(engine.root())?;
            output::talk(&format!(
                "{} is installed: clusters that run when the host shuts down are stopped cleanly and start with the host again",
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
        ServiceCommand::Start => Ok(start_all(&engine).await),
        ServiceCommand::Stop => stop_all(&engine).await,
    }
}

/// Starts the clusters that ran when the host shut down or lost power.
async fn start_all(engine: &Local) -> Exit {
    let mut exit = Exit::Done;
    for cluster in engine.to_start_with_host() {
        let started = match cluster {
            Ok(cluster) => start(&cluster).await,
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
    let report = cluster.start(StartOptions::default()).await;
    let report =
        report.map_err(|e| e.context(format!("cluster `{}` was not started", cluster.name())))?;
    let exit = output::up(&report);
    if exit == Exit::Done {
        cluster.set_at_boot(false)?;
    }
    Ok(exit)
}

/// Stops all running clusters, and marks them to start with the host.
async fn stop_all(engine: &Local) -> Result<Exit> {
    let mut exit = Exit::Done;
    for cluster in engine.running() {
        let stopped = cluster.stop(PATIENCE).await;
        cluster.set_at_boot(true)?;
        match stopped {
            Ok(report) if output::stop(&report) == Exit::Done => {}
            Ok(_) => exit = Exit::Failed,
            Err(e) => {
                let name = cluster.name();
                output::error(&e.context(format!("cluster `{name}` was not stopped")));
                exit = Exit::Failed;
            }
        }
    }
    Ok(exit)
}
