//! The table of what kvmc's files take on disk.

use anyhow::Result;

use super::{data, json, table};
use crate::hint::host_command;
use crate::model::{DiskUsage, Prune};
use crate::spec::approximate;

/// Prints what the files take.
///
/// # Errors
/// Fails if JSON cannot represent a value.
pub(crate) fn disk_usage(usage: &DiskUsage, as_json: bool) -> Result<()> {
    if as_json {
        return json(usage);
    }
    data(&disk_usage_text(usage));
    Ok(())
}

pub(super) fn disk_usage_text(usage: &DiskUsage) -> String {
    let rows: Vec<_> = usage
        .rows
        .iter()
        .map(|row| {
            let shared = match row.shared {
                0 => "-".to_owned(),
                bytes => size(bytes),
            };
            let prune = match row.prune {
                Prune::Never => "-",
                Prune::Yes => "yes",
                Prune::All => "--all",
            };
            vec![
                row.kind.name().to_owned(),
                row.name.clone(),
                size(row.allocated),
                shared,
                prune.to_owned(),
                row.used_by.join(", "),
            ]
        })
        .collect();
    let header = ["WHAT", "NAME", "ALLOCATED", "SHARED", "PRUNE", "USED BY"];
    let table = if rows.is_empty() {
        String::new()
    } else {
        table(&header, &rows)
    };
    format!(
        "{table}{} in all; {} frees {}, {} frees {}\n",
        size(usage.total),
        host_command("image prune"),
        size(usage.prune),
        host_command("image prune --all"),
        size(usage.prune_all)
    )
}

/// Also what is less than a MiB.
fn size(bytes: u64) -> String {
    if bytes >> 20 == 0 {
        format!("{}K", bytes.div_ceil(1024))
    } else {
        approximate(bytes)
    }
}
