//! The answer of our own zones to a question.

use hickory_proto::rr::{Name, Record};

/// The answer of our zones, without the question.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Answer {
    /// Whether the name exists; otherwise the answer is NXDOMAIN.
    pub(super) exists: bool,
    pub(super) records: Vec<Record>,
    /// For the authority section, where the name has no record of the type.
    pub(super) soa: Option<Record>,
    /// The target of the last alias, where only other name servers can resolve it.
    pub(super) onward: Option<Name>,
}
