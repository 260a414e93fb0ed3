//! `sync`: brings a folder of nodes to what a folder of this host holds. A small program in the node's Python compares,
//! writes and removes there, so a node needs nothing but sshd and Python.

mod changes;
mod follow;
mod session;
mod tree;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use self::changes::Watch;
use self::follow::{Follower, Tell};
use self::tree::{Source, Tree};
use super::super::Local;
use super::place::there;
use super::{Ssh, reachable};
use crate::engine::SyncRequest;
use crate::hint::{WithHint, command};
use crate::interrupt::Interrupt;
use crate::model::{Interrupted, NodeFailure, NodeSync, SyncReport};
use crate::spec::approximate;

/// A change is copied after this time without another one, and at the latest after the second.
const QUIET: Duration = Duration::from_millis(100);
const LATEST: Duration = Duration::from_secs(1);
/// Paths that a warning names.
const NAMED: usize = 3;

/// See [`crate::engine::Reach::sync`].
pub(in super::super) async fn sync(local: &Local, request: &SyncRequest) -> Result<SyncReport> {
    let record = reachable(local)?;
    let (nodes, path) = there(&request.target, &record.selector())?;
    let source = Arc::new(Source::open(&request.folder, &request.exclude)?);
    let interrupt = Interrupt::listen()?;
    let watch = request.watch.then(Watch::new).transpose()?;
    let tree = look(&source, watch.as_ref())?;
    warn(local, &tree);
    let (sends, trees) = watch::channel(Arc::new(tree));
    let (tells, told) = mpsc::unbounded_channel();
    let ssh = Ssh::of(local, &record, None);
    let mut running = JoinSet::new();
    for node in &nodes {
        let follower = Follower {
            ssh: ssh.clone(),
            node: node.clone(),
            dir: local.dir(),
            path: path.clone(),
            source: Arc::clone(&source),
            trees: trees.clone(),
            delete: request.delete,
            dry_run: request.dry_run,
            patience: request.watch.then_some(request.patience),
            tells: tells.clone(),
        };
        let node = node.clone();
        running.spawn(async move { (node, follower.run().await) });
    }
    drop((trees, tells));
    let run = Run {
        local,
        interrupt,
        watch,
        source,
        sends,
        told,
        behind: nodes.iter().map(|node| (node.clone(), true)).collect(),
        report: SyncReport {
            number: nodes.len(),
            ..SyncReport::default()
        },
        says: !request.dry_run,
    };
    run.attend(running).await
}

fn look(source: &Source, watch: Option<&Watch>) -> Result<Tree> {
    source.read(|folder| watch.map_or(Ok(()), |watch| watch.add(folder)))
}

/// Tells what is not copied.
fn warn(local: &Local, tree: &Tree) {
    if tree.special > 0 {
        let what = if tree.special == 1 { "path" } else { "paths" };
        local.progress.say(&format!(
            "{} {what} left out: sockets, pipes and devices are not copied",
            tree.special
        ));
    }
    let named = tree.unread.iter().take(NAMED);
    let named: Vec<_> = named
        .map(|(path, why)| format!("`{path}`: {why}"))
        .collect();
    if !named.is_empty() {
        local.progress.say(&format!(
            "warning: {} paths cannot be read, so nothing is removed: {}",
            tree.unread.len(),
            named.join("; ")
        ));
    }
}

/// The work of one `sync` on this host.
struct Run<'a> {
    local: &'a Local,
    interrupt: Interrupt,
    watch: Option<Watch>,
    source: Arc<Source>,
    sends: watch::Sender<Arc<Tree>>,
    told: mpsc::UnboundedReceiver<(String, Tell)>,
    /// Whether each node lacks something.
    behind: BTreeMap<String, bool>,
    report: SyncReport,
    says: bool,
}

