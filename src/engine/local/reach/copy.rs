//! `cp`: copies between this host and nodes, by scp(1), to and from many nodes at once.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use tokio::task::JoinSet;

use super::super::Local;
use super::place::{Copy, Target, copies, here};
use super::probe::{Load, explain, obstacle};
use super::ssh::start;
use super::{Ssh, reachable, why_down};
use crate::engine::CopyRequest;
use crate::interrupt::Interrupt;
use crate::model::{CopyReport, Interrupted, NodeFailure};

/// Lines of scp's that a failure shows.
const SHOWN: usize = 4;
/// Deepest folder that is looked into, so that a link to a folder above does no harm.
const DEEPEST: usize = 64;

/// See [`crate::engine::Reach::copy`].
pub(in super::super) async fn copy(local: &Local, request: &CopyRequest) -> Result<CopyReport> {
    let record = reachable(local)?;
    let exists = |path: &str| std::fs::symlink_metadata(path).is_ok();
    let copies = copies(
        &request.sources,
        &request.target,
        &record.selector(),
        exists,
    )?;
    let load = match copies.first() {
        Some(first) => weigh(first)?,
        None => Load::default(),
    };
    check_here(&copies)?;
    let mut interrupt = Interrupt::listen()?;
    let ssh = Ssh::of(local, &record, None);
    let is_alone = copies.len() == 1;
    let mut report = CopyReport {
        number: copies.len(),
        failed: Vec::new(),
    };
    let mut waiting: Vec<String> = Vec::new();
    let mut running = JoinSet::new();
    for copy in copies {
        let down = copy.nodes.iter().find_map(|node| {
            let why = why_down(&local.dir(), node)?;
            let (node, why) = (node.clone(), format!("the node {why}"));
            Some(NodeFailure { node, why })
        });
        if let Some(down) = down {
            report.failed.push(down);
            continue;
        }
        waiting.push(copy.node().to_owned());
        let run = Run {
            ssh: ssh.clone(),
            copy,
            load: load.clone(),
            preserve: request.preserve,
            is_alone,
        };
        running.spawn(run.carry_out());
    }
    loop {
        let ended = tokio::select! {
            ended = running.join_next() => ended,
            () = interrupt.wait() => {
                running.shutdown().await;
                let nodes = waiting.join(", ");
                return Err(Interrupted(format!("what was copied of {nodes} may be incomplete")).into());
            }
        };
        let Some(ended) = ended else { break };
        let (node, took, result) = ended.context("a copy ended early")?;
        waiting.retain(|waiting| *waiting != node);
        match result {
            Ok(()) if is_alone => {}
            Ok(()) => local
                .progress
                .say(&format!("{node:<10} copied, {took:.1} s")),
            Err(e) => {
                let why = format!("{e:#}");
                report.failed.push(NodeFailure { node, why });
            }
        }
    }
    report.failed.sort_by(|a, b| a.node.cmp(&b.node));
    Ok(report)
}

/// One copy, for a task of its own.
struct Run {
    ssh: Ssh,
    copy: Copy,
    load: Load,
    preserve: bool,
    /// It is the only one, so scp may show its progress.
    is_alone: bool,
}

impl Run {
    async fn carry_out(self) -> (String, f64, Result<()>) {
        let began = Instant::now();
        let result = self.run().await;
        let node = self.copy.node().to_owned();
        (node, began.elapsed().as_secs_f64(), result)
    }

    async fn run(&self) -> Result<()> {
        if let Some(why) = obstacle(&self.ssh, &self.copy, &self.load).await {
            bail!(why);
        }
        let target = match &self.copy.target {
            Target::Node(path) => format!("{}:{path}", self.copy.node()),
            Target::Here(path) => here(path),
            Target::Under(path) => {
                let folder = Path::new(path).join(self.copy.node());
                fs_err::create_dir_all(&folder)?;
                here(&folder.display().to_string())
            }
        };
        let new_file = self.new_file();
        let mut command = self.ssh.scp();
        // From node to node by this host, which has the key.
        command.arg("-3");
        if self.preserve {
            command.arg("-p");
        }
        command.arg("--").args(&self.copy.sources).arg(target);
        let shows_progress = self.is_alone && std::io::stdout().is_terminal();
        command.stdout(match shows_progress {
            true => Stdio::inherit(),
            false => Stdio::null(),
        });
        let output = start(command, !shows_progress)?.wait_with_output().await?;
        if output.status.success() {
            return Ok(());
        }
        if let Some(file) = new_file.filter(|file| file.is_file()) {
            let _it_stays = std::fs::remove_file(file);
        }
        // A node that is not reached cannot be looked at.
        let explained = match output.status.code() {
            Some(255) | None => None,
            Some(_) => explain(&self.ssh, &self.copy, &self.load).await,
        };
        bail!(explained.unwrap_or_else(|| words(&output.stderr, output.status)))
    }

    /// The file of this host that the copy creates, if it is a single one. A copy that fails leaves no half of it.
    fn new_file(&self) -> Option<PathBuf> {
        let path = match &self.copy.target {
            Target::Node(_) => return None,
            Target::Here(path) => PathBuf::from(path),
            Target::Under(path) => Path::new(path).join(self.copy.node()),
        };
        let [source] = self.copy.sources.as_slice() else {
            return None;
        };
        let file = match path.is_dir() {
            true => path.join(Path::new(source.split_once(':')?.1).file_name()?),
            false => path,
        };
        std::fs::symlink_metadata(&file).is_err().then_some(file)
    }
}

