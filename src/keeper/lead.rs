//! Requests that their client leads step by step.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tokio::io::AsyncWriteExt;

use super::client::{Answers, Keeper, unexpected};
use super::protocol::{Answer, Line, Request, Step, UNKNOWN};

/// Longest wait for a step. QEMU loads or saves whole guests in it.
const STEP: Duration = Duration::from_secs(150);

/// Longest wait for the end of a request that was given up.
const GIVEN_UP: Duration = Duration::from_secs(5);

/// A request under way. When it is dropped, the keeper ends it as its kind says.
pub(crate) struct Lead(Answers);

impl Keeper {
    /// Begins a request that goes on by steps, and waits until its first part is done. A keeper that does not know the
    /// request gives way to a new one.
    ///
    /// # Errors
    /// Fails with the keeper's words.
    pub(crate) async fn lead(&self, request: &Request) -> Result<Lead> {
        match self.begin(request).await {
            Err(error) if error.to_string().contains(UNKNOWN) => {
                self.end().await?;
                self.ensure().await?;
                self.begin(request).await
            }
            begun => begun,
        }
    }

    async fn begin(&self, request: &Request) -> Result<Lead> {
        let mut lead = Lead(self.send(request).await?);
        lead.done().await?;
        Ok(lead)
    }
}

impl Lead {
    /// Asks for the next step.
    ///
    /// # Errors
    /// Fails if the keeper has ended.
    pub(crate) async fn step(&mut self, step: Step) -> Result<()> {
        let mut line = serde_json::to_vec(&Line::new(step)).context("a step cannot be written")?;
        line.push(b'\n');
        self.0.write(&line).await
    }

    /// Gives the request up, and waits until the keeper has done with it.
    pub(crate) async fn give_up(mut self) {
        let ended = async {
            self.0.0.get_mut().shutdown().await?;
            while self.0.next().await?.is_some() {}
            anyhow::Ok(())
        };
        let _ended_anyway = tokio::time::timeout(GIVEN_UP, ended).await;
    }

    /// Waits until a part is done.
    ///
    /// # Errors
    /// Fails with the keeper's words, or if it has ended.
    pub(crate) async fn done(&mut self) -> Result<()> {
        let answer = tokio::time::timeout(STEP, self.0.next()).await;
        let answer = answer
            .with_context(|| format!("the keeper did not answer within {} s", STEP.as_secs()))??;
        match answer {
            Some(Answer::Done) => Ok(()),
            Some(Answer::Failed(why)) => Err(anyhow!(why)),
            Some(other) => Err(unexpected(&other)),
            None => bail!("the keeper closed the connection without an answer"),
        }
    }
}
