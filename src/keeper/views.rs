//! What the CLI reads of a keeper: the board and the rules.

use anyhow::{Result, bail};
use tokio::sync::watch;

use super::client::{Keeper, OtherVersion, unexpected};
use super::protocol::{Answer, Request};
use crate::model::Board;
use crate::network::RulesMark;

impl Keeper {
    /// The keeper's view of all nodes.
    ///
    /// # Errors
    /// Like [`Self::ask`].
    pub(crate) async fn board(&self) -> Result<Board> {
        match self.exchange(&Request::Board).await? {
            Answer::Board(board) => Ok(board),
            other => Err(unexpected(&other)),
        }
    }

    /// The marks of the rules that the keeper last found in order.
    ///
    /// # Errors
    /// Like [`Self::ask`]. A keeper of an earlier version does not know the request.
    pub(crate) async fn rules_in_order(&self) -> Result<Option<RulesMark>> {
        match self.exchange(&Request::Rules).await? {
            Answer::Rules(mark) => Ok(mark),
            other => Err(unexpected(&other)),
        }
    }

    /// Like [`Self::board`], but also from a keeper of another version. The flag says whether it is of another
    /// version; a verb that changes something replaces it then.
    ///
    /// # Errors
    /// Like [`Self::ask`].
    pub(crate) async fn board_of_any_version(&self) -> Result<(Board, bool)> {
        match self.board().await.map_err(|e| e.downcast::<OtherVersion>()) {
            Ok(board) => Ok((board, false)),
            Err(Ok(OtherVersion { board: Some(board) })) => Ok((board, true)),
            Err(Ok(other)) => Err(other.into()),
            Err(Err(error)) => Err(error),
        }
    }

    /// The board, kept up to date. The sender is dropped when the keeper ends.
    ///
    /// # Errors
    /// Fails if there is no keeper.
    pub(crate) async fn watch(&self) -> Result<watch::Receiver<Board>> {
        let mut answers = self.send(&Request::Watch).await?;
        let first = match answers.next().await? {
            Some(Answer::Board(board)) => board,
            Some(other) => return Err(unexpected(&other)),
            None => bail!("the keeper closed the connection without an answer"),
        };
        let (sender, receiver) = watch::channel(first);
        tokio::spawn(async move {
            while let Ok(Some(Answer::Board(board))) = answers.next().await {
                if sender.send(board).is_err() {
                    return;
                }
            }
        });
        Ok(receiver)
    }
}
