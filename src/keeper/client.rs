//! The CLI's side of the keeper: finds, starts, asks and ends it.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::protocol::{Answer, Line, PROTOCOL, Request, UNKNOWN};
use crate::failpoint::failpoint;
use crate::model::Board;
use crate::node::{Identity, only_streams, scan};
use crate::state::{ClusterDir, read_json, remove_file};
use crate::trace;

/// Longest wait for an answer. Each request is a look-up, or a command to one QEMU.
const ANSWER: Duration = Duration::from_secs(6);
/// Longest wait for a grown disk. It covers what the keeper allows an emulated guest.
const GROWN: Duration = Duration::from_secs(150);
/// Longest time from the start of a keeper to its first answer.
const START: Duration = Duration::from_secs(10);

/// The bytes of a console, in both directions.
pub(crate) type ConsoleStream = BufReader<UnixStream>;

/// The keeper of a cluster, running or not.
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

    /// The argument by which this cluster's keeper is told from every other process.
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

    /// Finds the keeper by its arguments, if its record was never written.
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

    /// Whether the keeper runs and answers. It does not if its socket is missing, if it hangs, or if it is of another
    /// version.
    pub(crate) async fn answers(&self) -> bool {
        self.is_running() && matches!(self.exchange(&Request::Board).await, Ok(Answer::Board(_)))
    }

    /// Starts the keeper if it does not run, and waits until it answers. Returns whether it was started.
    ///
    /// # Errors
    /// Fails if the keeper ends at once, with the last line of its log, or if it does not answer.
    pub(crate) async fn ensure(&self) -> Result<bool> {
        if self.answers().await {
            return Ok(false);
        }
        // End a keeper that runs but does not answer; two keepers cannot share a socket.
        self.end().await?;
        let log = fs_err::File::create(self.dir.keeper_log())?.into_parts().0;
        let errors = log
            .try_clone()
            .context("the keeper's log cannot be shared")?;
        #[expect(
            clippy::disallowed_methods,
            reason = "the keeper is this program itself"
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
        only_streams(&mut command);
        // Its own process group keeps Ctrl-C at the terminal for the CLI. The keeper calls setsid itself.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().context("the keeper cannot be started")?;
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
            "the keeper does not answer ({last}); its log is {}",
            self.dir.keeper_log().display()
        )
    }

    fn log_tail(&self) -> String {
        let text = fs_err::read_to_string(self.dir.keeper_log()).unwrap_or_default();
        // A hint and a code are indented below their error.
        text.lines()
            .rfind(|l| !l.trim().is_empty() && !l.starts_with(' '))
            .unwrap_or("its log is empty")
            .to_owned()
    }

    /// Ends the keeper, if it runs. The nodes do not notice.
    ///
    /// # Errors
    /// Fails if the keeper cannot be signalled or does not end.
    pub(crate) async fn end(&self) -> Result<bool> {
        let Some(process) = self.process() else {
            self.forget()?;
            return Ok(false);
        };
        process.signal(Signal::SIGTERM)?;
        if !process.ended(Duration::from_secs(2)).await {
            process.signal(Signal::SIGKILL)?;
            if !process.ended(Duration::from_secs(2)).await {
                bail!("the keeper did not end after its signal");
            }
        }
        self.forget()?;
        Ok(true)
    }

    fn forget(&self) -> Result<()> {
        remove_file(&self.dir.keeper_socket())?;
        remove_file(&self.dir.keeper_process())
    }

    /// Sends a request, and waits until it is carried out.
    ///
    /// # Errors
    /// Fails if there is no keeper, no answer in time, or if the keeper answers with an error.
    pub(crate) async fn ask(&self, request: &Request) -> Result<()> {
        match self.exchange(request).await? {
            Answer::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Grows a node's disk. A guest takes its time for its file system.
    ///
    /// # Errors
    /// Like [`Self::ask`].
    pub(crate) async fn grow(&self, node: &str) -> Result<()> {
        let request = Request::Grow {
            node: node.to_owned(),
        };
        let mut answer = self.exchange_within(&request, GROWN).await;
        if answer
            .as_ref()
            .is_err_and(|e| e.to_string().contains(UNKNOWN))
        {
            // The keeper is of a kvmc that could not grow disks. No node notices that another one takes over.
            self.end().await?;
            self.ensure().await?;
            let until = Instant::now() + START;
            loop {
                self.ask(&Request::Sync).await?;
                answer = self.exchange_within(&request, GROWN).await;
                // It connects to QEMU and agent one after the other.
                if answer.is_ok() || Instant::now() > until {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        match answer? {
            Answer::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    pub(super) async fn exchange(&self, request: &Request) -> Result<Answer> {
        self.exchange_within(request, ANSWER).await
    }

    async fn exchange_within(&self, request: &Request, limit: Duration) -> Result<Answer> {
        let exchange = async {
            let mut answers = self.send(request).await?;
            answers
                .next()
                .await?
                .context("the keeper closed the connection without an answer")
        };
        let began = Instant::now();
        let answer = tokio::time::timeout(limit, exchange).await;
        trace::debug(|| {
            let took = began.elapsed().as_secs_f64();
            let kind = match &answer {
                Ok(Ok(Answer::Failed(why))) => format!("refused: {why}"),
                Ok(Ok(_)) => "answered".to_owned(),
                Ok(Err(e)) => format!("failed: {e:#}"),
                Err(_) => "no answer".to_owned(),
            };
            format!("asked the keeper: {request:?}: {kind}, {took:.3} s")
        });
        let answer = answer
            .with_context(|| format!("the keeper did not answer within {} s", limit.as_secs()))??;
        match answer {
            Answer::Failed(why) => Err(anyhow!(why)),
            answer => Ok(answer),
        }
    }

    /// A node's console.
    ///
    /// # Errors
    /// Like [`Self::ask`].
    pub(crate) async fn console(&self, node: &str, history: bool) -> Result<ConsoleStream> {
        let node = node.to_owned();
        let open = async {
            let mut answers = self.send(&Request::Console { node, history }).await?;
            let first = answers.next().await?;
            Ok((answers, first))
        };
        match tokio::time::timeout(ANSWER, open).await {
            Err(_) => bail!("the keeper did not answer within {} s", ANSWER.as_secs()),
            Ok(Err(e)) => Err(e),
            Ok(Ok((answers, Some(Answer::Done)))) => Ok(answers.0),
            Ok(Ok((_, Some(Answer::Failed(why))))) => Err(anyhow!(why)),
            Ok(Ok((_, Some(other)))) => Err(unexpected(&other)),
            Ok(Ok((_, None))) => bail!("the keeper closed the connection without an answer"),
        }
    }

    pub(super) async fn send(&self, request: &Request) -> Result<Answers> {
        let path = self.dir.keeper_socket();
        let mut stream = UnixStream::connect(&path).await.with_context(|| {
            format!(
                "the keeper does not accept a connection at {}",
                path.display()
            )
        })?;
        let mut line = serde_json::to_vec(&Line::new(request))
            .context("a request cannot be written as JSON")?;
        line.push(b'\n');
        stream
            .write_all(&line)
            .await
            .context("the request cannot be sent to the keeper")?;
        Ok(Answers(BufReader::new(stream)))
    }
}

/// The keeper's answers, one a line.
pub(super) struct Answers(pub(super) BufReader<UnixStream>);

impl Answers {
    /// Sends a line on the connection.
    pub(super) async fn write(&mut self, line: &[u8]) -> Result<()> {
        let written = self.0.get_mut().write_all(line).await;
        written.context("the keeper closed the connection")
    }

    /// The next answer, or `None` when the keeper has closed the connection.
    pub(super) async fn next(&mut self) -> Result<Option<Answer>> {
        let mut line = String::new();
        let read = self.0.read_line(&mut line).await;
        if read.context("the keeper's answer cannot be read")? == 0 {
            return Ok(None);
        }
        read_answer(&line).map(Some)
    }
}

fn read_answer(line: &str) -> Result<Answer> {
    let value: Value = serde_json::from_str(line).context("the keeper sent an invalid answer")?;
    let version = value.get("protocol").and_then(Value::as_u64);
    if version != Some(PROTOCOL.into()) {
        // Version 1 sends no version number; its board has the same fields.
        let board = value.get("board").cloned();
        let board = board.and_then(|b| serde_json::from_value(b).ok());
        return Err(OtherVersion { board }.into());
    }
    let line: Line<Answer> =
        serde_json::from_value(value).context("the keeper sent an invalid answer")?;
    Ok(line.body)
}

/// The keeper is of another version of kvmc. Holds the board, if that was the answer.
#[derive(Debug, thiserror::Error)]
#[error("the keeper is of another version of kvmc")]
pub(super) struct OtherVersion {
    pub(super) board: Option<Board>,
}

pub(super) fn unexpected(answer: &Answer) -> anyhow::Error {
    anyhow!("the keeper sent an answer of the wrong kind: {answer:?}")
}

/// The path of this program's file, also after it was replaced on disk.
pub(super) fn own_program() -> Result<PathBuf> {
    let link = PathBuf::from("/proc/self/exe");
    let path = std::env::current_exe().context("the path of this program is unknown")?;
    Ok(if path.exists() { path } else { link })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_board_of_an_older_keeper_is_read_and_its_version_known() {
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
