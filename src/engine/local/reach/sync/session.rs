//! One connection to a node for `sync`: the program that runs there, and what is said with it.

use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::process::{Child, ChildStdin, ChildStdout};

use super::super::Ssh;
use super::super::ssh::{Said, code, start};
use super::tree::{Entry, Kind, Source};

/// Longest line of a node's answer, and most of its messages, in bytes.
const LONGEST: u64 = 256 << 20;
const SAID: u64 = 16 << 10;

/// The program for the node's Python.
const PROGRAM: &str = include_str!("node.py");
/// Bytes of a file that are sent at once.
const CHUNK: usize = 128 << 10;
/// In the place of a chunk's length: the file's end, and that what was sent of it is to be thrown away.
const END: u32 = 0;
const DISCARD: u32 = u32::MAX;
/// Longest time that a node's Python has to start, after the connection is made. An emulated one on a busy host takes
/// seconds.
pub(super) const START: Duration = Duration::from_secs(90);

/// Why a connection has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// The node cannot be reached, or no more. It may come back.
    Lost(String),
    /// The node's file system is full, or cannot be used for another reason that it tells.
    Refused(String),
    /// This host has a reason.
    Here(String),
}

/// A connection to a node.
#[derive(Debug)]
pub(super) struct Session {
    child: Child,
    said: Option<Said>,
    goes: BufWriter<ChildStdin>,
    comes: BufReader<ChildStdout>,
}

/// What differs on a node.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Difference {
    /// Numbers of paths that it lacks, or has otherwise.
    pub(super) needs: Vec<usize>,
    /// Numbers of paths of which it has another mode.
    pub(super) modes: Vec<usize>,
    /// What it has besides: whether it is a folder, and its path in Latin-1.
    surplus: Vec<(bool, String)>,
}

impl Difference {
    /// What it has besides, as far as the source does not leave it out. What is in a folder comes before the folder.
    pub(super) fn surplus(&self, source: &Source) -> Vec<Vec<u8>> {
        let paths = self.surplus.iter().rev();
        let paths = paths.filter_map(|(is_folder, path)| Some((*is_folder, bytes(path)?)));
        paths
            .filter(|(is_folder, path)| is_below(path) && !source.leaves_out(path, *is_folder))
            .map(|(_, path)| path)
            .collect()
    }
}

/// What a node has done.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Done {
    pub(super) removed: usize,
    /// The first paths that failed, in Latin-1, with the reasons.
    failed: Vec<(String, String)>,
    pub(super) failures: usize,
}

impl Done {
    pub(super) fn failed(&self) -> impl Iterator<Item = (String, String)> + '_ {
        self.failed
            .iter()
            .map(|(path, why)| (shown(&bytes(path).unwrap_or_default()), printable(why)))
    }
}

/// What was sent of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sent {
    Whole(u64),
    /// It is gone.
    Gone,
    /// It changed meanwhile, so the node keeps what it had.
    Changed,
    /// It cannot be read, for this reason.
    Unread(String),
}

impl Session {
    /// Starts the program on a node, for a folder there.
    ///
    /// # Errors
    /// Fails if the node does not answer, if it has no Python, or if the folder cannot be used.
    pub(super) async fn open(
        ssh: &Ssh,
        node: &str,
        path: &str,
        delete: bool,
        limit: Duration,
    ) -> Result<Self, End> {
        let here = |e: anyhow::Error| End::Here(format!("{e:#}"));
        let said = Said::new().map_err(here)?;
        let words = format!(
            "exec python3 -I -S -c 'import sys; exec(sys.stdin.buffer.read({}).decode())'",
            PROGRAM.len()
        );
        let mut command = ssh.patient(node, &[words], &said);
        command.stdin(Stdio::piped());
        let mut child = start(command, true).map_err(here)?;
        let (Some(goes), Some(comes)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(End::Here("ssh has no pipes".to_owned()));
        };
        let mut session = Self {
            child,
            said: Some(said),
            goes: BufWriter::with_capacity(CHUNK * 2, goes),
            comes: BufReader::new(comes),
        };
        let head = json!({"path": latin(path.as_bytes()), "delete": delete});
        let started = async {
            session.raw(PROGRAM.as_bytes()).await?;
            session.line(&head).await?;
            session.hear().await
        };
        match tokio::time::timeout(limit, started).await {
            Ok(answer) => answer.map(|_| session),
            Err(_) => Err(End::Lost("the node does not answer".to_owned())),
        }
    }

