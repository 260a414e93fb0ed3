//! The table of all settings.

use super::{data, table};
use crate::spec::Settings;

/// Prints the settings as a table, each with the source of its value.
pub(crate) fn settings(settings: &Settings) {
    data(&settings_text(settings));
}

pub(super) fn settings_text(settings: &Settings) -> String {
    let rows = settings.rows().into_iter().map(|(key, value, source)| {
        let shown = if value.is_empty() { "-" } else { &value };
        vec![key, shown.to_owned(), source.to_string()]
    });
    table(&["SETTING", "VALUE", "FROM"], &rows.collect::<Vec<_>>())
}
