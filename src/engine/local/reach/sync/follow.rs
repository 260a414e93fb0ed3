//! Brings one node to what the folder holds, and with `--watch` keeps it there, also across the node's restarts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::super::ssh::Limits;
use super::super::{Ssh, why_down};
use super::session::{End, START, Sent, Session, shown};
use super::tree::{Entry, Kind, Source, Tree};
use crate::model::NodeSync;
use crate::state::{ClusterDir, ClusterRecord, Phase};

/// Waits before a lost node is tried again.
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(10);
/// Times that a file is sent again which changed while it was read, and the wait before each.
const AGAIN: usize = 3;
const SETTLES: Duration = Duration::from_millis(300);

/// What a follower tells of its node.
#[derive(Debug)]
pub(super) enum Tell {
    /// The node has what the folder held a moment ago. It holds whether that was the first look at all of it.
    Synced(NodeSync, bool),
    /// The folder has changed, and the node not yet.
    Behind,
    /// The node is lost, and is tried again.
    Lost(String),
    /// Something keeps the node behind until the folder changes again.
    Stuck(String),
}

/// See the module.
pub(super) struct Follower {
    pub(super) ssh: Ssh,
    pub(super) node: String,
    pub(super) dir: ClusterDir,
    pub(super) path: String,
    pub(super) source: Arc<Source>,
    pub(super) trees: watch::Receiver<Arc<Tree>>,
    pub(super) delete: bool,
    pub(super) dry_run: bool,
    /// Time that a lost node has to come back; none without `--watch`.
    pub(super) patience: Option<Duration>,
    pub(super) tells: mpsc::UnboundedSender<(String, Tell)>,
}

impl Follower {
    /// Returns when the node has all, or with `--watch` never, and fails with the reason when it gives up.
    pub(super) async fn run(mut self) -> Result<(), String> {
        let mut lost: Option<Instant> = None;
        let mut wait = FIRST;
        let mut was_synced = false;
        let mut limits = Limits::new(self.ssh.connects() + START);
        loop {
            let mut synced = false;
            let end = match self.connect(limits.next()).await {
                Ok(session) => match self.follow(session, &mut synced).await {
                    Ok(()) => return Ok(()),
                    Err(end) => end,
                },
                Err(end) => end,
            };
            if synced {
                (lost, wait, was_synced) = (None, FIRST, true);
                limits.reached();
            }
            match (end, self.patience) {
                (End::Lost(why), Some(patience)) => {
                    if let Some(over) = self.is_over() {
                        return Err(over);
                    }
                    let since = *lost.get_or_insert_with(|| {
                        self.tell(Tell::Lost(why.clone()));
                        Instant::now()
                    });
                    if since.elapsed() + wait > patience {
                        let seconds = patience.as_secs();
                        return Err(format!("it did not come back within {seconds} s: {why}"));
                    }
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(LONGEST);
                }
                (End::Refused(why), Some(_)) if was_synced => {
                    self.tell(Tell::Stuck(why));
                    if self.trees.changed().await.is_err() {
                        return Ok(());
                    }
                }
                (End::Lost(why) | End::Refused(why) | End::Here(why), _) => return Err(why),
            }
        }
    }

    fn tell(&self, what: Tell) {
        let _ends_anyway = self.tells.send((self.node.clone(), what));
    }

    /// Why the node will not come back, if that is known.
    fn is_over(&self) -> Option<String> {
        match ClusterRecord::load(&self.dir) {
            Ok(None) => Some("the cluster is removed".to_owned()),
            Ok(Some(record)) => match record.phase {
                Phase::Stopped => Some("the cluster is stopped".to_owned()),
                Phase::Removing => Some("the cluster is removed".to_owned()),
                _ if record.node(&self.node).is_err() => Some("the node is removed".to_owned()),
                _ => None,
            },
            // It may be written at this moment.
            Err(_) => None,
        }
    }

    async fn connect(&self, limit: Duration) -> Result<Session, End> {
        if let Some(why) = why_down(&self.dir, &self.node) {
            return Err(End::Lost(format!("the node {why}")));
        }
        Session::open(&self.ssh, &self.node, &self.path, self.delete, limit).await
    }

    /// Sets `synced` once the node has all.
    async fn follow(&mut self, mut session: Session, synced: &mut bool) -> Result<(), End> {
        let mut known: Option<Arc<Tree>> = None;
        loop {
            let tree = Arc::clone(&self.trees.borrow_and_update());
            let report = self.pass(&mut session, &tree, known.as_deref()).await?;
            *synced = true;
            self.tell(Tell::Synced(report, known.is_none()));
            if self.patience.is_none() {
                return Ok(());
            }
            // What could not be removed now is looked for again.
            known = (!self.delete || tree.unread.is_empty()).then_some(tree);
            tokio::select! {
                changed = self.trees.changed() => if changed.is_err() {
                    return Ok(());
                },
                end = session.lost() => return Err(end),
            }
            self.tell(Tell::Behind);
        }
    }

