//! The CLI's side of the keeper: to find it, start it, ask it and end it.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::watch;

use super::protocol::{Answer, Line, PROTOCOL, Request};
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

    /// Whether it runs and can be asked: one whose socket is gone, that hangs, or that is of another version is as good
    /// as none.
    pub(crate) async fn answers(&self) -> bool {
        self.is_running() && matches!(self.exchange(&Request::Board).await, Ok(Answer::Board(_)))
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
            match self.exchange(&Request::Board).await {
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

    /// Asks for something to be done, and waits until it is.
    ///
    /// # Errors
    /// No keeper, no answer in time, or the keeper's own.
    pub(crate) async fn ask(&self, request: &Request) -> Result<()> {
        match self.exchange(request).await? {
            Answer::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// All nodes as the keeper sees them.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub(crate) async fn board(&self) -> Result<Board> {
        match self.exchange(&Request::Board).await? {
            Answer::Board(board) => Ok(board),
            other => Err(unexpected(&other)),
        }
    }

    /// As [`Self::board`], also of a keeper of before, which a verb that changes something replaces; true where it is one.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub(crate) async fn board_of_any_version(&self) -> Result<(Board, bool)> {
        match self.board().await.map_err(|e| e.downcast::<OtherVersion>()) {
            Ok(board) => Ok((board, false)),
            Err(Ok(OtherVersion { board: Some(board) })) => Ok((board, true)),
            Err(Ok(other)) => Err(other.into()),
            Err(Err(error)) => Err(error),
        }
    }

    async fn exchange(&self, request: &Request) -> Result<Answer> {
        let exchange = async {
            let mut answers = self.send(request).await?;
            answers
                .next()
                .await?
                .context("the keeper ended without an answer")
        };
        let answer = tokio::time::timeout(ANSWER, exchange)
            .await
            .with_context(|| format!("the keeper gave no answer for {} s", ANSWER.as_secs()))??;
        match answer {
            Answer::Failed(why) => Err(anyhow!(why)),
            answer => Ok(answer),
        }
    }

    /// The board, kept up to date until the keeper ends; then the sender is dropped.
    ///
    /// # Errors
    /// No keeper.
    pub(crate) async fn watch(&self) -> Result<watch::Receiver<Board>> {
        let mut answers = self.send(&Request::Watch).await?;
        let first = match answers.next().await? {
            Some(Answer::Board(board)) => board,
            Some(other) => return Err(unexpected(&other)),
            None => bail!("the keeper ended without an answer"),
        };
        let (sender, receiver) = watch::channel(first);
        tokio::spawn(async move {
            while let Ok(Some(Answer::Board(board))) = answers.next().await {
                if sender.send(board).is_err() {
                    return;
                }
            }
        });
        Ok(receiver)
    }

    async fn send(&self, request: &Request) -> Result<Answers> {
        let path = self.dir.keeper_socket();
        let mut stream = UnixStream::connect(&path)
            .await
            .with_context(|| format!("failed to reach the keeper at {}", path.display()))?;
        let mut line =
            serde_json::to_vec(&Line::new(request)).context("failed to write a request")?;
        line.push(b'\n');
        stream
            .write_all(&line)
            .await
            .context("failed to ask the keeper")?;
        Ok(Answers(BufReader::new(stream)))
    }
}

/// What a keeper says, line by line.
struct Answers(BufReader<UnixStream>);

impl Answers {
    /// The next answer; none when the keeper is gone.
    async fn next(&mut self) -> Result<Option<Answer>> {
        let mut line = String::new();
        let read = self.0.read_line(&mut line).await;
        if read.context("failed to hear the keeper")? == 0 {
            return Ok(None);
        }
        read_answer(&line).map(Some)
    }
}

fn read_answer(line: &str) -> Result<Answer> {
    let value: Value = serde_json::from_str(line).context("the keeper sent an invalid answer")?;
    let version = value.get("protocol").and_then(Value::as_u64);
    if version != Some(PROTOCOL.into()) {
        // Version 1 has no number, and its board the same fields.
        let board = value.get("board").cloned();
        let board = board.and_then(|b| serde_json::from_value(b).ok());
        return Err(OtherVersion { board }.into());
    }
    let line: Line<Answer> =
        serde_json::from_value(value).context("the keeper sent an invalid answer")?;
    Ok(line.body)
}

/// The keeper is of another version of kvmc; the board, if that is what it said.
#[derive(Debug, thiserror::Error)]
#[error("the keeper is of another version of kvmc")]
struct OtherVersion {
    board: Option<Board>,
}

fn unexpected(answer: &Answer) -> anyhow::Error {
    anyhow!("the keeper sent an answer to another question: {answer:?}")
}

/// This program's own file, also when it was replaced on disk since it started.
fn own_program() -> Result<PathBuf> {
    let link = PathBuf::from("/proc/self/exe");
    let path = std::env::current_exe().context("failed to find this program")?;
    Ok(if path.exists() { path } else { link })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_board_of_a_keeper_of_before_is_read_and_its_version_known() {
        let error = read_answer(r#"{"board":{"master0":{"stage":"ready"}}}"#).unwrap_err();
        let other = error.downcast::<OtherVersion>().unwrap();
        assert!(other.board.unwrap().contains_key("master0"));
        let error = read_answer("\"done\"").unwrap_err();
        assert!(error.downcast::<OtherVersion>().unwrap().board.is_none());
        let line = serde_json::to_string(&Line::new(Answer::Done)).unwrap();
        assert_eq!(line, r#"{"protocol":2,"answer":"done"}"#);
        assert_eq!(read_answer(&line).unwrap(), Answer::Done);
        let error = read_answer("nothing").unwrap_err().to_string();
        assert_eq!(error, "the keeper sent an invalid answer");
    }
}
