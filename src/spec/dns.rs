//! `[dns]`: the domain of the cluster's names, and additional DNS records.

use serde::{Deserialize, Serialize};

/// What the cluster's name server serves in addition to the nodes' names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DnsSpec {
    /// Empty for the default, which is derived from the cluster's name.
    #[serde(default)]
    pub(super) domain: String,
    /// Records, each as `NAME [TTL] TYPE VALUE`, like in a zone file.
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

    /// The domain as requested.
    pub(crate) fn domain_asked(&self) -> &str {
        &self.domain
    }
}
