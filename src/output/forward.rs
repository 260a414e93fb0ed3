//! The forwards of a cluster.

use anyhow::Result;

use super::{data, json, table, talk};
use crate::model::ForwardReport;

/// Prints the forwards as a table or as JSON.
///
/// # Errors
/// Fails if JSON cannot represent a value.
pub(crate) fn forwards(forwards: &[ForwardReport], as_json: bool) -> Result<()> {
    if as_json {
        return json(&forwards);
    }
    data(&forwards_text(forwards));
    Ok(())
}

pub(super) fn forwards_text(forwards: &[ForwardReport]) -> String {
    let rows: Vec<_> = forwards
        .iter()
        .map(|f| {
            let address = f.address.map_or_else(|| "*".to_owned(), |a| a.to_string());
            vec![
                format!("{address}:{}/{}", f.port, f.protocol),
                f.node.clone(),
                f.target.clone(),
            ]
        })
        .collect();
    table(&["HOST", "NODE", "LEADS TO"], &rows)
}

/// Reports each added forward with its target.
pub(crate) fn leads(forwards: &[ForwardReport]) {
    for forward in forwards {
        talk(&format!("{} leads to {}", forward.text, forward.target));
    }
}
