//! Address conflicts, seen by the ARP of the stations on the link.

use super::notice::{Notice, NoticeKind};
use super::table::Table;
use crate::arp::sender;

/// Notes the sender of an ARP frame, and returns a notice when it uses another client's address. `now` is in seconds after
/// the epoch.
#[must_use]
pub fn observe_arp(table: &mut Table, now: u64, frame: &[u8]) -> Option<Notice> {
    let (by, address) = sender(frame)?;
    let owner = table.observe(by, address, now)?;
    Some(Notice {
        other: Some(by),
        ..Notice::new(table, NoticeKind::InUse, owner, Some(address))
    })
}
