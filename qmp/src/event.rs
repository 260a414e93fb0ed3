//! Events that a peer sends, and the bounded queue that keeps them for their listener.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Notify;

/// Events kept for a slow listener. A new event then replaces the oldest.
const MOST_WAITING: usize = 256;

/// One event.
#[derive(Debug, Clone, Deserialize)]
pub struct Event {
    /// Its name, as in QEMU's QAPI reference.
    #[serde(rename = "event")]
    pub name: String,
    /// Its data, null where the peer sent none.
    #[serde(default)]
    pub data: Value,
}

/// The events of one connection. At most 256 wait; a new event then replaces the oldest.
#[derive(Debug)]
pub struct Events {
    queue: Arc<EventQueue>,
}

impl Events {
    pub(crate) const fn of(queue: Arc<EventQueue>) -> Self {
        Self { queue }
    }

    /// The next event; `None` once the peer has closed the connection.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            {
                let mut state = self.queue.state.lock().ok()?;
                if let Some(event) = state.waiting.pop_front() {
                    return Some(event);
                }
                if state.is_closed {
                    return None;
                }
            }
            self.queue.changed.notified().await;
        }
    }
}

/// The queue that the connection's task and the listener share.
#[derive(Debug, Default)]
pub(crate) struct EventQueue {
    state: Mutex<QueueState>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct QueueState {
    waiting: VecDeque<Event>,
    is_closed: bool,
}

impl EventQueue {
    pub(crate) fn push(&self, event: Event) {
        if let Ok(mut state) = self.state.lock() {
            if state.waiting.len() >= MOST_WAITING {
                state.waiting.pop_front();
            }
            state.waiting.push_back(event);
        }
        self.changed.notify_one();
    }

    /// Makes [`Events::next`] end after the events that wait.
    pub(crate) fn close(&self) {
        if let Ok(mut state) = self.state.lock() {
            state.is_closed = true;
        }
        self.changed.notify_one();
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.state.lock().map_or(0, |state| state.waiting.len())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[tokio::test]
    async fn the_oldest_events_are_dropped_and_the_end_comes_after_the_last() {
        let queue = Arc::new(EventQueue::default());
        for number in 0..=MOST_WAITING {
            let data = number.into();
            queue.push(Event {
                name: "X".to_owned(),
                data,
            });
        }
        queue.close();
        let mut events = Events::of(Arc::clone(&queue));
        assert_eq!(events.next().await.unwrap().data, 1);
        for _ in 1..MOST_WAITING {
            assert!(events.next().await.is_some());
        }
        assert!(events.next().await.is_none());
    }
}
