//! The task that owns the socket. It sends commands and passes answers and events to the waiting callers.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde_json::{Value, json};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use crate::call::{Call, Gate, Outcome};
use crate::event::{Event, EventQueue};
use crate::log::ExchangeLog;

/// Longest line from QEMU, in bytes. Its longest answers are far shorter.
const LONGEST_LINE: usize = 16 << 20;
/// Longest line from an agent, in bytes. A guest writes it, and its answers are shorter than a kilobyte.
const LONGEST_AGENT_LINE: usize = 1 << 20;

/// Bytes received of a line that has not ended yet.
#[derive(Debug, Default)]
struct Received {
    bytes: Vec<u8>,
    /// The line grew too long: its rest is dropped too.
    skips: bool,
}

struct Owner {
    pending: HashMap<u64, Call>,
    queue: Arc<EventQueue>,
    log: Option<ExchangeLog>,
    greeted: Option<oneshot::Sender<()>>,
    is_qmp: bool,
}

/// Runs until the connection ends or the last client is dropped.
pub(crate) async fn run(
    stream: UnixStream,
    mut calls: mpsc::Receiver<Call>,
    (queue, gate): (Arc<EventQueue>, Arc<Gate>),
    log: Option<ExchangeLog>,
    greeted: Option<oneshot::Sender<()>>,
) {
    let is_qmp = greeted.is_some();
    let mut owner = Owner {
        pending: HashMap::new(),
        queue,
        log,
        greeted,
        is_qmp,
    };
    let mut received = Received::default();
    let mut next_id = 1;
    let mut shut = gate.is_shut.subscribe();
    loop {
        // Drops callers that gave up. `take` drops their answers if they come.
        owner.pending.retain(|_, call| !call.answer.is_closed());
        gate.waiting.store(owner.pending.len(), Ordering::Release);
        let is_shut = *shut.borrow_and_update();
        tokio::select! {
            _ = shut.changed() => {}
            call = calls.recv(), if !is_shut => {
                let Some(call) = call else { break };
                if owner.send(&stream, next_id, call).await.is_err() { break }
                next_id += 1;
            }
            ready = stream.readable() => {
                if ready.is_err() || !owner.receive(&stream, &mut received) { break }
            }
        }
    }
    // The dropped calls end the callers, and the closed queue ends the listener.
    owner.queue.close();
}

impl Owner {
    async fn send(&mut self, stream: &UnixStream, id: u64, mut call: Call) -> io::Result<()> {
        let mut line = json!({ "execute": call.name, "arguments": call.arguments, "id": id });
        // QEMU refuses arguments that are not an object, and a unit struct serialises as null.
        if !line["arguments"].is_object() {
            line["arguments"] = json!({});
        }
        if let Some(log) = &mut self.log {
            let shown = if call.is_secret {
                json!({ "execute": call.name, "id": id }).to_string()
            } else {
                line.to_string()
            };
            log.write("->", &shown);
        }
        call.arguments = Value::Null;
        let fd = call.fd.take();
        self.pending.insert(id, call);
        let mut bytes = line.to_string().into_bytes();
        bytes.push(b'\n');
        write(stream, &bytes, fd.as_ref()).await
    }

    /// Reads the received bytes; false when the connection has ended or is no longer usable.
    fn receive(&mut self, stream: &UnixStream, received: &mut Received) -> bool {
        let mut chunk = [0; 8192];
        match stream.try_read(&mut chunk) {
            Ok(0) => false,
            Ok(n) => self.add(received, chunk.get(..n).unwrap_or_default()),
            Err(e) => e.kind() == io::ErrorKind::WouldBlock,
        }
    }

    /// Handles each line that `chunk` completes; false when the connection is no longer usable.
    fn add(&mut self, received: &mut Received, mut chunk: &[u8]) -> bool {
        if received.skips {
            let Some(end) = chunk.iter().position(|b| *b == b'\n') else {
                return true;
            };
            chunk = chunk.get(end + 1..).unwrap_or_default();
            received.skips = false;
        }
        let bytes = &mut received.bytes;
        let before = bytes.len();
        bytes.extend_from_slice(chunk);
        // Only the new bytes can hold a line's end. A search of all bytes would be quadratic.
        let mut searched = before;
        while let Some(end) = bytes.iter().skip(searched).position(|b| *b == b'\n') {
            let line: Vec<u8> = bytes.drain(..=searched + end).collect();
            searched = 0;
            if !self.take(&line) {
                return false;
            }
        }
        let longest = if self.is_qmp {
            LONGEST_LINE
        } else {
            LONGEST_AGENT_LINE
        };
        if bytes.len() > longest {
            bytes.clear();
            received.skips = true;
            self.note("?", &format!("a line of more than {longest} bytes"));
        }
        let bytes = &mut received.bytes;
        if bytes.capacity() > 64 << 10 && bytes.is_empty() {
            bytes.shrink_to(8192);
        }
        true
    }

