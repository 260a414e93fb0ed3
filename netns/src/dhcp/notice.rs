//! Notices about clients, for the cluster's event log.

use std::net::Ipv4Addr;

use super::table::Table;
use crate::MacAddr;

/// The kind of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the messages of RFC 2131")]
pub enum NoticeKind {
    Offered,
    Acked,
    Nak,
    Released,
    Declined,
    Informed,
    /// No address is left for the client.
    RangeFull,
    /// Another station uses the client's address.
    InUse,
    /// Another client sent the same client identifier before. Both have addresses of their own.
    SharedIdentifier,
}

/// A notice about one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Its kind.
    pub kind: NoticeKind,
    /// The client.
    pub mac: MacAddr,
    /// The address in question.
    pub address: Option<Ipv4Addr>,
    /// The name of the client's reservation; never one that the client sent.
    pub hostname: Option<String>,
    /// The other station of [`NoticeKind::InUse`] and [`NoticeKind::SharedIdentifier`].
    pub other: Option<MacAddr>,
}

impl Notice {
    pub(super) fn new(
        table: &Table,
        kind: NoticeKind,
        mac: MacAddr,
        address: Option<Ipv4Addr>,
    ) -> Self {
        Self {
            kind,
            mac,
            address,
            hostname: table.reservation(mac).map(|r| r.hostname.clone()),
            other: None,
        }
    }
}
