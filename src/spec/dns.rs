//! `[dns]`: the domain of the cluster's names, and records beside theirs.

use serde::{Deserialize, Serialize};

/// What the cluster's name server is to serve beside nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DnsSpec {
    /// Empty for the default, which is made of the cluster's name.
    #[serde(default)]
    pub(super) domain: String,
    /// Each `NAME [TTL] TYPE VALUE`, as in a zone file.
    #[serde(default)]
    pub(crate) records: Vec<String>,
}

impl DnsSpec {
    pub(super) fn new(domain: String, records: Vec<String>) -> Self {
        Self { domain, records }
    }

    #[cfg(test)]
    pub(crate) fn for_test(record: &str) -> Self {
        Self::new(String::new(), vec![record.to_owned()])
    }

    /// As it was asked for.
    pub(crate) fn domain_asked(&self) -> &str {
        &self.domain
    }
}
