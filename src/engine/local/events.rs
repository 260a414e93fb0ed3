//! A cluster's events: from the keeper while it runs, else from the log on disk.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::Local;
use super::status::node_status;
use crate::hint::{WithHint, add_hint};
use crate::keeper::{Keeper, Told, read_log};
use crate::model::{Board, Event, EventLine, EventTold, NodeState, NothingThere, Timeline, Usage};
use crate::state::Found;

/// Attempts to connect to a keeper whose socket has appeared, and the interval between two.
const TRIES: u32 = 100;
const BETWEEN: Duration = Duration::from_millis(20);

/// Receives the lines. It returns whether somebody still reads.
pub(crate) type Show<'a> = &'a mut dyn FnMut(EventLine) -> bool;

impl Local {
    /// Shows the events after a number. With `follow`, also those that come, until the cluster is removed or nobody
    /// reads; without a number, first the nodes' state instead of the events so far.
    ///
    /// # Errors
    /// Fails if there is no such cluster, if there is no event of that number, or if the keeper is of another version.
    pub(crate) async fn events(
        &self,
        since: Option<u64>,
        follow: bool,
        show: Show<'_>,
    ) -> Result<()> {
        self.check_log()?;
        let dir = self.dir();
        let keeper = Keeper::of(&dir, &self.cluster);
        if let Some(since) = since {
            self.check_number(since, &keeper).await?;
        }
        let mut told = since.or((!follow).then_some(0));
        if !follow {
            self.tell(&keeper, &mut told, false, show).await?;
            return Ok(());
        }
        loop {
            // It watches before it looks, so that it misses no keeper.
            let folder = watch(dir.path())?;
            for _ in 0..TRIES {
                match self.tell(&keeper, &mut told, true, show).await? {
                    Source::NobodyReads => return Ok(()),
                    // It has ended, and another one may have come since.
                    Source::Keeper => break,
                    Source::Log if dir.keeper_socket().exists() => {
                        tokio::time::sleep(BETWEEN).await;
                    }
                    Source::Log => break,
                }
            }
            if !folder.changes().await? || !dir.path().exists() {
                self.progress.say("the cluster was removed");
                return Ok(());
            }
        }
    }

    /// The stages of the last start.
    ///
    /// # Errors
    /// Fails if there is no such cluster, or if none of its nodes has started.
    pub(crate) fn timeline(&self) -> Result<Timeline> {
        self.check_log()?;
        let record = Found::look(&self.dir()).record();
        // A node that was removed meanwhile is none. Without a record, those of the log are all that is known.
        let has = |node: &str| record.as_ref().is_none_or(|r| r.node(node).is_ok());
        let timeline = Timeline::of(&self.cluster, read_log(&self.dir().events()), has);
        timeline.ok_or_else(|| {
            let text = format!("no node of cluster `{}` has started yet", self.cluster);
            let up = self.command("up");
            add_hint(NothingThere(text).into(), format!("{up} starts them"))
        })
    }

    fn check_log(&self) -> Result<()> {
        let dir = self.dir();
        if matches!(Found::look(&dir), Found::Nothing) && !dir.events().exists() {
            return Err(self.nothing_there());
        }
        Ok(())
    }

    /// Shows what there is after `told`, and advances it.
    async fn tell(
        &self,
        keeper: &Keeper,
        told: &mut Option<u64>,
        follow: bool,
        show: Show<'_>,
    ) -> Result<Source> {
        let Some(mut stream) = keeper.events(*told, follow).await? else {
            return Ok(self.tell_log(told, show));
        };
        let replaces = || format!("{} replaces it", self.command("up"));
        while let Some(next) = stream.next().await.hint(replaces)? {
            let line = match next {
                Told::State { number, board } => {
                    *told = Some(number);
                    self.state(number, Some(&board))
                }
                Told::Event(event) => {
                    *told = Some(event.number);
                    EventTold::Event(event)
                }
                Told::Missed { from, to } => {
                    *told = Some(to);
                    EventTold::Missed { from, to }
                }
            };
            if !show(line.into()) {
                return Ok(Source::NobodyReads);
            }
        }
        Ok(Source::Keeper)
    }

    fn tell_log(&self, told: &mut Option<u64>, show: Show<'_>) -> Source {
        let log = read_log(&self.dir().events());
        let lines = match *told {
            Some(since) => after(since, log),
            None => {
                let number = log.map(|e| e.number).max().unwrap_or(0);
                vec![self.state(number, None)]
            }
        };
        for line in lines {
            *told = Some(match &line {
                EventTold::State { number, .. } => *number,
                EventTold::Event(event) => event.number,
                EventTold::Missed { to, .. } => *to,
            });
            if !show(line.into()) {
                return Source::NobodyReads;
            }
        }
        Source::Log
    }