    /// Asks the node what it lacks of these paths. With `walks`, also what it has besides.
    pub(super) async fn compare(
        &mut self,
        entries: &[(&[u8], &Entry)],
        walks: bool,
    ) -> Result<Difference, End> {
        let request = json!({"entries": entries.len(), "walk": walks});
        self.line(&request).await?;
        for (path, entry) in entries {
            let (kind, link) = match &entry.kind {
                Kind::Folder => ("d", &[][..]),
                Kind::File => ("f", &[][..]),
                Kind::Link(target) => ("l", target.as_slice()),
            };
            let line = json!([
                kind,
                latin(path),
                entry.mode,
                entry.size,
                entry.modified,
                latin(link)
            ]);
            self.line(&line).await?;
        }
        let answer = self.hear().await?;
        let read = serde_json::from_value(answer);
        let difference: Difference = read.map_err(|e| unexpected(&e))?;
        let numbers = difference.needs.iter().chain(&difference.modes);
        match numbers.max().is_none_or(|most| *most < entries.len()) {
            true => Ok(difference),
            false => Err(unexpected(&"a number out of range")),
        }
    }

    /// Begins to change the node.
    pub(super) async fn apply(&mut self) -> Result<(), End> {
        self.line(&json!(["apply"])).await
    }

    /// Goes on without a change.
    pub(super) async fn leave(&mut self) -> Result<(), End> {
        self.line(&json!(["leave"])).await
    }

    pub(super) async fn remove(&mut self, path: &[u8]) -> Result<(), End> {
        self.line(&json!(["remove", latin(path)])).await
    }

    /// Makes a folder or a link, or changes a mode: all that needs no more than what was compared.
    pub(super) async fn make(&mut self, what: &str, number: usize) -> Result<(), End> {
        self.line(&json!([what, number])).await
    }

