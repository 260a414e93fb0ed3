//! `mount`, `share` and their ends. Each tie between a folder of a node and one of this host has a process, which makes the
//! tie again after a restart of the node.

mod attend;
mod record;
mod serving;
mod sftp;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

pub(in super::super) use self::attend::attend;
use self::record::{Tie, all, file, forget, mark, new_id, write};
use super::super::Local;
use super::place::there;
use super::{Ssh, reachable, why_down};
use crate::engine::TieRequest;
use crate::hint::{add_hint, bail_with_hint};
use crate::interrupt::Interrupt;
use crate::model::{Interrupted, NodeFailure, NothingThere, TieKind, TieReport, TieStatus};
use crate::node::only_streams;
use crate::project::behind_root;
use crate::state::ClusterDir;

/// Time that a tie's process has beyond the connection's.
const START: Duration = Duration::from_secs(75);
/// Time that one which is about to end takes.
const SOON: Duration = Duration::from_secs(2);
/// Time that it has to end.
const END: Duration = Duration::from_secs(8);

/// See [`crate::engine::Reach::tie`].
pub(in super::super) async fn tie(local: &Local, request: &TieRequest) -> Result<TieReport> {
    let record = reachable(local)?;
    let (nodes, path) = there(&request.place, &record.selector())?;
    if nodes.len() > 1 && request.kind == TieKind::Mount {
        bail!(crate::model::Usage(format!(
            "`{}` is on {} nodes; name one node, since one folder shows one node's files",
            request.place,
            nodes.len()
        )));
    }
    let folder = match request.kind {
        TieKind::Mount => mount_point(&request.folder)?,
        TieKind::Share => shared(&request.folder)?,
    };
    let mut interrupt = Interrupt::listen()?;
    let ssh = Ssh::of(local, &record, None);
    let mut report = TieReport {
        number: nodes.len(),
        ..TieReport::default()
    };
    for node in nodes {
        let tie = Tie {
            kind: request.kind,
            node: node.clone(),
            path: path.clone(),
            folder: folder.clone(),
            read_only: request.read_only,
            owner: owner(),
            process: None,
            state: String::new(),
        };
        match begin(local, &ssh, &tie, &mut interrupt).await {
            Ok(made) => report.made.push(made),
            Err(error) if report.number == 1 || interrupt.came() => return Err(error),
            Err(error) => report.failed.push(NodeFailure {
                node,
                why: format!("{error:#}"),
            }),
        }
    }
    Ok(report)
}

/// The user whose files these are: the one behind sudo, else the one who runs kvmc.
fn owner() -> (u32, u32) {
    let own = (
        nix::unistd::geteuid().as_raw(),
        nix::unistd::getegid().as_raw(),
    );
    behind_root().unwrap_or(own)
}

/// The folder to mount on, which is made if it is not there.
fn mount_point(folder: &Path) -> Result<PathBuf> {
    if !Path::new("/dev/fuse").exists() {
        bail_with_hint!(
            "`modprobe fuse` makes it; a container must be given it",
            "this host has no /dev/fuse, by which sshfs mounts"
        );
    }
    let shown = folder.display();
    fs_err::create_dir_all(folder)?;
    let folder = fs_err::canonicalize(folder)?;
    let mut entries = fs_err::read_dir(&folder)?;
    if entries.next().is_some() {
        bail!("`{shown}` is not empty; the node's files would hide what is in it");
    }
    Ok(folder)
}

fn shared(folder: &Path) -> Result<PathBuf> {
    let shown = folder.display();
    let meta = match std::fs::metadata(folder) {
        Ok(meta) => meta,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => bail!("`{shown}` does not exist"),
        Err(e) => return Err(e).with_context(|| format!("`{shown}` cannot be read")),
    };
    if !meta.is_dir() {
        bail!("`{shown}` is not a folder");
    }
    let folder = fs_err::canonicalize(folder)?;
    match folder.parent() {
        Some(_) => Ok(folder),
        None => bail!("`/` is the whole host; share a folder in it"),
    }
}

/// Starts the process of a tie, and waits until the tie is there. Returns it as its process has recorded it.
async fn begin(
    local: &Local,
    ssh: &Ssh,
    tie: &Tie,
    interrupt: &mut Interrupt,
) -> Result<TieStatus> {
    let dir = local.dir();
    let same = all(&dir).into_iter().find(|(_, other)| is_same(other, tie));
    if let Some((id, other)) = same {
        // One whose node was removed is about to end.
        if let Some(process) = other.running()
            && !process.ended(SOON).await
        {
            let end = local.command(&match tie.kind {
                TieKind::Mount => format!("umount {}", other.folder.display()),
                TieKind::Share => format!("unshare {}:{}", other.node, other.path),
            });
            return Err(add_hint(
                anyhow!("{} is there already", other.status()),
                format!("{end} ends it"),
            ));
        }
        forget(&dir, &id)?;
    }
    if let Some(why) = why_down(&dir, &tie.node) {
        bail!("{} {why}", tie.node);
    }
    let id = new_id();
    write(&dir, &id, tie)?;
    let begun = run(local, &dir, &id, ssh.connects() + START, interrupt).await;
    if begun.is_err() {
        forget(&dir, &id)?;
    }
    begun?;
    let made = all(&dir).into_iter().find(|(other, _)| *other == id);
    Ok(made.map_or_else(|| tie.status(), |(_, tie)| tie.status()))
}

fn is_same(a: &Tie, b: &Tie) -> bool {
    a.kind == b.kind
        && match a.kind {
            TieKind::Mount => a.folder == b.folder,
            TieKind::Share => a.node == b.node && plain(&a.path) == plain(&b.path),
        }
}

