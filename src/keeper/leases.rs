//! Turns DHCP's notices into stages and events. A node's lease is a stage of its boot; faults go to the event log.
//! Guests must not be able to fill the log.

use std::time::{Duration, Instant};

use kvmc_netns::dhcp::{Event, Notice, NoticeKind};
use tokio::sync::mpsc;

use super::status::Status;
use crate::model::{EventKind, Stage};

/// Lines that foreign machines can cause in each period. Further ones are only counted.
const MOST: u32 = 20;
const SPAN: Duration = Duration::from_secs(60);

/// Follows one network's notices. Only leases of the main network are a stage, because nodes are reached through it.
pub(super) async fn follow(mut events: mpsc::Receiver<Event>, status: Status, is_main: bool) {
    let mut budget = Budget::default();
    while let Some(event) = events.recv().await {
        let notice = match event {
            Event::Client(notice) => notice,
            Event::Unsaved { reason } => {
                let note = format!("leases are served, but cannot be saved: {reason}");
                status.event("dhcp", EventKind::Unsaved, &note);
                continue;
            }
            Event::Saved => {
                status.event("dhcp", EventKind::Saved, "leases are saved again");
                continue;
            }
        };
        if let (NoticeKind::Acked, Some(name)) = (notice.kind, &notice.hostname) {
            if is_main {
                status.reach(name, Stage::Lease, "");
            }
            continue;
        }
        let Some((event, mut note)) = words(&notice) else {
            continue;
        };
        match budget.spend(Instant::now()) {
            None => continue,
            Some(0) => {}
            Some(more) => note += &format!(" ({more} more were left out)"),
        }
        match &notice.hostname {
            // The board shows it, because nothing else explains why a node does not become ready. A ready one is looked
            // at again, until the conflict is over.
            Some(name) if event == EventKind::Conflict && !is_ready(&status, name) => {
                status.note(name, event, &note);
            }
            Some(name) => status.event(name, event, &note),
            None => status.event(&notice.mac.to_string(), event, &note),
        }
    }
}

fn is_ready(status: &Status, node: &str) -> bool {
    let board = status.board();
    board.get(node).is_some_and(|v| v.stage >= Stage::Ready)
}

/// The event and its note, or `None` if nothing is wrong.
fn words(notice: &Notice) -> Option<(EventKind, String)> {
    let address = notice
        .address
        .map_or_else(|| "no address".to_owned(), |a| a.to_string());
    let other = notice
        .other
        .map_or_else(|| "another machine".to_owned(), |m| m.to_string());
    Some(match notice.kind {
        NoticeKind::Nak => (
            EventKind::Refused,
            format!("asked for {address}, which is not its address"),
        ),
        NoticeKind::Declined => (
            EventKind::Declined,
            format!("found {address} in use by another machine"),
        ),
        NoticeKind::InUse => (
            EventKind::Conflict,
            format!("{other} uses {address} too; give that machine another address"),
        ),
        NoticeKind::SharedIdentifier => (
            EventKind::Shared,
            format!(
                "has the same DHCP client identifier as {other}; each gets its own address nevertheless"
            ),
        ),
        NoticeKind::RangeFull => (
            EventKind::Full,
            "gets no address, because all are taken".to_owned(),
        ),
        NoticeKind::Offered | NoticeKind::Acked | NoticeKind::Released | NoticeKind::Informed => {
            return None;
        }
    })
}

/// A limit on lines in a period.
#[derive(Debug, Default)]
struct Budget {
    since: Option<Instant>,
    spent: u32,
    refused: u32,
}

impl Budget {
    /// Returns how many lines were refused since the last accepted one, or `None` if this one is refused.
    fn spend(&mut self, now: Instant) -> Option<u32> {
        if self.since.is_none_or(|since| now - since >= SPAN) {
            self.since = Some(now);
            self.spent = 0;
        }
        if self.spent == MOST {
            self.refused = self.refused.saturating_add(1);
            return None;
        }
        self.spent += 1;
        Some(std::mem::take(&mut self.refused))
    }
}

#[cfg(test)]
mod tests {
    use kvmc_netns::MacAddr;

    use super::*;

    #[test]
    fn p25_strangers_cannot_fill_the_log() {
        let mut budget = Budget::default();
        let start = Instant::now();
        let written = (0..10_000).filter(|_| budget.spend(start).is_some());
        assert_eq!(written.count(), 20);
        assert_eq!(budget.spend(start + SPAN), Some(9980));
        assert_eq!(budget.spend(start + SPAN), Some(0));
    }

    #[tokio::test]
    async fn p27_a_conflict_is_on_the_board_with_the_intruders_address() {
        let dir = tempfile::tempdir().unwrap();
        let status = Status::new(dir.path().join("events.jsonl"));
        status.begin("master0", None);
        let (sender, receiver) = mpsc::channel(64);
        let notice = Notice {
            kind: NoticeKind::InUse,
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
            address: Some([192, 168, 80, 2].into()),
            hostname: Some("master0".to_owned()),
            other: Some(MacAddr([2, 0, 0, 0, 0, 9])),
        };
        let acked = Notice {
            kind: NoticeKind::Acked,
            ..notice.clone()
        };
        for event in [acked, notice.clone()] {
            sender.send(Event::Client(event)).await.unwrap();
        }
        drop(sender);
        follow(receiver, status.clone(), true).await;
        let view = &status.board()["master0"];
        assert_eq!(view.stage, Stage::Lease);
        let note = "02:00:00:00:00:09 uses 192.168.80.2 too";
        assert!(view.note.starts_with(note), "{}", view.note);

        // The looks at ready nodes tell of it, and know when it is over.
        status.reach("master0", Stage::Ready, "");
        let (sender, receiver) = mpsc::channel(64);
        sender.send(Event::Client(notice)).await.unwrap();
        drop(sender);
        follow(receiver, status.clone(), true).await;
        assert_eq!(status.board()["master0"].note, "");
    }
}