    /// Sends a file as it is now.
    pub(super) async fn file(&mut self, source: &Source, path: &[u8]) -> Result<Sent, End> {
        let (mut file, before) = match source.file(path).and_then(|f| Ok((f.metadata()?, f))) {
            Ok((meta, file)) => (file, Entry::of(&meta, Kind::File)),
            Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
                return Ok(Sent::Unread(e.to_string()));
            }
            // Or a folder above it has become a link, or it is no file any more.
            Err(_) => return Ok(Sent::Gone),
        };
        self.line(&json!(["file", latin(path), before.mode, before.modified]))
            .await?;
        let mut left = before.size;
        let mut buffer = vec![0; 4 + CHUNK];
        loop {
            let (head, data) = buffer.split_at_mut(4);
            let most = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let place = data.get_mut(..most).unwrap_or_default();
            let length = match file.read(place) {
                Ok(length) => length,
                Err(e) => {
                    self.raw(&DISCARD.to_be_bytes()).await?;
                    return Ok(Sent::Unread(e.to_string()));
                }
            };
            if length == 0 {
                break;
            }
            left -= length as u64;
            head.copy_from_slice(&u32::try_from(length).unwrap_or(END).to_be_bytes());
            self.raw(buffer.get(..4 + length).unwrap_or_default())
                .await?;
        }
        let after = file
            .metadata()
            .ok()
            .map(|meta| Entry::of(&meta, Kind::File));
        let is_same = left == 0 && after == Some(before.clone());
        let end = if is_same { END } else { DISCARD };
        self.raw(&end.to_be_bytes()).await?;
        Ok(match is_same {
            true => Sent::Whole(before.size),
            false => Sent::Changed,
        })
    }

    /// Ends a change, and waits until the node has carried it out.
    pub(super) async fn finish(&mut self) -> Result<Done, End> {
        self.line(&json!(["end"])).await?;
        let answer = self.hear().await?;
        serde_json::from_value(answer).map_err(|e| unexpected(&e))
    }

    /// Waits for the end of the connection, while nothing is asked.
    pub(super) async fn lost(&mut self) -> End {
        match self.hear().await {
            Ok(_) => unexpected(&"an answer to nothing"),
            Err(end) => end,
        }
    }

    async fn line(&mut self, value: &Value) -> Result<(), End> {
        let mut text = value.to_string();
        text.push('\n');
        self.raw(text.as_bytes()).await
    }

    async fn raw(&mut self, bytes: &[u8]) -> Result<(), End> {
        match self.goes.write_all(bytes).await {
            Ok(()) => Ok(()),
            // The node has said why before it stopped reading.
            Err(_) => Err(match self.answer().await {
                Ok(_) => unexpected(&"an answer in between"),
                Err(end) => end,
            }),
        }
    }

    async fn hear(&mut self) -> Result<Value, End> {
        let _gone_is_read_below = self.goes.flush().await;
        self.answer().await
    }

    async fn answer(&mut self) -> Result<Value, End> {
        let mut line = String::new();
        let mut comes = (&mut self.comes).take(LONGEST);
        if comes.read_line(&mut line).await.is_ok_and(|n| n > 0) {
            let value: Value = serde_json::from_str(&line).map_err(|e| unexpected(&e))?;
            return match value.get("fatal").and_then(Value::as_str) {
                None => Ok(value),
                Some(why) => Err(End::Refused(printable(
                    &bytes(why).map_or_else(|| why.to_owned(), |b| shown(&b)),
                ))),
            };
        }
        Err(self.ended().await)
    }

    /// Why ssh has ended.
    async fn ended(&mut self) -> End {
        let waited = tokio::time::timeout(START, self.child.wait()).await;
        let Ok(Ok(status)) = waited else {
            return End::Lost("ssh does not end".to_owned());
        };
        let said = self.said.take().and_then(Said::last);
        match code(status) {
            127 => End::Refused("the node has no python3, which `sync` needs there".to_owned()),
            255 => End::Lost(said.unwrap_or_else(|| "the connection was lost".to_owned())),
            code => {
                let mut text = String::new();
                if let Some(err) = self.child.stderr.take() {
                    // A guest may write without an end.
                    let mut lines = BufReader::new(err.take(SAID)).lines();
                    while let Ok(Some(line)) = lines.next_line().await {
                        text = line;
                    }
                }
                let text = printable(&text);
                End::Lost(format!("the program on the node ended with {code}: {text}"))
            }
        }
    }
}

fn unexpected(what: &dyn std::fmt::Display) -> End {
    End::Here(format!("the node sent an unexpected answer: {what}"))
}

/// Bytes as a text in which each byte is a character, for JSON.
fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|b| char::from(*b)).collect()
}

/// The bytes of such a text.
fn bytes(latin: &str) -> Option<Vec<u8>> {
    latin.chars().map(|c| u8::try_from(c).ok()).collect()
}

/// Whether a path stays below its folder. A node may say what it likes.
fn is_below(path: &[u8]) -> bool {
    path.split(|b| *b == b'/')
        .all(|part| !matches!(part, b"" | b"." | b".."))
}

/// A path for the user's eyes.
pub(super) fn shown(path: &[u8]) -> String {
    printable(&String::from_utf8_lossy(path))
}

fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_goes_through_json_and_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        let text = json!([latin(&all)]).to_string();
        let read: Vec<String> = serde_json::from_str(&text).unwrap();
        assert_eq!(bytes(&read[0]).unwrap(), all);
        assert_eq!(bytes("\u{100}"), None);
    }

    #[test]
    fn a_node_can_name_only_paths_below_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let source = Source::open(dir.path(), &["kept/".to_owned()]).unwrap();
        let surplus = ["a", "a/b", "../x", "/etc", "a//b", "kept", "kept/x", ""];
        let difference = Difference {
            surplus: surplus.iter().map(|p| (true, (*p).to_owned())).collect(),
            ..Difference::default()
        };
        assert_eq!(difference.surplus(&source), [&b"a/b"[..], b"a"]);
    }
}
