//! `console`: a node's console by way of the keeper, across restarts of node and keeper.

use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, watch};

use super::super::Local;
use super::ssh::Said;
use super::{Ssh, reachable, why_down};
use crate::engine::Console;
use crate::hint::{WithHint, command};
use crate::keeper::{ConsoleStream, Keeper};
use crate::model::{Board, Shown, Stage};
use crate::state::{ClusterDir, ClusterRecord, Phase, console_tail};

/// Wait before a keeper that has ended is asked again.
const RETRY: Duration = Duration::from_millis(200);
/// Tries after which the viewer is told that there is no keeper.
const PATIENCE: u32 = 20;
/// Time between two looks whether the node is still there.
const LOOK: Duration = Duration::from_secs(1);
/// Wait after the last change of the window's size.
const SETTLED: Duration = Duration::from_millis(300);
/// Run by root on a node: sets the size of the console, and starts a login there unless a program reads it. The
/// template starts none at boot.
const PREPARE: &str = r#"read -r all < /sys/class/tty/console/active; tty=${all##* }
stty -F "/dev/$tty" rows "$1" cols "$2"
systemctl -q is-active "serial-getty@$tty.service" && exit 0
systemctl -q is-active kvmc-console.service && exit 0
exec systemd-run -q --collect --unit=kvmc-console.service -p Restart=always -p StandardInput=tty -p StandardOutput=tty \
  -p "TTYPath=/dev/$tty" -p "TTYRows=$1" -p "TTYColumns=$2" -p IgnoreSIGPIPE=no -p SendSIGHUP=yes \
  agetty --noreset --noclear --keep-baud 115200,57600,38400,9600 - linux"#;

/// See [`crate::engine::Reach::console_history`].
pub(in super::super) fn history(local: &Local, node: &str) -> Result<Vec<u8>> {
    let record = local.require()?;
    record.node(node)?;
    Ok(console_tail(&local.dir().node(node).console_log()))
}

/// See [`crate::engine::Reach::console`].
pub(in super::super) async fn console(local: &Local, node: &str) -> Result<Console> {
    let record = reachable(local)?;
    record.node(node)?;
    if let Some(why) = why_down(&local.dir(), node) {
        return Err(anyhow::anyhow!("{node} {why}")).hint(|| {
            let verb = format!("console --history {node}");
            format!("{} shows what it wrote", local.command(&verb))
        });
    }
    let keeper = Keeper::of(&local.dir(), &local.cluster);
    let up = || format!("{} starts the keeper again", local.command("up"));
    let stream = keeper.console(node, true).await.hint(up)?;
    let (shows, shown) = mpsc::channel(64);
    let (types, typed) = mpsc::channel(64);
    let (resizes, sizes) = watch::channel(None);
    let view = View {
        dir: local.dir(),
        cluster: local.cluster.clone(),
        keeper,
        node: node.to_owned(),
        shows,
        typed,
    };
    tokio::spawn(prepare(
        Ssh::of(local, &record, None),
        node.to_owned(),
        sizes,
    ));
    tokio::spawn(view.run(stream));
    Ok(Console {
        shown,
        typed: types,
        size: resizes,
    })
}

/// A viewed console.
struct View {
    dir: ClusterDir,
    cluster: String,
    keeper: Keeper,
    node: String,
    shows: mpsc::Sender<Shown>,
    typed: mpsc::Receiver<Vec<u8>>,
}

impl View {
    /// Shows the console until the viewer or the cluster ends.
    async fn run(mut self, mut stream: ConsoleStream) {
        loop {
            let board = self.keeper.watch().await.ok();
            if self.attend(stream, board).await.is_none() {
                return;
            }
            stream = match self.again().await {
                Some(stream) => stream,
                None => return,
            };
        }
    }

