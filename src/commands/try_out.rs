//! `try`: saves the cluster, runs a command of this host, and brings the cluster back if the command fails. Meanwhile
//! second machines are loaded with what was saved, where memory allows, so that the way back takes a moment.

use std::cell::Cell;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result};
use kvmc_netns::outside::run_outside;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::Session;
use crate::cli::TryArgs;
use crate::engine::Reach;
use crate::engine::local::{Local, SaveRequest, Standing, Undone};
use crate::hint::{add_hint, command as command_of};
use crate::interrupt::{INTERRUPTED, Interrupt};
use crate::model::{Exit, Interrupted, Saved, Tried};
use crate::output;
use crate::snapshot::Name;

/// What became of the command.
struct Ran {
    status: ExitStatus,
    took: Duration,
    /// From its start until the machines stood by.
    stood_by: Option<Duration>,
}

pub(super) async fn run(session: &Session, arguments: &TryArgs) -> Result<Exit> {
    let engine = session.engine()?;
    let inventory = engine.inventory_file()?;
    // No other verb removes a snapshot with such a name by itself.
    let request = SaveRequest {
        name: format!("try-{}", std::process::id()).parse().ok(),
        ..SaveRequest::default()
    };
    let saved = engine.save_snapshot(&request).await?;
    output::talk(&format!("saved the cluster as {}", saved.name));
    let name: Name = saved.name.parse().map_err(Error::msg)?;
    // Ctrl-C reaches the command too, which ends. This process then brings the cluster back.
    let interrupt = Interrupt::listen()?;
    let mut standing = match arguments.keep {
        true => None,
        false => said(engine.stand_by(&name).await),
    };
    let ran = if interrupt.came() {
        Err(Interrupted("the command was not run, and the cluster is unchanged".to_owned()).into())
    } else {
        let mut command = command(arguments);
        command
            .env("ANSIBLE_INVENTORY", inventory)
            .env("KVMC_CLUSTER", engine.name());
        run_beside(command, &mut standing, &engine).await
    };
    let ran = match ran {
        Ok(ran) => ran,
        Err(error) => {
            // A command that cannot be run has changed nothing.
            end(standing, &engine).await?;
            engine.remove_snapshot(&name).await?;
            let program = arguments.command.first().cloned().unwrap_or_default();
            return Err(match error.is::<Interrupted>() {
                true => error,
                false => error.context(format!("`{}` cannot be run", program.display())),
            });
        }
    };
    let was_interrupted = interrupt.came();
    let has_failed = !ran.status.success() || was_interrupted;
    let goes_back = !arguments.keep && (has_failed || arguments.always);
    let undone = match goes_back {
        true => {
            let undone = engine.undo(&name, standing.take()).await;
            Some(undone.map_err(|error| {
                let again = command_of(engine.name(), &format!("snapshot rollback {name}"));
                add_hint(error, format!("{again} brings the cluster back"))
            })?)
        }
        false => None,
    };
    end(standing, &engine).await?;
    let was_interrupted = was_interrupted || undone.as_ref().is_some_and(|u| u.interrupted);
    tell(&engine, saved, &name, &ran, undone)?;
    if !arguments.keep {
        engine.remove_snapshot(&name).await?;
    }
    Ok(match code(ran.status) {
        _ if was_interrupted && goes_back => {
            output::talk("interrupted; all is undone");
            Exit::Of(INTERRUPTED)
        }
        0 if was_interrupted => Exit::Of(INTERRUPTED),
        0 => Exit::Done,
        code => Exit::Of(code),
    })
}

/// Runs the command. Meanwhile the machines that stand by are started and loaded.
async fn run_beside(
    mut command: Command,
    standing: &mut Option<Standing>,
    engine: &Local,
) -> Result<Ran> {
    let began = Instant::now();
    // A fork's command is one of this host, as the others that the user runs.
    let mut child = run_outside(|| command.spawn())??;
    let over = Cell::new(false);
    let waiting = async {
        let status = wait(&mut child).await;
        over.set(true);
        (status, began.elapsed())
    };
    let loading = async {
        let Some(standing) = standing else {
            return None;
        };
        match standing.load(engine, &|| !over.get()).await {
            Ok(()) => Some(began.elapsed()),
            Err(_) if over.get() => None,
            Err(why) => {
                no_standby(&why);
                None
            }
        }
    };
    let ((status, took), stood_by) = tokio::join!(waiting, loading);
    Ok(Ran {
        status: status?,
        took,
        stood_by,
    })
}

/// Waits for the end of the command. SIGTERM goes on to it; unlike Ctrl-C, it came to this process alone.
async fn wait(child: &mut Child) -> Result<ExitStatus> {
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be watched")?;
    loop {
        tokio::select! {
            status = child.wait() => return status.context("the command cannot be waited for"),
            _ = terminate.recv() => {
                if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
                    let pid = nix::unistd::Pid::from_raw(pid);
                    let _ended_meanwhile = nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM);
                }
            }
        }
    }
}

/// What stands by. Without it, the way back takes longer, and nothing else is lost.
fn said(standing: Result<Standing>) -> Option<Standing> {
    standing.inspect_err(no_standby).ok()
}

fn no_standby(why: &Error) {
    output::talk(&format!(
        "no machines stand by, so a rollback takes longer: {why:#}"
    ));
}

async fn end(standing: Option<Standing>, engine: &Local) -> Result<()> {
    match standing {
        Some(standing) => standing.end(engine).await,
        None => Ok(()),
    }
}

/// Tells what the command changed and took.
fn tell(
    engine: &Local,
    saved: Saved,
    name: &Name,
    ran: &Ran,
    undone: Option<Undone>,
) -> Result<()> {
    let (back, changed) = match undone {
        Some(undone) => (Some(undone.back), undone.changed),
        None => (None, engine.diff_snapshot(name).map(|diff| diff.nodes)),
    };
    let changed = changed.unwrap_or_else(|why| {
        output::talk(&format!("what the nodes wrote is not known: {why:#}"));
        Vec::new()
    });
    output::tried(&Tried {
        saved,
        stood_by: ran.stood_by,
        ran: ran.took,
        back,
        changed,
    });
    Ok(())
}

fn command(arguments: &TryArgs) -> Command {
    let mut words = arguments.command.iter();
    #[expect(clippy::disallowed_methods, reason = "the user's own command")]
    let mut command = match arguments.shell {
        true => {
            let mut shell = Command::new("sh");
            shell.arg("-c");
            shell
        }
        false => Command::new(words.next().cloned().unwrap_or_default()),
    };
    command.args(words);
    command
}

/// The exit code, or that of shells for a signal.
fn code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
