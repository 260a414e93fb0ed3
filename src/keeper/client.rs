//! The CLI's side of the keeper: to find it, start it, ask it and end it.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::watch;

use super::protocol::{Answer, Request};
use crate::failpoint::failpoint;
use crate::model::Board;
use crate::node::{Identity, scan};
use crate::state::{ClusterDir, read_json, remove_file};

/// Longest that an answer takes: each is a look-up, or a command to one QEMU.
const ANSWER: Duration = Duration::from_secs(6);
/// Longest from start to first answer.
const START: Duration = Duration::from_secs(10);

/// The keeper of a cluster, whether it runs or not.
#[derive(Debug, Clone)]
pub(crate) struct Keeper {
    dir: ClusterDir,
    cluster: String,
}

impl Keeper {
    pub(crate) fn of(dir: &ClusterDir, cluster: &str) -> Self {
        Self {
            dir: dir.clone(),
            cluster: cluster.to_owned(),
        }
    }

    /// The argument that tells this cluster's keeper from every other process.
    pub(crate) fn mark(dir: &ClusterDir) -> String {
        format!("--folder={}", dir.path().display())
    }

    fn process(&self) -> Option<crate::node::Handle> {
        let recorded = read_json::<Identity>(&self.dir.keeper_process())
            .ok()
            .flatten();
        recorded
            .and_then(|identity| identity.open())
            .or_else(|| self.find()?.open())
    }

    /// By its arguments, when the record of it was never written.
    fn find(&self) -> Option<Identity> {
        let mark = Self::mark(&self.dir);
        let is_it = |arguments: &[String]| {
            let is_it = arguments.get(1)? == "keeper" && *arguments.get(3)? == mark;
            is_it.then(|| ((), mark.clone()))
        };
        scan(is_it).into_iter().next().map(|(_, identity)| identity)
    }

    pub(crate) fn is_running(&self) -> bool {
        self.process().is_some()
    }

    /// Whether it runs and can be asked: one whose socket is gone, or that hangs, is as good as none.
    pub(crate) async fn answers(&self) -> bool {
        self.is_running() && self.ask(&Request::Board).await.is_ok()
    }

    /// Starts the keeper if it does not run, and waits until it answers; true when it was started.
    ///
    /// # Errors
    /// That it ended at once, with the last line of its log.
    pub(crate) async fn ensure(&self) -> Result<bool> {
        if self.answers().await {
            return Ok(false);
        }
        // One that runs but does not answer is of no use, and two must not hold one socket.
        self.end().await?;
        let log = fs_err::File::create(self.dir.keeper_log())?.into_parts().0;
        let errors = log.try_clone().context("failed to share the log")?;
        #[expect(
            clippy::disallowed_methods,
            reason = "this program again, as the keeper"
        )]
        let mut command = Command::new(own_program()?);
        command
            .arg("keeper")
            .arg(&self.cluster)
            .arg(Self::mark(&self.dir))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors);
        // A process group of its own: Ctrl-C at the terminal is for the CLI. It calls setsid itself.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().context("failed to start the keeper")?;
        failpoint!("up.keeper.started");
        let until = Instant::now() + START;
        let mut last = String::new();
        while Instant::now() < until {
            match self.ask(&Request::Board).await {
                Ok(_) => return Ok(true),
                Err(e) => last = format!("{e:#}"),
            }
            if let Ok(Some(status)) = child.try_wait() {
                bail!("the keeper ended at once ({status}): {}", self.log_tail());
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        bail!(
            "the keeper does not answer ({last}); see {}",
            self.dir.keeper_log().display()
        )
    }

    fn log_tail(&self) -> String {
        let text = fs_err::read_to_string(self.dir.keeper_log()).unwrap_or_default();
        text.lines()
            .rfind(|l| !l.trim().is_empty())
            .unwrap_or("it said nothing")
            .to_owned()
    }

    /// Ends the keeper; one that does not run is done. No VM notices.
    ///
    /// # Errors
    /// That it cannot be signalled, or does not end.
    pub(crate) async fn end(&self) -> Result<bool> {
        let Some(process) = self.process() else {
            self.forget()?;
            return Ok(false);
        };
        process.signal(Signal::SIGTERM)?;
        if !process.ended(Duration::from_secs(2)).await {
            process.signal(Signal::SIGKILL)?;
            if !process.ended(Duration::from_secs(2)).await {
                bail!("the keeper does not end");
            }
        }
        self.forget()?;
        Ok(true)
    }

    fn forget(&self) -> Result<()> {
        remove_file(&self.dir.keeper_socket())?;
        remove_file(&self.dir.keeper_process())
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// No keeper, no answer in time, or the keeper's own.
    pub(crate) async fn ask(&self, request: &Request) -> Result<Board> {
        let exchange = async {
            let mut lines = self.send(request).await?;
            lines
                .answer()
                .await?
                .context("the keeper ended without an answer")?
        };
        tokio::time::timeout(ANSWER, exchange)
            .await
            .with_context(|| format!("the keeper gave no answer for {} s", ANSWER.as_secs()))?
    }

    /// The board, kept up to date until the keeper ends; then the sender is dropped.
    ///
    /// # Errors
    /// No keeper.
    pub(crate) async fn watch(&self) -> Result<watch::Receiver<Board>> {
        let mut lines = self.send(&Request::Watch).await?;
        let first = lines
            .answer()
            .await?
            .context("the keeper ended without an answer")??;
        let (sender, receiver) = watch::channel(first);
        tokio::spawn(async move {
            while let Ok(Some(Ok(board))) = lines.answer().await {
                if sender.send(board).is_err() {
                    return;
                }
            }
        });
        Ok(receiver)
    }

    async fn send(&self, request: &Request) -> Result<Lines> {
        let path = self.dir.keeper_socket();
        let mut stream = UnixStream::connect(&path)
            .await
            .with_context(|| format!("failed to reach the keeper at {}", path.display()))?;
        let mut line = serde_json::to_vec(request).context("failed to write a request")?;
        line.push(b'\n');
        stream
            .write_all(&line)
            .await
            .context("failed to ask the keeper")?;
        Ok(Lines(BufReader::new(stream)))
    }
}

struct Lines(BufReader<UnixStream>);

impl Lines {
    /// The next answer: outside what the transport has to say, inside what the keeper has.
    async fn answer(&mut self) -> Result<Option<Result<Board>>> {
        let mut line = String::new();
        if self
            .0
            .read_line(&mut line)
            .await
            .context("failed to hear the keeper")?
            == 0
        {
            return Ok(None);
        }
        let answer = serde_json::from_str(&line).context("the keeper said what is no answer")?;
        Ok(Some(match answer {
            Answer::Done => Ok(Board::new()),
            Answer::Board(board) => Ok(board),
            Answer::Failed(why) => Err(anyhow::anyhow!(why)),
        }))
    }
}

/// This program's own file, also when it was replaced on disk since it started.
fn own_program() -> Result<PathBuf> {
    let link = PathBuf::from("/proc/self/exe");
    let path = std::env::current_exe().context("failed to find this program")?;
    Ok(if path.exists() { path } else { link })
}