/// A path of a node without what makes no difference.
fn plain(path: &str) -> &str {
    path.trim_end_matches('/')
}

async fn run(
    local: &Local,
    dir: &ClusterDir,
    id: &str,
    limit: Duration,
    interrupt: &mut Interrupt,
) -> Result<()> {
    let program = std::env::current_exe().context("the path of this program is unknown")?;
    #[expect(clippy::disallowed_methods, reason = "this program itself")]
    let mut command = Command::new(program);
    command
        .arg("attach")
        .arg(local.name())
        .arg(mark(dir, id))
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    only_streams(command.as_std_mut());
    let mut child = command
        .spawn()
        .context("the process of the tie cannot be started")?;
    let (Some(out), Some(mut err)) = (child.stdout.take(), child.stderr.take()) else {
        bail!("the process of the tie has no pipes");
    };
    let mut line = String::new();
    let mut out = BufReader::new(out);
    let told = tokio::select! {
        read = tokio::time::timeout(limit, out.read_line(&mut line)) => read,
        () = interrupt.wait() => {
            end_child(&mut child).await;
            return Err(Interrupted("nothing is mounted".to_owned()).into());
        }
    };
    match told {
        Ok(Ok(1..)) => Ok(()),
        Ok(_) => {
            let mut said = String::new();
            let _as_far_as_it_goes = err.read_to_string(&mut said).await;
            let _status = child.wait().await;
            Err(repeated(&said))
        }
        Err(_) => {
            end_child(&mut child).await;
            bail!("the folder is not there after {} s", limit.as_secs())
        }
    }
}

async fn end_child(child: &mut tokio::process::Child) {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        // It is not waited for yet, so the pid is its own.
        let _ended_meanwhile =
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGTERM);
    }
    if tokio::time::timeout(END, child.wait()).await.is_err() {
        let _ended_meanwhile = child.kill().await;
    }
}

/// The error that the process has printed, with its hints.
fn repeated(said: &str) -> anyhow::Error {
    let mut lines = said.lines().map(str::trim);
    let error = lines.find_map(|line| line.strip_prefix("error: "));
    let error = anyhow!("{}", error.unwrap_or("the process of the tie has ended"));
    let hints = lines.filter_map(|line| line.strip_prefix("hint: "));
    hints.fold(error, |error, hint| add_hint(error, hint.to_owned()))
}

/// See [`crate::engine::Reach::untie`].
pub(in super::super) async fn untie(local: &Local, kind: TieKind, what: &str) -> Result<TieStatus> {
    let dir = local.dir();
    local.require()?;
    let folders = match kind {
        TieKind::Mount => possible(Path::new(what)),
        TieKind::Share => Vec::new(),
    };
    let is_meant = |tie: &Tie| {
        tie.kind == kind
            && match kind {
                TieKind::Mount => folders.contains(&tie.folder),
                TieKind::Share => format!("{}:{}", tie.node, plain(&tie.path)) == plain(what),
            }
    };
    let known = all(&dir);
    let Some((id, tie)) = known.iter().find(|(_, tie)| is_meant(tie)) else {
        let of_kind = known.iter().filter(|(_, tie)| tie.kind == kind);
        let names: Vec<_> = of_kind
            .map(|(_, tie)| match kind {
                TieKind::Mount => tie.folder.display().to_string(),
                TieKind::Share => format!("{}:{}", tie.node, tie.path),
            })
            .collect();
        let there = match names.is_empty() {
            true => "there is none".to_owned(),
            false => format!("there is {}", names.join(", ")),
        };
        let what = what.escape_debug();
        bail!(NothingThere(match kind {
            TieKind::Mount => format!(
                "cluster `{}` has nothing mounted on `{what}`; {there}",
                local.name()
            ),
            TieKind::Share => format!(
                "cluster `{}` shares nothing as `{what}`; {there}",
                local.name()
            ),
        }));
    };
    end(&dir, id, tie).await?;
    Ok(TieStatus {
        state: "ended".to_owned(),
        ..tie.status()
    })
}

/// The paths that a folder may have been recorded by. A dead mount cannot be asked for its own.
fn possible(folder: &Path) -> Vec<PathBuf> {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let of_parent = || {
        Some(
            absolute
                .parent()?
                .canonicalize()
                .ok()?
                .join(absolute.file_name()?),
        )
    };
    let mut all: Vec<_> = of_parent().into_iter().collect();
    all.extend(std::fs::canonicalize(folder));
    all.push(absolute);
    all
}

async fn end(dir: &ClusterDir, id: &str, tie: &Tie) -> Result<()> {
    if let Some(process) = tie.running() {
        process.signal(Signal::SIGTERM)?;
        if !process.ended(END).await {
            process.signal(Signal::SIGKILL)?;
            process.ended(END).await;
        }
    }
    serving::unmount(tie);
    match file(dir, id).exists() {
        true => forget(dir, id),
        false => Ok(()),
    }
}

/// Ends all ties of a cluster. Returns what could not be ended.
pub(in super::super) async fn untie_all(dir: &ClusterDir) -> Vec<anyhow::Error> {
    let mut errors = Vec::new();
    for (id, tie) in all(dir) {
        errors.extend(end(dir, &id, &tie).await.err());
    }
    errors
}

/// The ties of a cluster.
pub(in super::super) fn ties(dir: &ClusterDir) -> Vec<TieStatus> {
    all(dir).iter().map(|(_, tie)| tie.status()).collect()
}
