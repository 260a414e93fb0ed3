//! Why a node did not become ready: the end of its QEMU, its last event, and its console.

use crate::node::{Ended, Identity};
use crate::state::NodeDir;

/// Lines of a console that an error shows.
const CONSOLE_LINES: usize = 8;

/// The guest asked for a reset that its QEMU could not carry out, so QEMU ended.
#[derive(Debug)]
pub(super) struct Rebooted;

impl std::fmt::Display for Rebooted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the guest rebooted")
    }
}

impl std::error::Error for Rebooted {}

/// The last event of a node in `events.jsonl`. A crash may have cut off the last line.
pub(crate) fn last_event(events: &str, node: &str) -> Option<String> {
    let mine = format!("\"node\":\"{node}\"");
    let parsed = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok();
    let last = events
        .lines()
        .rev()
        .filter(|l| l.contains(&mine))
        .find_map(parsed);
    Some(last?.get("event")?.as_str()?.to_owned())
}

/// The error for a process whose end the keeper has noticed.
pub(super) fn recorded_end(dir: &NodeDir, process: &Identity, note: &str) -> Option<anyhow::Error> {
    let ended = Ended::last(dir).filter(|e| e.process == *process)?;
    Some(if ended.is_reboot() {
        Rebooted.into()
    } else if !note.is_empty() {
        // If the keeper ended the process, its note gives the reason.
        anyhow::anyhow!("QEMU ended: {note}")
    } else {
        anyhow::anyhow!("QEMU ended: {}", ended.cause)
    })
}

/// The last lines of a console, without control characters.
pub(super) fn console_tail(dir: &NodeDir) -> String {
    let bytes = std::fs::read(dir.console_log()).unwrap_or_default();
    let text: String = String::from_utf8_lossy(&bytes)
        .chars()
        .filter(|c| *c == '\n' || !c.is_control())
        .collect();
    let lines: Vec<_> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    let from = lines.len().saturating_sub(CONSOLE_LINES);
    let tail: Vec<_> = lines
        .iter()
        .skip(from)
        .map(|l| format!("  | {l}"))
        .collect();
    if tail.is_empty() {
        "  | (empty)".to_owned()
    } else {
        tail.join("\n")
    }
}
