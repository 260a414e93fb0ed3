//! The CLI's side of the keeper's stream of events.

use std::io::ErrorKind;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::client::{Answers, Keeper};
use super::protocol::{Answer, Request};
use crate::hint::find;
use crate::model::{Board, Event};

/// Longest wait for an answer that comes at once.
const ANSWER: Duration = Duration::from_secs(6);

/// A stream of events.
pub(crate) struct EventStream {
    answers: Answers,
    follow: bool,
}

/// What the keeper tells of events.
#[derive(Debug)]
pub(crate) enum Told {
    /// The board, and the number of the last event that it includes.
    State {
        number: u64,
        board: Board,
    },
    Event(Event),
    /// The events from one number to another are not kept any more.
    Missed {
        from: u64,
        to: u64,
    },
}

impl Keeper {
    /// The events after a number, as far as they are kept; without a number, first the state. With `follow`, also those
    /// that come. `None` if no keeper runs.
    ///
    /// # Errors
    /// Fails if this user may not connect to the keeper.
    pub(crate) async fn events(
        &self,
        since: Option<u64>,
        follow: bool,
    ) -> Result<Option<EventStream>> {
        match self.send(&Request::Events { since, follow }).await {
            Ok(answers) => Ok(Some(EventStream { answers, follow })),
            Err(e) => match find::<std::io::Error>(&e).map(std::io::Error::kind) {
                Some(
                    ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::BrokenPipe,
                ) => Ok(None),
                _ => Err(e),
            },
        }
    }
}

impl EventStream {
    /// The next answer, or `None` after the last one and when the keeper has ended.
    ///
    /// # Errors
    /// Fails if the keeper is of another version, or if it hangs.
    pub(crate) async fn next(&mut self) -> Result<Option<Told>> {
        let answer = if self.follow {
            self.answers.next().await
        } else {
            let answer = tokio::time::timeout(ANSWER, self.answers.next()).await;
            answer.with_context(|| {
                format!("the keeper did not answer within {} s", ANSWER.as_secs())
            })?
        };
        Ok(match answer {
            Ok(Some(Answer::State { number, board })) => Some(Told::State { number, board }),
            Ok(Some(Answer::Event(event))) => Some(Told::Event(event)),
            Ok(Some(Answer::Missed { from, to })) => Some(Told::Missed { from, to }),
            Ok(Some(other)) => bail!("the keeper sent an answer of the wrong kind: {other:?}"),
            Ok(None) => None,
            // A keeper that is killed resets the connection.
            Err(e) if find::<std::io::Error>(&e).is_some() => None,
            Err(e) => return Err(e),
        })
    }
}
