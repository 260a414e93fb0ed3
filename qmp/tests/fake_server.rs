//! P18: no behaviour of a peer hangs or crashes the client. A scripted peer on a real socket.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::io::{BufRead, BufReader, IoSliceMut, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use kvmc_qmp::{Client, ConnectError, ExecuteError};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde_json::json;

const GREETING: &str = "{\"QMP\": {\"version\": {}, \"capabilities\": [\"oob\"]}}\r\n";
const SOON: Duration = Duration::from_millis(400);

/// A peer that runs `script` with the first connection.
fn peer(script: impl FnOnce(UnixStream) + Send + 'static) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || script(listener.accept().unwrap().0));
    (dir, path)
}

/// Reads one request and returns its id.
fn request(reader: &mut BufReader<UnixStream>) -> u64 {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    serde_json::from_str::<serde_json::Value>(&line).unwrap()["id"]
        .as_u64()
        .unwrap()
}

fn say(stream: &mut UnixStream, text: &str) {
    stream.write_all(text.as_bytes()).unwrap();
}

/// Greets and agrees to the negotiation.
fn greet(mut stream: UnixStream) -> (UnixStream, BufReader<UnixStream>) {
    say(&mut stream, GREETING);
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let id = request(&mut reader);
    say(
        &mut stream,
        &format!("{{\"return\": {{}}, \"id\": {id}}}\n"),
    );
    (stream, reader)
}

#[tokio::test]
async fn p18_a_peer_that_ends_before_its_greeting() {
    let (_dir, path) = peer(drop);
    assert!(matches!(
        Client::connect_qmp(&path, None, SOON).await,
        Err(ConnectError::Ended { .. })
    ));
}

#[tokio::test]
async fn p18_a_peer_that_says_nothing_costs_its_deadline() {
    let (_dir, path) = peer(|_held| std::thread::sleep(Duration::from_secs(3)));
    let error = Client::connect_qmp(&path, None, SOON).await.unwrap_err();
    assert!(matches!(error, ConnectError::NoGreeting { .. }), "{error}");
}

#[tokio::test]
async fn nobody_listens() {
    let error = Client::connect_qmp(&PathBuf::from("/nowhere/s"), None, SOON)
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::Socket { .. }), "{error}");
}

#[tokio::test]
async fn p18_events_before_the_greeting_and_unknown_ones_in_between_harm_nothing() {
    let (_dir, path) = peer(|mut stream| {
        say(
            &mut stream,
            "{\"event\": \"RESET\", \"data\": {\"guest\": true}}\n",
        );
        let (mut stream, mut reader) = greet(stream);
        let id = request(&mut reader);
        say(
            &mut stream,
            "{\"event\": \"OF_2040\", \"data\": {\"new\": [1]}}\n",
        );
        say(
            &mut stream,
            &format!("{{\"return\": {{\"status\": \"of-2040\"}}, \"id\": {id}}}\n"),
        );
    });
    let (client, mut events) = Client::connect_qmp(&path, None, SOON).await.unwrap();
    let answer = client
        .request("query-status", json!({}), SOON)
        .await
        .unwrap();
    assert_eq!(answer["status"], "of-2040");
    assert_eq!(events.next().await.unwrap().name, "RESET");
    assert_eq!(events.next().await.unwrap().name, "OF_2040");
    assert!(
        events.next().await.is_none(),
        "the end of the peer is the end of its events"
    );
}

#[tokio::test]
async fn p18_an_answer_that_comes_late_is_harmless() {
    let (_dir, path) = peer(|stream| {
        let (mut stream, mut reader) = greet(stream);
        let late = request(&mut reader);
        let good = request(&mut reader);
        say(
            &mut stream,
            &format!("{{\"return\": {{\"late\": 1}}, \"id\": {late}}}\n"),
        );
        say(
            &mut stream,
            &format!("{{\"return\": {{\"good\": 1}}, \"id\": {good}}}\n"),
        );
    });
    let (client, _events) = Client::connect_qmp(&path, None, SOON).await.unwrap();
    let error = client
        .request("slow", json!({}), Duration::from_millis(50))
        .await
        .unwrap_err();
    assert!(matches!(error, ExecuteError::Timeout { .. }), "{error}");
    assert_eq!(
        client.request("fast", json!({}), SOON).await.unwrap()["good"],
        1
    );
}