    fn take(&mut self, line: &[u8]) -> bool {
        if line.trim_ascii().is_empty() {
            return true;
        }
        let Ok(value) = serde_json::from_slice::<Value>(line) else {
            self.note("?", &String::from_utf8_lossy(line));
            // A serial port may hold the rest of an earlier exchange; QMP never does.
            return !self.is_qmp;
        };
        if value.get("QMP").is_some() {
            if let Some(greeted) = self.greeted.take() {
                let _nobody_waits = greeted.send(());
            }
            return true;
        }
        if let Ok(event) = serde_json::from_value::<Event>(value.clone()) {
            self.note("<-", &value.to_string());
            self.queue.push(event);
            return true;
        }
        let Some(call) = value
            .get("id")
            .and_then(Value::as_u64)
            .and_then(|id| self.pending.remove(&id))
        else {
            self.note("<- late", &value.to_string());
            return true;
        };
        self.note(
            "<-",
            &if call.is_secret {
                json!({ "id": value["id"] })
            } else {
                value.clone()
            }
            .to_string(),
        );
        let text = |key: &str| value["error"][key].as_str().unwrap_or("unknown").to_owned();
        let outcome = if value.get("error").is_some() {
            Outcome::Error {
                class: text("class"),
                desc: text("desc"),
            }
        } else {
            Outcome::Return(value.get("return").cloned().unwrap_or_default())
        };
        let _gave_up = call.answer.send(outcome);
        true
    }

    fn note(&mut self, direction: &str, text: &str) {
        if let Some(log) = &mut self.log {
            log.write(direction, text.trim_end());
        }
    }
}

/// Writes all of `bytes`, and sends the descriptor with the first of them (`SCM_RIGHTS`, unix(7)).
async fn write(stream: &UnixStream, mut bytes: &[u8], fd: Option<&OwnedFd>) -> io::Result<()> {
    let raw = fd.map(|fd| [fd.as_raw_fd()]);
    let mut rights = raw
        .as_ref()
        .map(|fds| ControlMessage::ScmRights(fds.as_slice()));
    while !bytes.is_empty() {
        let sent = stream
            .async_io(Interest::WRITABLE, || {
                let messages = rights.as_slice();
                sendmsg::<()>(
                    stream.as_raw_fd(),
                    &[IoSlice::new(bytes)],
                    messages,
                    MsgFlags::MSG_NOSIGNAL,
                    None,
                )
                .map_err(io::Error::from)
            })
            .await?;
        rights = None;
        bytes = bytes.get(sent..).unwrap_or_default();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// Feeds the owner any bytes in pieces of any size: it takes or drops lines, and keeps a bounded number of bytes.
    fn hear(bytes: &[u8], is_qmp: bool) -> String {
        let queue = Arc::new(EventQueue::default());
        let (greeted, _greeting) = oneshot::channel();
        let (answer, mut answered) = oneshot::channel();
        let call = Call {
            name: "x".to_owned(),
            arguments: Value::Null,
            fd: None,
            is_secret: false,
            answer,
        };
        let mut owner = Owner {
            pending: HashMap::from([(1, call)]),
            queue: Arc::clone(&queue),
            log: None,
            greeted: is_qmp.then_some(greeted),
            is_qmp,
        };
        let mut received = Received::default();
        let size = bytes.first().map_or(1, |b| usize::from(*b).max(1));
        let goes_on = bytes
            .chunks(size)
            .all(|chunk| owner.add(&mut received, chunk));
        assert!(received.bytes.len() <= LONGEST_LINE);
        format!(
            "{goes_on} {} {:?}",
            queue.len(),
            answered.try_recv().map(|o| matches!(o, Outcome::Return(_)))
        )
    }

    #[test]
    fn fuzz_lines() {
        kvmc_fuzz::run("qmp", |bytes| hear(bytes, true));
        kvmc_fuzz::run("agent", |bytes| hear(bytes, false));
    }

    #[test]
    fn p18_a_line_too_long_is_dropped_to_its_end() {
        let long = vec![b'x'; LONGEST_AGENT_LINE + 9000];
        let talk = [&long, b"\n{\"event\": \"hello\"}\n".as_slice()].concat();
        assert!(hear(&talk, false).starts_with("true 1 "));
    }
}
