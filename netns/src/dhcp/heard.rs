//! Who is heard to use an address.

use super::handle::{Notice, NoticeKind, notice};
use super::table::Table;
use crate::arp::sender;

/// Takes note of the sender of an ARP frame and returns what is to be told: that a station uses an address
/// that is another's. `now` is in seconds after the epoch.
#[must_use]
pub fn heard(table: &mut Table, now: u64, frame: &[u8]) -> Option<Notice> {
    let (by, address) = sender(frame)?;
    let owner = table.heard(by, address, now)?;
    Some(Notice {
        other: Some(by),
        ..notice(table, NoticeKind::InUse, owner, Some(address))
    })
}
