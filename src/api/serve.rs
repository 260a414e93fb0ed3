//! JSON lines on a socket.
//!
//! A request is a line `{"v":1,"id":7,"verb":"status","arguments":{"cluster":"lab"}}`. The answer is one line with the same
//! `id` and either `result` or `error`. `{"v":1,"verb":"verbs"}` asks for all verbs with the schemas of their arguments, and
//! `follow` for one line with `event` for each event until the cluster or the connection ends.

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, umask};
use nix::unistd::geteuid;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::child::Running;
use super::verb::{Effect, VERBS, find};
use crate::interrupt::Interrupt;

/// The version of requests and answers.
const VERSION: u64 = 1;
/// Longest request, in bytes.
const LONGEST: u64 = 64 * 1024;
/// Most connections at once.
const CONNECTIONS: usize = 32;
/// Time between two looks at a client that sends no more.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    verb: String,
    #[serde(default)]
    arguments: Map<String, Value>,
}

/// Serves on a socket until a signal, and removes the socket.
///
/// # Errors
/// Fails if something else is at the path, or if the socket cannot be made.
pub(crate) async fn serve(path: &Path, cluster: Option<String>) -> Result<()> {
    let mut interrupt = Interrupt::listen()?;
    let listener = listen(path).await?;
    let own = fs_err::symlink_metadata(path)?.ino();
    let door = Arc::new(Door {
        cluster,
        room: Arc::new(Semaphore::new(CONNECTIONS)),
    });
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => door.accept(stream),
                // Too many open files, for one: the next connection may be luckier.
                Err(_) => tokio::time::sleep(LOOK).await,
            },
            () = interrupt.wait() => break,
        }
    }
    // Another program may have put its own socket there.
    if fs_err::symlink_metadata(path).is_ok_and(|m| m.ino() == own) {
        fs_err::remove_file(path)?;
    }
    Ok(())
}

/// A socket that only its user can reach, from its first moment on.
async fn listen(path: &Path) -> Result<UnixListener> {
    match fs_err::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => {
            bail!("{} exists and is not a socket", path.display())
        }
        Ok(there) => match UnixStream::connect(path).await {
            // The socket of a server that was killed.
            Err(e)
                if e.kind() == ErrorKind::ConnectionRefused
                    && there.uid() == geteuid().as_raw() =>
            {
                fs_err::remove_file(path)?;
            }
            _ => bail!("another program serves {}", path.display()),
        },
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => return Err(e.into()),
    }
    let before = umask(Mode::from_bits_truncate(0o177));
    let bound = UnixListener::bind(path);
    umask(before);
    bound.with_context(|| format!("the socket {} cannot be made", path.display()))
}

#[derive(Debug)]
struct Door {
    /// The cluster of requests that name none.
    cluster: Option<String>,
    room: Arc<Semaphore>,
}

impl Door {
    fn accept(self: &Arc<Self>, stream: UnixStream) {
        let door = Arc::clone(self);
        tokio::spawn(async move {
            let peer = stream.peer_cred().map(|c| c.uid());
            let own = geteuid().as_raw();
            let (reader, mut writer) = stream.into_split();
            let room = Arc::clone(&door.room).try_acquire_owned();
            let _client_gone = match (peer, room) {
                (Ok(uid), Ok(_room)) if uid == own || uid == 0 => door.talk(reader, writer).await,
                (Ok(uid), Ok(_)) if uid != own => {
                    let why = format!("user {uid} may not use the socket of user {own}");
                    say(&mut writer, &Value::Null, "error", json!(why)).await
                }
                _ => {
                    let why = format!("there are {CONNECTIONS} connections already");
                    say(&mut writer, &Value::Null, "error", json!(why)).await
                }
            };
        });
    }

    /// Answers requests, one after the other, until the client goes away or sends a line that is too long.
    async fn talk(&self, reader: OwnedReadHalf, mut to: OwnedWriteHalf) -> std::io::Result<()> {
        let mut from = BufReader::new(reader);
        loop {
            let mut line = Vec::new();
            let limited = &mut (&mut from).take(LONGEST + 1);
            limited.read_until(b'\n', &mut line).await?;
            if line.is_empty() {
                return Ok(());
            }
            if line.len() as u64 > LONGEST {
                let why = format!("a request is longer than {LONGEST} bytes");
                return say(&mut to, &Value::Null, "error", json!(why)).await;
            }
            let (id, request) = parse(&line);
            match request {
                Err(why) => say(&mut to, &id, "error", json!(why)).await?,
                Ok(request) if request.verb == "follow" => {
                    return self.follow(&id, &request, from, to).await;
                }
                Ok(request) => match self.answer(&request, &mut from).await {
                    Some(Ok(result)) => say(&mut to, &id, "result", result).await?,
                    Some(Err(why)) => say(&mut to, &id, "error", json!(why)).await?,
                    None => return Ok(()),
                },
            }
        }
    }

    /// The result of a verb; `None` if the client went away meanwhile, which interrupts the verb.
    async fn answer(
        &self,
        request: &Request,
        from: &mut BufReader<OwnedReadHalf>,
    ) -> Option<Result<Value, String>> {
        if request.verb == "verbs" {
            return Some(Ok(verbs()));
        }
        let call = find(&request.verb)
            .and_then(|verb| verb.call(&request.arguments, self.cluster.as_deref()));
        let running = call.and_then(|call| Running::start(&call).map_err(|e| format!("{e:#}")));
        let mut running = match running {
            Ok(running) => running,
            Err(why) => return Some(Err(why)),
        };
        tokio::select! {
            answer = running.answer() => Some(answer.map_err(|e| format!("{e:#}"))),
            () = gone(from) => None,
        }
    }