impl Run<'_> {
    async fn attend(
        mut self,
        mut running: JoinSet<(String, Result<(), String>)>,
    ) -> Result<SyncReport> {
        loop {
            tokio::select! {
                // What a node has told comes before its end.
                biased;
                () = self.interrupt.wait() => {
                    running.shutdown().await;
                    return Err(self.interrupted().into());
                }
                Some((node, tell)) = self.told.recv() => self.hear(node, tell),
                ended = running.join_next() => {
                    let Some(ended) = ended else { break };
                    let (node, result) = ended.context("a copy ended early")?;
                    if let Err(why) = result {
                        self.fail(node, why);
                    }
                }
                () = changed(self.watch.as_ref()) => self.follow().await?,
            }
        }
        self.report.nodes.sort_by(|a, b| a.node.cmp(&b.node));
        self.report.lost.sort_by(|a, b| a.node.cmp(&b.node));
        Ok(self.report)
    }

    /// Looks at the folder again, once it has been quiet for a moment.
    async fn follow(&mut self) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < LATEST
            && tokio::time::timeout(QUIET, changed(self.watch.as_ref()))
                .await
                .is_ok()
        {}
        let tree = look(&self.source, self.watch.as_ref()).hint(|| {
            let verb = command(self.local.name(), "sync");
            format!("the nodes keep what they have; {verb} begins again")
        })?;
        if tree != **self.sends.borrow() {
            if tree.unread != self.sends.borrow().unread {
                warn(self.local, &tree);
            }
            self.behind.values_mut().for_each(|behind| *behind = true);
            self.sends.send_replace(Arc::new(tree));
        }
        Ok(())
    }

    fn hear(&mut self, node: String, tell: Tell) {
        let say = |text: &str| self.local.progress.say(&format!("{node:<10} {text}"));
        match tell {
            Tell::Synced(report, is_first) => {
                if self.says && (is_first || !report.is_nothing()) {
                    say(&words(&report));
                }
                let is_whole = report.failures == 0;
                self.behind.insert(node, !is_whole);
                match self.watch.is_some() {
                    true => self.tell_failures(&report),
                    false => self.report.nodes.push(report),
                }
            }
            Tell::Behind => {
                self.behind.insert(node, true);
            }
            Tell::Lost(why) => {
                say(&format!("lost: {why}; trying again"));
                self.behind.insert(node, true);
            }
            Tell::Stuck(why) => {
                say(&format!("incomplete: {why}"));
                self.behind.insert(node, true);
            }
        }
    }

    fn tell_failures(&self, report: &NodeSync) {
        for (path, why) in &report.failed {
            let node = &report.node;
            let text = format!("warning: {node}: `{path}`: {why}");
            self.local.progress.say(&text);
        }
    }

    fn fail(&mut self, node: String, why: String) {
        if self.watch.is_some() {
            let text = format!("{node:<10} given up: {why}");
            self.local.progress.say(&text);
        }
        self.report.lost.push(NodeFailure { node, why });
    }

    fn interrupted(&self) -> Interrupted {
        let behind: Vec<_> = self.behind.iter().filter(|(_, behind)| **behind).collect();
        let names: Vec<_> = behind.iter().map(|(node, _)| node.as_str()).collect();
        Interrupted(match names.is_empty() {
            true => "all nodes have what the folder holds".to_owned(),
            false => format!("what was copied to {} is incomplete", names.join(", ")),
        })
    }
}

/// Waits for a change of the folder, for ever if it is not watched.
async fn changed(watch: Option<&Watch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// What was done on a node.
fn words(report: &NodeSync) -> String {
    if report.is_nothing() {
        return format!("nothing to copy, {:.1} s", report.seconds);
    }
    let mut words = vec![format!(
        "{} copied, {}",
        report.copied,
        approximate(report.bytes)
    )];
    if report.removed > 0 {
        words.push(format!("{} removed", report.removed));
    }
    if report.failures > 0 {
        words.push(format!("{} failed", report.failures));
    }
    words.push(format!("{:.1} s", report.seconds));
    words.join(", ")
}
