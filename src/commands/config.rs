//! `config`.

use std::process::ExitCode;

use anyhow::Result;

use super::Scene;
use crate::cli::Flags;
use crate::output;
use crate::spec::{Key, check};

pub(super) fn run(scene: &Scene, flags: &Flags) -> Result<ExitCode> {
    let settings = scene.settings(flags)?;
    check(&settings)?;
    let rows: Vec<_> = Key::ALL
        .into_iter()
        .map(|k| {
            let value = settings.value(k);
            let shown = if value.is_empty() { "-" } else { value };
            vec![
                k.name().to_owned(),
                shown.to_owned(),
                settings.source(k).to_string(),
            ]
        })
        .collect();
    output::data(&output::table(&["SETTING", "VALUE", "FROM"], &rows));
    Ok(ExitCode::SUCCESS)
}