#[tokio::test]
async fn p18_refusals_and_half_lines_have_exact_errors() {
    let (_dir, path) = peer(|stream| {
        let (mut stream, mut reader) = greet(stream);
        let id = request(&mut reader);
        say(
            &mut stream,
            &format!(
                "{{\"error\": {{\"class\": \"CommandNotFound\", \"desc\": \"no\"}}, \"id\": {id}}}\n"
            ),
        );
        request(&mut reader);
        say(&mut stream, "{\"return\": {");
    });
    let (client, _events) = Client::connect_qmp(&path, None, SOON).await.unwrap();
    let error = client
        .request("nonsense", json!({}), SOON)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "`nonsense` was refused: no (CommandNotFound)"
    );
    let error = client.request("cut", json!({}), SOON).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "`cut` got no answer: the connection ended"
    );
}

#[tokio::test]
async fn p18_quit_may_end_without_an_answer() {
    let (_dir, path) = peer(|stream| {
        let (_stream, mut reader) = greet(stream);
        request(&mut reader);
    });
    let (client, _events) = Client::connect_qmp(&path, None, SOON).await.unwrap();
    client.quit().await.unwrap();
}

#[tokio::test]
async fn p18_garbage_ends_qmp_but_not_an_agents_line() {
    let (_dir, path) = peer(|stream| {
        let (mut stream, mut reader) = greet(stream);
        request(&mut reader);
        say(&mut stream, "\u{1}\u{2} not json\n");
        std::thread::sleep(Duration::from_secs(1));
    });
    let (client, _events) = Client::connect_qmp(&path, None, SOON).await.unwrap();
    let error = client.request("x", json!({}), SOON).await.unwrap_err();
    assert!(
        matches!(error, ExecuteError::Disconnected { .. }),
        "{error}"
    );

    let (_dir, path) = peer(|mut stream| {
        say(
            &mut stream,
            "rest of an earlier talk}\n{\"event\": \"hello\"}\n",
        );
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let id = request(&mut reader);
        say(
            &mut stream,
            &format!("{{\"return\": {{}}, \"id\": {id}}}\n"),
        );
    });
    let (agent, mut events) = Client::connect_agent(&path, None, SOON).await.unwrap();
    agent.request("ping", json!({}), SOON).await.unwrap();
    assert_eq!(events.next().await.unwrap().name, "hello");
}