/// The last lines that scp has written, without its name.
fn words(stderr: &[u8], status: std::process::ExitStatus) -> String {
    let text = String::from_utf8_lossy(stderr);
    let mut lines: Vec<String> = text
        .lines()
        .map(|line| {
            line.trim_end()
                .trim_start_matches("scp: ")
                .trim_start_matches("ssh: ")
        })
        .filter(|line| !line.is_empty())
        .map(|line| line.chars().filter(|c| !c.is_control()).collect())
        .collect();
    // ssh has said why.
    if lines.len() > 1 {
        lines.retain(|line| line != "Connection closed");
    }
    let surplus = lines.len().saturating_sub(SHOWN);
    lines.drain(..surplus);
    match lines.is_empty() {
        true => format!("scp ended with {status}"),
        false => lines.join("; "),
    }
}

/// Sums up the sources of this host.
///
/// # Errors
/// Fails if one does not exist.
fn weigh(copy: &Copy) -> Result<Load> {
    let mut load = Load {
        number: copy.sources.len(),
        ..Load::default()
    };
    for path in &copy.local {
        let path = Path::new(path);
        let meta = match std::fs::metadata(path) {
            Ok(meta) => meta,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                bail!("`{}` does not exist", path.display())
            }
            Err(e) => return Err(e).with_context(|| format!("{} cannot be read", path.display())),
        };
        load.has_folder |= meta.is_dir();
        load.bytes += size(path, &meta, DEEPEST);
        load.name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
    }
    Ok(load)
}

/// The bytes of a file, or of all files in a folder. What cannot be read counts nothing; scp names it.
fn size(path: &Path, meta: &std::fs::Metadata, deepest: usize) -> u64 {
    if !meta.is_dir() {
        return meta.len();
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let sizes = entries.filter(|_| deepest > 0).filter_map(|entry| {
        let meta = std::fs::metadata(entry.path()).ok()?;
        Some(size(&entry.path(), &meta, deepest - 1))
    });
    sizes.sum()
}

/// Refuses a target of this host that the sources cannot go to.
fn check_here(copies: &[Copy]) -> Result<()> {
    let many = copies.len() > 1 || copies.iter().any(|copy| copy.sources.len() > 1);
    for copy in copies {
        let (path, needs_folder) = match &copy.target {
            Target::Node(_) => continue,
            Target::Here(path) => (Path::new(path), many),
            Target::Under(path) => (Path::new(path), false),
        };
        let is_under = matches!(copy.target, Target::Under(_));
        match std::fs::metadata(path) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) if is_under => bail!(
                "`{}` is a file; each node's files go into a folder in it",
                path.display()
            ),
            Ok(_) if needs_folder => bail!(
                "`{}` is a file; several sources need a folder",
                path.display()
            ),
            Err(_) if needs_folder => bail!(
                "there is no folder `{}`; several sources need one",
                path.display()
            ),
            Ok(_) => {}
            Err(_) => {
                let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
                if parent.is_some_and(|parent| !parent.is_dir()) {
                    bail!("there is no folder for `{}`", path.display());
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn a_failure_shows_what_scp_and_ssh_said() {
        let said = |text: &str| words(text.as_bytes(), std::process::ExitStatus::from_raw(256));
        assert_eq!(
            said("ssh: connect to host a port 22: refused\r\nscp: Connection closed\n"),
            "connect to host a port 22: refused"
        );
        assert_eq!(said("a\nb\nc\nd\ne\n"), "b; c; d; e");
        assert_eq!(said(""), "scp ended with exit status: 1");
    }

    #[test]
    fn a_target_of_this_host_fits_the_sources() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "12345").unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let copy = |target: Target, sources: usize| Copy {
            nodes: vec!["a".to_owned()],
            local: Vec::new(),
            sources: vec!["a:x".to_owned(); sources],
            target,
        };
        for (target, sources, expected) in [
            (Target::Under(path("file")), 1, "is a file; each node's"),
            (Target::Here(path("file")), 2, "is a file; several"),
            (Target::Here(path("new")), 2, "there is no folder"),
            (Target::Here(path("no/new")), 1, "there is no folder for"),
            (Target::Here(path("file")), 1, ""),
            (Target::Here(path("new")), 1, ""),
            (Target::Under(path("new")), 2, ""),
            (Target::Here(path("")), 2, ""),
        ] {
            let checked = check_here(&[copy(target.clone(), sources)]);
            let said = checked.map_or_else(|e| e.to_string(), |()| String::new());
            let fits = said.is_empty() == expected.is_empty() && said.contains(expected);
            assert!(fits, "{target:?}: {said}");
        }
        let load = |path: String| {
            let mut copy = copy(Target::Node(String::new()), 1);
            copy.local = vec![path];
            weigh(&copy).map_err(|e| e.to_string())
        };
        let folder = load(path("")).unwrap();
        assert!(folder.has_folder && folder.bytes == 5);
        assert!(
            load(path("none"))
                .unwrap_err()
                .ends_with("` does not exist")
        );
    }
}
