//! The table of all settings.

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use super::{data, json, table};
use crate::model::SCHEMA;
use crate::spec::Settings;

/// Prints the settings as a table or as JSON, each with the source of its value.
///
/// # Errors
/// Fails if JSON cannot represent a value.
pub(crate) fn settings(settings: &Settings, as_json: bool) -> Result<()> {
    if as_json {
        return json(&listed(settings));
    }
    data(&settings_text(settings));
    Ok(())
}

/// All settings.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Listed {
    schema: u32,
    settings: Vec<ListedSetting>,
}

/// A setting.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ListedSetting {
    key: String,
    /// As `kvmc.toml` has it, without quotes.
    value: String,
    /// Where the value came from.
    source: String,
}

pub(super) fn listed(settings: &Settings) -> Listed {
    let rows = settings.rows().into_iter();
    Listed {
        schema: SCHEMA,
        settings: rows
            .map(|(key, value, source)| ListedSetting {
                key,
                value,
                source: source.to_string(),
            })
            .collect(),
    }
}

pub(super) fn settings_text(settings: &Settings) -> String {
    let rows = settings.rows().into_iter().map(|(key, value, source)| {
        let shown = if value.is_empty() { "-" } else { &value };
        vec![key, shown.to_owned(), source.to_string()]
    });
    table(&["SETTING", "VALUE", "FROM"], &rows.collect::<Vec<_>>())
}