/// Waiting callers time out, and later callers get their answers at once.
#[tokio::test]
async fn p18_a_line_of_a_hundred_megabytes_is_dropped_and_what_comes_after_it_is_heard() {
    fn flood(stream: &mut UnixStream) {
        let chunk = vec![b'x'; 1 << 20];
        for _ in 0..100 {
            stream.write_all(&chunk).unwrap();
        }
        say(stream, "\n");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("qmp.log");
    let log = kvmc_qmp::ExchangeLog::open(&path, 64 << 10).unwrap();
    let (_dir, socket) = peer(|stream| {
        let (mut stream, mut reader) = greet(stream);
        request(&mut reader);
        flood(&mut stream);
        let id = request(&mut reader);
        say(
            &mut stream,
            &format!("{{\"return\": {{}}, \"id\": {id}}}\n"),
        );
    });
    let (client, _events) = Client::connect_qmp(&socket, Some(log), SOON).await.unwrap();
    let error = client.request("x", json!({}), SOON).await.unwrap_err();
    assert_eq!(error.to_string(), "`x` got no answer within 400ms");
    let later = Duration::from_secs(60);
    client.request("y", json!({}), later).await.unwrap();
    let logged = std::fs::read_to_string(&path).unwrap();
    assert!(
        logged.contains("a line of more than 16777216 bytes"),
        "{logged}"
    );
    assert!(logged.len() < 10_000, "{}", logged.len());

    // A guest sends this, so the limit is lower.
    let (_dir, socket) = peer(|mut stream| {
        flood(&mut stream);
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let id = request(&mut reader);
        say(
            &mut stream,
            &format!("{{\"return\": {{}}, \"id\": {id}}}\n"),
        );
    });
    let (agent, _events) = Client::connect_agent(&socket, None, SOON).await.unwrap();
    agent.request("ping", json!({}), later).await.unwrap();
}

#[tokio::test]
async fn p18_a_peer_that_is_slow_is_waited_for_byte_by_byte() {
    let (_dir, path) = peer(|mut stream| {
        let slowly = |stream: &mut UnixStream, text: &str| {
            for byte in text.as_bytes() {
                stream.write_all(&[*byte]).unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        slowly(&mut stream, GREETING);
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        for _ in 0..2 {
            let id = request(&mut reader);
            slowly(
                &mut stream,
                &format!("{{\"return\": {{\"slow\": 1}}, \"id\": {id}}}\r\n"),
            );
        }
    });
    let patient = Duration::from_secs(20);
    let (client, _events) = Client::connect_qmp(&path, None, patient).await.unwrap();
    assert_eq!(
        client.request("x", json!({}), patient).await.unwrap()["slow"],
        1
    );
}

#[tokio::test]
async fn p18_a_greeting_that_comes_late_costs_the_deadline_or_nothing() {
    let (_dir, path) = peer(|mut stream| {
        std::thread::sleep(Duration::from_millis(600));
        let _gone = stream.write_all(GREETING.as_bytes());
    });
    let error = Client::connect_qmp(&path, None, SOON).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{} sent no greeting within 400ms; another client may be connected",
            path.display()
        )
    );
    let (_dir, path) = peer(|stream| {
        std::thread::sleep(Duration::from_millis(600));
        let _held = greet(stream);
        std::thread::sleep(Duration::from_secs(1));
    });
    Client::connect_qmp(&path, None, Duration::from_secs(20))
        .await
        .unwrap();
}

/// The negotiation also has a deadline, and only a real greeting counts as one.
#[tokio::test]
async fn p18_half_a_greeting_and_a_negotiation_without_an_answer() {
    let (_dir, path) = peer(|mut stream| say(&mut stream, "{\"QMP\": {"));
    let error = Client::connect_qmp(&path, None, SOON).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{} ended the connection before its greeting",
            path.display()
        )
    );
    let (_dir, path) = peer(|mut stream| {
        say(&mut stream, GREETING);
        std::thread::sleep(Duration::from_secs(2));
    });
    let error = Client::connect_qmp(&path, None, SOON).await.unwrap_err();
    assert_eq!(
        format!("{error}: {}", std::error::Error::source(&error).unwrap()),
        format!(
            "{} did not leave negotiation mode: `qmp_capabilities` got no answer within 400ms",
            path.display()
        )
    );
}

#[tokio::test]
async fn a_descriptor_arrives() {
    let (_dir, path) = peer(|stream| {
        let (mut stream, _reader) = greet(stream);
        let mut bytes = [0; 512];
        let mut space = nix::cmsg_space!([std::os::fd::RawFd; 1]);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let message = recvmsg::<()>(
            stream.as_raw_fd(),
            &mut parts,
            Some(&mut space),
            MsgFlags::empty(),
        )
        .unwrap();
        let fds = message
            .cmsgs()
            .unwrap()
            .any(|m| matches!(m, ControlMessageOwned::ScmRights(f) if f.len() == 1));
        say(
            &mut stream,
            if fds {
                "{\"return\": {}, \"id\": 2}\n"
            } else {
                "{\"error\": {}, \"id\": 2}\n"
            },
        );
    });
    let (client, _events) = Client::connect_qmp(&path, None, SOON).await.unwrap();
    let fd: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
    client.pass_fd("st", fd).await.unwrap();
}
