//! One file a verb: it passes the parsed command line to an engine, and the engine's report to the output.

mod config;
mod doctor;
mod down;
mod forward;
mod image;
mod service;
mod session;
mod ssh;
mod status;
mod stop;
mod up;

use std::time::Duration;

use anyhow::Result;

use self::session::Session;
use crate::cli::{Cli, Command};
use crate::model::Exit;

/// Carries out the parsed command.
///
/// # Errors
/// Fails if the verb fails.
pub(crate) async fn run(cli: Cli) -> Result<Exit> {
    let session = Session::new(cli.cluster, Duration::from_secs(cli.wait));
    match cli.command {
        Command::Up {
            flags,
            start,
            pull,
            dry_run,
        } => up::up(&session, &flags, &start, &pull, dry_run).await,
        Command::Start { start } => up::start(&session, &start).await,
        Command::Stop { timeout } => stop::run(&session, Duration::from_secs(timeout)).await,
        Command::Down { all } => down::run(&session, all).await,
        Command::Status { json } => status::run(&session, json).await,
        Command::Ssh { node, command } => ssh::run(&session, &node, &command),
        Command::Config { flags } => config::run(&session, &flags),
        Command::Forward { command } => forward::run(&session, command).await,
        Command::Doctor { fix, arch } => doctor::run(&session, fix, arch.as_deref()).await,
        Command::Image { command } => image::run(&session, command).await,
        #[cfg(feature = "failpoints")]
        Command::Failpoints => {
            let names: String = crate::failpoint::all().map(|n| format!("{n}\n")).collect();
            crate::output::data(&names);
            Ok(Exit::Done)
        }
        Command::Service { command } => service::run(&session, command).await,
        Command::Keeper { name, folder } => {
            session.named(&name)?.serve(&folder).await?;
            Ok(Exit::Done)
        }
    }
}
