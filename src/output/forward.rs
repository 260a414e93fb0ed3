//! Ports of the host that lead to nodes.

use anyhow::Result;

use super::{data, json, table, talk};
use crate::model::ForwardReport;

/// Prints them as a table, or as JSON.
///
/// # Errors
/// A value that JSON has no form for.
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

/// Says where those lead that were added.
pub(crate) fn leads(forwards: &[ForwardReport]) {
    for forward in forwards {
        talk(&format!("{} leads to {}", forward.text, forward.target));
    }
}