    /// Passes on output, input and what happens to the node. Returns when the keeper has ended, `None` when the viewer
    /// has.
    async fn attend(
        &mut self,
        stream: ConsoleStream,
        mut board: Option<watch::Receiver<Board>>,
    ) -> Option<()> {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut buffer = vec![0; 4096];
        let mut has_ended = false;
        let mut looks = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                read = reader.read(&mut buffer) => match read {
                    Ok(n @ 1..) => {
                        let bytes = buffer.get(..n).unwrap_or_default().to_vec();
                        self.shows.send(Shown::Bytes(bytes)).await.ok()?;
                    }
                    _ => return Some(()),
                },
                typed = self.typed.recv() => {
                    if writer.write_all(&typed?).await.is_err() {
                        return Some(());
                    }
                }
                change = changed(&mut board) => match change {
                    Some(board) => {
                        let notice = self.notice(&board, &mut has_ended);
                        if let Some(notice) = notice {
                            self.shows.send(Shown::Notice(notice)).await.ok()?;
                        }
                    }
                    None => board = None,
                },
                // The keeper keeps the console of a node that is removed, for one of the same name.
                _ = looks.tick() => if let Some(over) = self.is_over() {
                    self.shows.send(Shown::Notice(over)).await.ok()?;
                    return None;
                },
            }
        }
    }

    /// A sentence about the node's end or its next start.
    fn notice(&self, board: &Board, has_ended: &mut bool) -> Option<String> {
        let view = board.get(&self.node)?;
        let ends = view.stage == Stage::Ended;
        if std::mem::replace(has_ended, ends) == ends {
            return None;
        }
        Some(match (ends, view.note.as_str()) {
            (true, "") => format!("{} has ended", self.node),
            (true, why) => format!("{} has ended: {why}", self.node),
            (false, _) => format!("{} starts again", self.node),
        })
    }

    /// Why nothing more will be shown, if node or cluster are gone.
    fn is_over(&self) -> Option<String> {
        let of_cluster = |how: &str| Some(format!("cluster `{}` is {how}", self.cluster));
        match ClusterRecord::load(&self.dir) {
            Ok(None) => of_cluster("removed"),
            Ok(Some(record)) => match record.phase {
                Phase::Removing => of_cluster("removed"),
                Phase::Stopped => of_cluster("stopped"),
                Phase::Up | Phase::Starting if record.node(&self.node).is_err() => {
                    Some(format!("{} is removed", self.node))
                }
                Phase::Up | Phase::Starting => None,
            },
            // It may be written at this moment.
            Err(_) => None,
        }
    }

    /// Opens the console again, once a keeper answers. Returns `None` if the cluster has ended.
    async fn again(&self) -> Option<ConsoleStream> {
        // `stop` and a verb that replaces the keeper are done before that.
        let mut tries = 0;
        loop {
            tokio::time::sleep(RETRY).await;
            tries += 1;
            if self.shows.is_closed() {
                return None;
            }
            if let Some(over) = self.is_over() {
                self.shows.send(Shown::Notice(over)).await.ok()?;
                return None;
            }
            match self.keeper.console(&self.node, false).await {
                Ok(stream) => return Some(stream),
                Err(_) if tries != PATIENCE => {}
                Err(_) => {
                    let up = command(&self.cluster, "up");
                    let notice = format!("the keeper has ended; {up} starts it again");
                    self.shows.send(Shown::Notice(notice)).await.ok()?;
                }
            }
        }
    }
}

/// The board after a change; `None` when it will not change any more.
async fn changed(board: &mut Option<watch::Receiver<Board>>) -> Option<Board> {
    match board {
        Some(board) => {
            board.changed().await.ok()?;
            Some(board.borrow_and_update().clone())
        }
        None => std::future::pending().await,
    }
}

/// Sets the console's size in the guest whenever it changes. A node without sshd or sudo keeps its size.
async fn prepare(ssh: Ssh, node: String, mut sizes: watch::Receiver<Option<(u16, u16)>>) {
    while sizes.changed().await.is_ok() {
        tokio::time::sleep(SETTLED).await;
        let Some((rows, columns)) = *sizes.borrow_and_update() else {
            continue;
        };
        let Ok(said) = Said::new() else { return };
        let words = [
            "sudo -n sh -s".to_owned(),
            rows.to_string(),
            columns.to_string(),
        ];
        let mut run = ssh.command(&node, &words, &said);
        run.stdin(std::process::Stdio::piped());
        let Ok(mut child) = super::ssh::start(run, true) else {
            return;
        };
        if let Some(mut script) = child.stdin.take() {
            let _gone = script.write_all(PREPARE.as_bytes()).await;
        }
        let _no_size = child.wait_with_output().await;
    }
}
