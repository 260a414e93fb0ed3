//! `plan`: the changes, setting by setting and node by node, and the steps.

use std::io::{IsTerminal, Write};

use anyhow::Result;

use super::{Stream, data, is_colored, json};
use crate::model::{Effect, Exit, PlanReport};

/// Prints what `up` would do.
///
/// # Errors
/// Fails if JSON cannot represent the plan.
pub(crate) fn plan(report: &PlanReport, as_json: bool) -> Result<Exit> {
    if as_json {
        json(report)?;
    } else {
        data(&plan_text(report, is_colored(Stream::Out)));
    }
    Ok(match report.is_empty() {
        true => Exit::Done,
        false => Exit::CHANGES,
    })
}

pub(super) fn plan_text(report: &PlanReport, in_colour: bool) -> String {
    if report.is_empty() {
        return format!("cluster `{}`: no change\n", report.cluster);
    }
    let mut text = match report.is_new {
        true => format!("cluster `{}` is new\n", report.cluster),
        false => format!("cluster `{}`\n", report.cluster),
    };
    let none = || "none".to_owned();
    let head = |text: &mut String, heading: &str, is_empty: bool| {
        if !is_empty {
            *text += &format!("{heading}\n");
        }
    };
    head(&mut text, "settings", report.settings.is_empty());
    for setting in &report.settings {
        let source = setting.source.as_ref();
        let source = source.map_or_else(String::new, |source| format!(" (from {source})"));
        text += &line(
            &format!(
                "{}: {} -> {}{source}",
                setting.key,
                setting.before.clone().unwrap_or_else(none),
                setting.after.clone().unwrap_or_else(none),
            ),
            &[setting.effect],
            in_colour,
        );
    }
    head(&mut text, "nodes", report.nodes.is_empty());
    for node in &report.nodes {
        text += &line(
            &format!("{}: {}", node.node, node.what),
            &node.effects,
            in_colour,
        );
    }
    head(&mut text, "steps", report.steps.is_empty());
    for step in &report.steps {
        text += &format!("    {step}\n");
    }
    text
}

/// A change with a sign before and its effects after.
fn line(what: &str, effects: &[Effect], in_colour: bool) -> String {
    let (sign, colour) = match effects.first() {
        Some(Effect::NewNode) => ('+', 32),
        Some(Effect::RemovesNode | Effect::LosesData) => ('-', 31),
        Some(Effect::NextStart) => ('~', 33),
        Some(Effect::Live) | None => ('~', 36),
    };
    let words: Vec<_> = effects.iter().map(|e| e.words()).collect();
    let words = words.join(", ");
    match in_colour {
        true => {
            format!("  \u{1b}[{colour}m{sign}\u{1b}[0m {what}  \u{1b}[{colour}m{words}\u{1b}[0m\n")
        }
        false => format!("  {sign} {what}  [{words}]\n"),
    }
}

/// Whether a question would be answered: there is a terminal.
pub(crate) fn can_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks a question that only y or yes agrees to; `None` without a terminal.
pub(crate) fn confirm(question: &str) -> Option<bool> {
    if !can_ask() {
        return None;
    }
    let (stdin, mut stderr) = (std::io::stdin(), std::io::stderr());
    let asked = write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush());
    let mut answer = String::new();
    let heard = asked.and_then(|()| stdin.read_line(&mut answer));
    let answer = answer.trim().to_lowercase();
    Some(heard.is_ok() && matches!(answer.as_str(), "y" | "yes"))
}
