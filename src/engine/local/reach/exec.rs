//! `exec`: runs a command on several nodes at once.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::super::Local;
use super::input::Input;
use super::ssh::{Said, code, start};
use super::{Ssh, reachable, why_down};
use crate::engine::ExecRequest;
use crate::interrupt::Interrupt;
use crate::model::{ExecOutcome, ExecOutput, ExecReport, NodeExec, Stream};

/// Reads of all nodes' output that wait to be printed. A slow reader slows the commands down.
const WAITING: usize = 64;

/// Output of a node.
type Piece = (usize, Stream, Vec<u8>);
/// How the command of a node ended, and the time that it took.
type End = (usize, ExecOutcome, Duration);

/// See [`crate::engine::Reach::exec`].
pub(in super::super) async fn exec(
    local: &Local,
    request: &ExecRequest,
    output: &dyn ExecOutput,
) -> Result<ExecReport> {
    let record = reachable(local)?;
    let nodes: Vec<String> = record
        .selector()
        .select(&request.targets)?
        .into_iter()
        .map(str::to_owned)
        .collect();
    let mut interrupt = Interrupt::listen()?;
    let ssh = Ssh::of(local, &record, request.timeout);
    let takes_stdin = nodes.len() == 1;
    let input = match request.stdin && !takes_stdin {
        true => Some(Input::open(&local.dir())?),
        false => None,
    };
    let mut ends: Vec<Option<End>> = Vec::new();
    let (sender, mut pieces) = mpsc::channel::<Piece>(WAITING);
    let mut running = JoinSet::new();
    for (number, node) in nodes.iter().enumerate() {
        if let Some(why) = why_down(&local.dir(), node) {
            ends.push(Some((number, ExecOutcome::Down(why), Duration::ZERO)));
            continue;
        }
        ends.push(None);
        let said = Said::new()?;
        let mut command = ssh.command(node, &request.command, &said);
        if takes_stdin {
            command.stdin(Stdio::inherit());
        } else if let Some(input) = &input {
            command.stdin(input.stdio()?);
        }
        let child = start(command, !takes_stdin)?;
        let limit = request.timeout;
        let input = input.clone();
        running.spawn(attend(child, said, number, limit, input, sender.clone()));
    }
    drop(sender);
    output.begin(&nodes);
    let began = Instant::now();
    let unread = print(&mut pieces, output, &mut interrupt).await;
    if interrupt.came() || unread {
        running.abort_all();
    }
    while let Some(ended) = running.join_next().await {
        if let Ok(end) = ended
            && let Some(slot) = ends.get_mut(end.0)
        {
            *slot = Some(end);
        }
    }
    if let Some(why) = input.and_then(|input| input.failed()) {
        bail!("the input cannot be kept, so the commands were ended: {why}");
    }
    let interrupted = |number| (number, ExecOutcome::Interrupted, began.elapsed());
    let report = |(number, node): (usize, String)| {
        let end = ends.get(number).cloned().flatten();
        let (_, outcome, took) = end.unwrap_or_else(|| interrupted(number));
        // Ctrl-C reaches an ssh that reads the terminal, too.
        let is_cut = interrupt.came() && matches!(outcome.code(), 130 | 255);
        NodeExec {
            node,
            outcome: if is_cut {
                ExecOutcome::Interrupted
            } else {
                outcome
            },
            seconds: took.as_secs_f64(),
        }
    };
    Ok(ExecReport {
        nodes: nodes.into_iter().enumerate().map(report).collect(),
        unread,
    })
}

/// Prints output until all commands have ended or a signal comes. Returns whether nobody reads it any more.
async fn print(
    pieces: &mut mpsc::Receiver<Piece>,
    output: &dyn ExecOutput,
    interrupt: &mut Interrupt,
) -> bool {
    loop {
        let piece = tokio::select! {
            () = interrupt.wait() => return false,
            piece = pieces.recv() => piece,
        };
        match piece {
            Some((number, stream, bytes)) if output.take(number, stream, &bytes) => {}
            piece => return piece.is_some(),
        }
    }
}

/// Passes on the output of an ssh until it ends, and gives it its input.
async fn attend(
    mut child: Child,
    said: Said,
    number: usize,
    limit: Option<u64>,
    input: Option<Input>,
    sender: mpsc::Sender<Piece>,
) -> End {
    let began = Instant::now();
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let fed = match (input, child.stdin.take()) {
        (Some(Input::Kept(kept)), Some(stdin)) => Some(kept.feed(stdin)),
        _ => None,
    };
    let whole = async {
        tokio::join!(
            pass(out, number, Stream::Out, &sender),
            pass(err, number, Stream::Err, &sender)
        );
        child.wait().await
    };
    let late = async {
        match limit {
            Some(limit) => tokio::time::sleep(Duration::from_secs(limit)).await,
            None => std::future::pending().await,
        }
    };
    let starved = async {
        match fed {
            Some(fed) => fed.await,
            None => std::future::pending().await,
        }
    };
    let outcome = tokio::select! {
        ended = whole => match ended.map(|status| (code(status), said.last())) {
            Ok((255, Some(why))) => ExecOutcome::Unreachable(why),
            Ok((code, _)) => ExecOutcome::Ended(code),
            Err(e) => ExecOutcome::Unreachable(e.to_string()),
        },
        () = late => ExecOutcome::TimedOut(limit.unwrap_or_default()),
        () = starved => ExecOutcome::Interrupted,
    };
    if matches!(outcome, ExecOutcome::TimedOut(_) | ExecOutcome::Interrupted) {
        let _ended_meanwhile = child.kill().await;
    }
    (number, outcome, began.elapsed())
}

async fn pass(
    reader: Option<impl AsyncRead + Unpin>,
    number: usize,
    stream: Stream,
    sender: &mpsc::Sender<Piece>,
) {
    let Some(mut reader) = reader else { return };
    let mut buffer = vec![0; 16 << 10];
    while let Ok(n @ 1..) = reader.read(&mut buffer).await {
        let bytes = buffer.get(..n).unwrap_or_default().to_vec();
        if sender.send((number, stream, bytes)).await.is_err() {
            return;
        }
    }
}