    /// The state of all nodes.
    fn state(&self, number: u64, board: Option<&Board>) -> EventTold {
        let dir = self.dir();
        let record = Found::look(&dir).record();
        let nodes = record.iter().flat_map(|record| {
            record.nodes.iter().map(|node| NodeState {
                name: node.name.clone(),
                state: node_status(record, node, &dir, board).state,
            })
        });
        EventTold::State {
            number,
            nodes: nodes.collect(),
        }
    }

    /// Refuses a number that the cluster has not reached. It is of another cluster, or of this one before `down`.
    async fn check_number(&self, since: u64, keeper: &Keeper) -> Result<()> {
        let on_disk = read_log(&self.dir().events()).map(|e| e.number).max();
        let mut last = on_disk.unwrap_or(0);
        // A full disk keeps events out of the log.
        if since > last
            && let Some(mut stream) = keeper.events(None, false).await?
            && let Some(Told::State { number, .. }) = stream.next().await?
        {
            last = last.max(number);
        }
        if since <= last {
            return Ok(());
        }
        let text = format!("there is no event {since}; the last one has the number {last}");
        Err(add_hint(
            Usage(text).into(),
            format!(
                "a cluster counts its events from 1; {} shows all of them",
                self.command("events")
            ),
        ))
    }
}

/// Where the lines came from, when there are no more of them.
enum Source {
    Keeper,
    Log,
    NobodyReads,
}

/// The events after a number, and the gaps between them.
fn after(since: u64, log: impl Iterator<Item = Event>) -> Vec<EventTold> {
    let mut told = since;
    let mut lines = Vec::new();
    for event in log {
        if event.number <= told {
            continue;
        }
        if event.number > told + 1 {
            lines.push(EventTold::Missed {
                from: told + 1,
                to: event.number - 1,
            });
        }
        told = event.number;
        lines.push(EventTold::Event(event));
    }
    lines
}

/// A folder that is watched for a new keeper's socket, and for its own removal.
struct Watched(Inotify);

fn watch(folder: &Path) -> Result<Watched> {
    let watched = || {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC)?;
        let changes = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        inotify.add_watch(folder, changes)?;
        Ok(Watched(inotify))
    };
    watched().map_err(|e: Errno| {
        anyhow::Error::from(e).context(format!("{} cannot be watched", folder.display()))
    })
}

impl Watched {
    /// Waits until a socket appears, without any work meanwhile. Returns false if the folder was removed.
    async fn changes(self) -> Result<bool> {
        let waits = tokio::task::spawn_blocking(move || {
            loop {
                let events = match self.0.read_events() {
                    Err(Errno::EINTR) => continue,
                    events => events?,
                };
                for event in events {
                    if event
                        .mask
                        .intersects(AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_IGNORED)
                    {
                        return Ok(false);
                    }
                    // Of a full queue, the kernel tells no more than that.
                    let is_full = event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW);
                    if is_full || event.name.is_some_and(|name| name == "keeper.sock") {
                        return Ok(true);
                    }
                }
            }
        });
        let waited: Result<bool, Errno> = waits.await.context("a task of kvmc panicked")?;
        waited.context("the cluster's folder cannot be watched")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EventKind;

    #[test]
    fn a_gap_in_the_log_is_told() {
        let event = |number| Event {
            event: EventKind::Ready,
            node: "a".to_owned(),
            note: String::new(),
            number,
            time: 0.0,
        };
        let log = || [0, 3, 4, 7].map(event).into_iter();
        let missed = |from, to| EventTold::Missed { from, to };
        let told = |number| EventTold::Event(event(number));
        assert_eq!(
            after(0, log()),
            [missed(1, 2), told(3), told(4), missed(5, 6), told(7)]
        );
        assert_eq!(after(4, log()), [missed(5, 6), told(7)]);
        assert_eq!(after(7, log()), []);
    }

    #[tokio::test]
    async fn a_folder_tells_of_a_new_socket_and_of_its_removal() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("k80");
        std::fs::create_dir(&folder).unwrap();
        let watched = watch(&folder).unwrap();
        std::fs::write(folder.join("other"), "").unwrap();
        std::fs::write(folder.join("keeper.sock"), "").unwrap();
        assert!(watched.changes().await.unwrap());
        let watched = watch(&folder).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(!watched.changes().await.unwrap());
        assert!(watch(&folder).is_err());
    }
}