    /// Brings the node from `known`, or from whatever it has, to `tree`.
    async fn pass(
        &self,
        session: &mut Session,
        tree: &Tree,
        known: Option<&Tree>,
    ) -> Result<NodeSync, End> {
        let began = Instant::now();
        let mut report = NodeSync {
            node: self.node.clone(),
            ..NodeSync::default()
        };
        // What cannot be read may be there, so nothing counts as gone.
        let deletes = self.delete && tree.unread.is_empty();
        let (paths, gone) = match known {
            Some(known) => tree.since(known),
            None => (tree.entries.keys().map(Vec::as_slice).collect(), Vec::new()),
        };
        let gone: Vec<_> = gone.into_iter().filter(|_| deletes).collect();
        let entries: Vec<(&[u8], &Entry)> = paths
            .into_iter()
            .filter_map(|path| Some((path, tree.entries.get(path)?)))
            .collect();
        if !(known.is_some() && entries.is_empty() && gone.is_empty()) {
            let gone = gone.iter().map(|path| path.to_vec()).collect();
            let mut changing = self
                .change(
                    session,
                    &entries,
                    gone,
                    known.is_none() && deletes,
                    &mut report,
                )
                .await?;
            for _ in 0..AGAIN {
                if changing.is_empty() {
                    break;
                }
                tokio::time::sleep(SETTLES).await;
                let fresh: Vec<(Vec<u8>, Entry)> = changing
                    .into_iter()
                    .filter_map(|path| Some((self.source.file(&path).ok()?.metadata().ok()?, path)))
                    .map(|(meta, path)| (path, Entry::of(&meta, Kind::File)))
                    .collect();
                let entries: Vec<_> = fresh.iter().map(|(p, e)| (p.as_slice(), e)).collect();
                changing = self
                    .change(session, &entries, Vec::new(), false, &mut report)
                    .await?;
            }
            for path in changing {
                report.fail(shown(&path), "it changes while it is read".to_owned());
            }
        }
        report.seconds = began.elapsed().as_secs_f64();
        Ok(report)
    }

    /// Compares and changes once. Returns the files that changed while they were read.
    async fn change(
        &self,
        session: &mut Session,
        entries: &[(&[u8], &Entry)],
        mut gone: Vec<Vec<u8>>,
        walks: bool,
        report: &mut NodeSync,
    ) -> Result<Vec<Vec<u8>>, End> {
        let difference = session.compare(entries, walks).await?;
        gone.extend(difference.surplus(&self.source));
        let needs = difference.needs.iter();
        let needs: Vec<_> = needs
            .filter_map(|number| Some((*number, entries.get(*number)?)))
            .collect();
        if self.dry_run {
            let modes = difference.modes.iter();
            let modes = modes.filter_map(|number| entries.get(*number));
            let of = |what: &str, path: &[u8]| (what.to_owned(), shown(path));
            report.planned = gone.iter().map(|path| of("remove", path)).collect();
            let copies = needs.iter().map(|(_, (path, _))| of("copy", path));
            report.planned.extend(copies);
            report
                .planned
                .extend(modes.map(|(path, _)| of("change the mode of", path)));
            session.leave().await?;
            return Ok(Vec::new());
        }
        session.apply().await?;
        for path in &gone {
            session.remove(path).await?;
        }
        for number in &difference.modes {
            session.make("mode", *number).await?;
        }
        let mut changing = Vec::new();
        for (number, (path, entry)) in needs {
            if entry.kind != Kind::File {
                session.make("make", number).await?;
                report.copied += 1;
                continue;
            }
            match session.file(&self.source, path).await? {
                Sent::Whole(bytes) => {
                    report.copied += 1;
                    report.bytes += bytes;
                }
                Sent::Gone => {}
                Sent::Changed => changing.push(path.to_vec()),
                Sent::Unread(why) => report.fail(shown(path), why),
            }
        }
        let done = session.finish().await?;
        report.removed += done.removed;
        report.copied = report.copied.saturating_sub(done.failures);
        let told = report.failed.len();
        for (path, why) in done.failed() {
            report.fail(path, why);
        }
        report.failures += done.failures.saturating_sub(report.failed.len() - told);
        Ok(changing)
    }
}
