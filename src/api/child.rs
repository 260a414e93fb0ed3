//! One verb as a process.

use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, ChildStdout, Command};

use super::verb::Call;

/// Most bytes that are kept of each output.
const MOST: usize = 4 << 20;

/// A verb that runs. When this is dropped, the verb is interrupted as by Ctrl-C, and undoes or completes its work.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    process: Handle,
}

/// The process of a verb, until it has ended.
#[derive(Debug, Clone)]
pub(super) struct Handle(Arc<Mutex<Option<Pid>>>);

impl Handle {
    /// Interrupts the verb as Ctrl-C does.
    pub(super) fn interrupt(&self) {
        if let Ok(pid) = self.0.lock()
            && let Some(pid) = *pid
        {
            let _ended_meanwhile = kill(pid, Signal::SIGINT);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.process.interrupt();
    }
}

impl Running {
    /// Starts this program with the words of a call.
    ///
    /// # Errors
    /// Fails if it cannot be started, such as in a folder that does not exist.
    pub(super) fn start(call: &Call) -> Result<Self> {
        let program = std::env::current_exe().context("the path of this program is unknown")?;
        #[expect(
            clippy::disallowed_methods,
            reason = "kvmc itself, whose errors the answer carries"
        )]
        let mut command = Command::new(program);
        command
            .args(&call.words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(folder) = &call.folder {
            command.current_dir(folder);
        }
        let child = command.spawn().with_context(|| match &call.folder {
            Some(folder) => format!("the verb cannot be started in {}", folder.display()),
            None => "the verb cannot be started".to_owned(),
        })?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok());
        let process = Handle(Arc::new(Mutex::new(pid.map(Pid::from_raw))));
        Ok(Self { child, process })
    }

    pub(super) fn handle(&self) -> Handle {
        self.process.clone()
    }

    /// Its stdout, for a verb whose lines are passed on as they come.
    pub(super) fn lines(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Waits for its end, and gives what it printed.
    ///
    /// # Errors
    /// Fails if the process cannot be waited for.
    pub(super) async fn answer(&mut self) -> Result<Value> {
        let out = kept(self.child.stdout.take());
        let talk = kept(self.child.stderr.take());
        let process = self.process.clone();
        let ended = async {
            let status = self.child.wait().await;
            // Its output may stay open longer, in the hands of a child of its own.
            if let Ok(mut pid) = process.0.lock() {
                *pid = None;
            }
            status
        };
        let ((out, cut), (talk, _), status) = tokio::join!(out, talk, ended);
        let status = status.context("the verb cannot be waited for")?;
        Ok(answer(status, &out, &talk, cut))
    }
}

/// Reads to the end, keeps the beginning, and tells whether that is not all.
async fn kept(from: Option<impl AsyncRead + Unpin>) -> (String, bool) {
    let mut kept = Vec::new();
    let mut cut = false;
    if let Some(mut from) = from {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            let room = MOST.saturating_sub(kept.len());
            cut |= read > room;
            kept.extend(buffer.iter().take(read.min(room)));
        }
    }
    (String::from_utf8_lossy(&kept).into_owned(), cut)
}

fn answer(status: ExitStatus, out: &str, talk: &str, cut: bool) -> Value {
    let mut answer = json!({
        "exit": status.code().unwrap_or(-1),
        "report": report(out),
        "messages": talk.trim_end(),
    });
    if cut && let Some(answer) = answer.as_object_mut() {
        answer.insert("cut".to_owned(), json!(true));
    }
    answer
}

/// The JSON that a verb printed, its lines of JSON as a list, or its text.
fn report(out: &str) -> Value {
    if let Ok(value) = serde_json::from_str(out) {
        return value;
    }
    let lines = out.lines().map(serde_json::from_str::<Value>);
    match lines.collect::<Result<Vec<_>, _>>() {
        Ok(lines) if !lines.is_empty() => Value::Array(lines),
        _ => Value::String(out.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_stays_json_lines_become_a_list_and_the_rest_text() {
        assert_eq!(report("{\"a\": 1}\n"), json!({"a": 1}));
        assert_eq!(
            report("{\"a\":1}\n{\"a\":2}\n"),
            json!([{"a": 1}, {"a": 2}])
        );
        assert_eq!(report("master0 | a\n"), json!("master0 | a\n"));
        assert_eq!(report(""), json!(""));
    }

    #[tokio::test]
    async fn the_beginning_of_long_output_is_kept_and_the_rest_is_read() {
        let (mut to, from) = tokio::io::duplex(1024);
        let writer = tokio::spawn(async move {
            use tokio::io::AsyncWriteExt;
            to.write_all(&vec![b'x'; MOST + 10]).await.unwrap();
        });
        let (text, cut) = kept(Some(from)).await;
        writer.await.unwrap();
        assert!(cut && text.len() == MOST);
    }
}
