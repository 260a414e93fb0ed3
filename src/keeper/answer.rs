//! Answers one connection from the CLI.

use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;

use super::protocol::{Answer, Line, PROTOCOL, Request, UNKNOWN};
use super::restore::restore;
use super::save::save;
use super::served::Served;
use super::status::Status;
use super::wire::say;

/// Largest request, in bytes.
const LONGEST: u64 = 4096;

/// Reads the request and answers it.
pub(super) async fn answer(stream: UnixStream, served: Arc<Served>) {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = String::new();
    let read = (&mut reader).take(LONGEST).read_line(&mut line).await;
    if !matches!(read, Ok(1..)) {
        return;
    }
    let request = match parse(&line) {
        Ok(request) => request,
        Err(e) => {
            let _gone = say(&mut writer, Answer::Failed(format!("{e:#}"))).await;
            return;
        }
    };
    let done = |result: Result<()>| match result {
        Ok(()) => Answer::Done,
        Err(e) => Answer::Failed(format!("{e:#}")),
    };
    let answer = match request {
        Request::Sync => done(served.sync()),
        Request::Forward => done(served.forward()),
        Request::Board => Answer::Board(served.status.board()),
        Request::Rules => Answer::Rules(served.status.rules_in_order()),
        Request::Powerdown { node } => done(served.power_down(&node).await),
        Request::Grow { node } => done(served.grow(&node).await),
        Request::Quit { node } => done(served.quit(&node).await),
        Request::Save { overlays, name } => {
            return save(&served, (overlays, &name), &mut reader, &mut writer).await;
        }
        Request::Restore => return restore(&served, false, &mut reader, &mut writer).await,
        Request::TakeOver => return restore(&served, true, &mut reader, &mut writer).await,
        Request::Watch => return watch_board(&mut writer, &served.status).await,
        Request::Events { since, follow } => {
            return tell_events(&mut writer, &served.status, since, follow).await;
        }
        Request::Console { node, history } => match served.console(&node) {
            Ok(console) => {
                if say(&mut writer, Answer::Done).await.is_ok() {
                    console.show(history, reader, writer).await;
                }
                return;
            }
            Err(e) => Answer::Failed(format!("{e:#}")),
        },
    };
    let _gone = say(&mut writer, answer).await;
}

fn parse(line: &str) -> Result<Request> {
    let line: Line<serde_json::Value> = serde_json::from_str(line)
        .context("the request is not a line of this version's protocol")?;
    let version = line.protocol;
    anyhow::ensure!(
        version == PROTOCOL,
        "the request has protocol version {version}; this keeper expects version {PROTOCOL}"
    );
    serde_json::from_value(line.body).context(UNKNOWN)
}

async fn watch_board(writer: &mut OwnedWriteHalf, status: &Status) {
    let mut board = status.watch();
    loop {
        let now = board.borrow_and_update().clone();
        if say(writer, Answer::Board(now)).await.is_err() || board.changed().await.is_err() {
            return;
        }
    }
}

/// Sends the events after `since`. A slow reader stops nothing, because it reads from the log what it missed.
async fn tell_events(
    writer: &mut OwnedWriteHalf,
    status: &Status,
    since: Option<u64>,
    follow: bool,
) {
    let mut news = status.watch_events();
    let mut told = match since {
        Some(since) => since,
        None => {
            let number = *news.borrow_and_update();
            let board = status.board();
            if say(writer, Answer::State { number, board }).await.is_err() {
                return;
            }
            number
        }
    };
    loop {
        let last = *news.borrow_and_update();
        for event in status.events_since(told) {
            if event.number > told + 1 {
                let (from, to) = (told + 1, event.number - 1);
                if say(writer, Answer::Missed { from, to }).await.is_err() {
                    return;
                }
            }
            told = event.number;
            if say(writer, Answer::Event(event)).await.is_err() {
                return;
            }
        }
        // The log never had these numbers, so there is nothing to send.
        told = told.max(last);
        if !follow || news.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_of_another_version_is_refused_with_both_versions() {
        let sync = serde_json::to_string(&Line::new(Request::Sync)).unwrap();
        assert_eq!(sync, r#"{"protocol":2,"request":"sync"}"#);
        assert_eq!(parse(&sync).unwrap(), Request::Sync);
        for (line, expected) in [
            (
                r#"{"request":"sync"}"#,
                "not a line of this version's protocol",
            ),
            (
                r#"{"protocol":3,"request":"sync"}"#,
                "the request has protocol version 3; this keeper expects version 2",
            ),
            (r#"{"protocol":2,"request":"dance"}"#, "unknown request"),
        ] {
            assert!(
                parse(line).unwrap_err().to_string().contains(expected),
                "{line}"
            );
        }
    }
}
