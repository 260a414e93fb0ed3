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
    /// Names in special-use domains that the host's resolvers are asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) forward: Vec<String>,
    /// Names whose addresses may be in the cluster's own range.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) rebind_ok: Vec<String>,
}

impl DnsSpec {
    pub(super) fn new(domain: String, records: Vec<String>) -> Self {
        Self {
            domain,
            records,
            ..Self::default()
        }
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
