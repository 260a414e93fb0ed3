//! Codes of errors, explained.

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use super::{data, json, table};
use crate::codes::{Code, codes};
use crate::model::SCHEMA;

/// All codes.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Explanations {
    schema: u32,
    codes: Vec<Explanation>,
}

/// A code.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Explanation {
    code: &'static str,
    messages: Vec<String>,
    means: &'static str,
    cure: String,
}

impl Explanation {
    fn of(code: &Code) -> Self {
        Self {
            code: code.name,
            messages: code.messages().collect(),
            means: code.means(),
            cure: code.cure(),
        }
    }
}

/// Explains one code.
///
/// # Errors
/// Fails if JSON cannot represent a value.
pub(crate) fn explain(code: &Code, as_json: bool) -> Result<()> {
    print(vec![Explanation::of(code)], as_json, explained)
}

/// Lists all codes.
///
/// # Errors
/// Fails if JSON cannot represent a value.
pub(crate) fn explain_all(as_json: bool) -> Result<()> {
    print(codes().map(Explanation::of).collect(), as_json, listed)
}

fn print(codes: Vec<Explanation>, as_json: bool, text: fn(&[Explanation]) -> String) -> Result<()> {
    if as_json {
        return json(&Explanations {
            schema: SCHEMA,
            codes,
        });
    }
    data(&text(&codes));
    Ok(())
}

fn explained(codes: &[Explanation]) -> String {
    let one = |code: &Explanation| {
        let messages: String = code.messages.iter().map(|m| format!("    {m}\n")).collect();
        let Explanation {
            code, means, cure, ..
        } = code;
        format!("{code}\n\n{means}\n{cure}\n\nMessages with this code:\n{messages}")
    };
    codes.iter().map(one).collect()
}

fn listed(codes: &[Explanation]) -> String {
    let first = |text: &str| match text.split_once(". ") {
        Some((first, _)) => format!("{first}."),
        None => text.to_owned(),
    };
    let rows: Vec<_> = codes
        .iter()
        .map(|c| vec![c.code.to_owned(), first(c.means)])
        .collect();
    table(&["CODE", "MEANS"], &rows)
}

/// Samples for the snapshots.
#[cfg(test)]
pub(super) fn samples() -> Vec<(&'static str, String)> {
    let one = || {
        codes()
            .filter(|c| c.name == "port-in-use")
            .map(Explanation::of)
    };
    let all: Vec<_> = codes().map(Explanation::of).collect();
    let shape = Explanations {
        schema: SCHEMA,
        codes: one().collect(),
    };
    vec![
        ("explain", explained(&one().collect::<Vec<_>>())),
        ("explain-all", listed(&all)),
        ("explain-json", super::json_text(&shape).unwrap()),
    ]
}