    /// Passes events on as they come.
    async fn follow(
        &self,
        id: &Value,
        request: &Request,
        mut from: BufReader<OwnedReadHalf>,
        mut to: OwnedWriteHalf,
    ) -> std::io::Result<()> {
        let call =
            find("events").and_then(|verb| verb.call(&request.arguments, self.cluster.as_deref()));
        let running = call.and_then(|mut call| {
            call.words.push("--follow".to_owned());
            Running::start(&call).map_err(|e| format!("{e:#}"))
        });
        let mut running = match running {
            Ok(running) => running,
            Err(why) => return say(&mut to, id, "error", json!(why)).await,
        };
        if let Some(lines) = running.lines() {
            let mut lines = BufReader::new(lines).lines();
            loop {
                let line = tokio::select! {
                    line = lines.next_line() => line?,
                    () = gone(&mut from) => return Ok(()),
                };
                let Some(line) = line else { break };
                let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
                say(&mut to, id, "event", event).await?;
            }
        }
        match running.answer().await {
            Ok(result) => say(&mut to, id, "result", result).await,
            Err(e) => say(&mut to, id, "error", json!(format!("{e:#}"))).await,
        }
    }
}

/// Waits until the client has gone. A request that it has sent meanwhile waits for its turn.
async fn gone(from: &mut BufReader<OwnedReadHalf>) {
    match from.fill_buf().await {
        Ok([]) | Err(_) => {}
        Ok(_) => std::future::pending().await,
    }
    // A client that only sends no more, such as nc(1) after its input, waits for the answer. poll(2) tells them apart.
    loop {
        let stream = from.get_ref().as_ref();
        let mut asked = [PollFd::new(stream.as_fd(), PollFlags::empty())];
        let polled = poll(&mut asked, PollTimeout::ZERO);
        let [asked] = asked;
        let is_closed = asked
            .revents()
            .is_some_and(|r| r.intersects(PollFlags::POLLHUP | PollFlags::POLLERR));
        if polled.is_err() || is_closed {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The id of a request, as far as it can be read, and the request or what is wrong.
fn parse(line: &[u8]) -> (Value, Result<Request, String>) {
    let mut value: Value = match serde_json::from_slice(line) {
        Ok(value) => value,
        Err(e) => return (Value::Null, Err(format!("a request is not JSON: {e}"))),
    };
    let mut take = |key| value.as_object_mut().and_then(|value| value.remove(key));
    let id = take("id").unwrap_or_default();
    let version = take("v").and_then(|version| version.as_u64());
    if version != Some(VERSION) {
        let why = format!("a request has no `v`, or another version than {VERSION}");
        return (id, Err(why));
    }
    let request = Request::deserialize(value).map_err(|e| format!("a request cannot be read: {e}"));
    (id, request)
}

/// What a line means, for the tests' fuzzer.
#[cfg(test)]
pub(crate) fn understood(line: &[u8]) -> String {
    match parse(line) {
        (_, Err(why)) => why,
        (_, Ok(request)) => {
            let verb = find(&request.verb);
            let call = verb.and_then(|verb| verb.call(&request.arguments, Some("lab")));
            call.map_or_else(
                |why| why,
                |call| {
                    let flags = call.words.iter().take_while(|w| *w != "--");
                    for flag in flags.filter(|w| w.starts_with('-')) {
                        let ours = "--color= --cluster= --json --since= --lines= --set= --timeout=";
                        let is_ours = ours.split(' ').any(|own| flag.starts_with(own));
                        assert!(is_ours, "{call:?}");
                    }
                    assert!(call.words.iter().all(|w| !w.contains('\0')), "{call:?}");
                    "ok".to_owned()
                },
            )
        }
    }
}

/// All verbs with their arguments.
fn verbs() -> Value {
    let verbs = VERBS.iter().map(|verb| {
        json!({
            "verb": verb.name,
            "about": verb.about,
            "reads": verb.effect == Effect::Reads,
            "destroys": verb.effect == Effect::Destroys,
            "arguments": verb.schema(),
        })
    });
    Value::Array(verbs.collect())
}

/// Sends one line.
async fn say(to: &mut OwnedWriteHalf, id: &Value, kind: &str, what: Value) -> std::io::Result<()> {
    let mut line = Map::new();
    line.insert("v".to_owned(), json!(VERSION));
    line.insert("id".to_owned(), id.clone());
    line.insert(kind.to_owned(), what);
    to.write_all(format!("{}\n", Value::Object(line)).as_bytes())
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_request_is_said_with_its_id() {
        for (line, id, expected) in [
            ("{", json!(null), "a request is not JSON"),
            ("[1]", json!(null), "a request has no `v`"),
            (
                r#"{"v":2,"id":"a","verb":"status"}"#,
                json!("a"),
                "another version than 1",
            ),
            (r#"{"v":1,"id":3}"#, json!(3), "missing field `verb`"),
            (
                r#"{"v":1,"id":3,"verb":"x","more":1}"#,
                json!(3),
                "unknown field `more`",
            ),
            (
                r#"{"v":1,"id":3,"verb":"x","arguments":[]}"#,
                json!(3),
                "invalid type",
            ),
        ] {
            let (found, request) = parse(line.as_bytes());
            assert_eq!(found, id, "{line}");
            let why = request.unwrap_err();
            assert!(why.contains(expected), "{line}: {why}");
        }
        let (id, request) = parse(br#"{"v":1,"id":[1],"verb":"status"}"#);
        assert_eq!((id, request.unwrap().verb.as_str()), (json!([1]), "status"));
    }
}
