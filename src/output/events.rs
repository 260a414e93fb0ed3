//! Events, one a line.

use anyhow::{Context, Result};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{count, stream};
use crate::model::{Event, EventLine, EventTold};

/// Prints a line, and returns whether somebody still reads.
///
/// # Errors
/// Fails if JSON cannot represent a value.
pub(crate) fn event(line: &EventLine, as_json: bool) -> Result<bool> {
    let text = if as_json {
        event_json(line)?
    } else {
        event_text(line, &TimeZone::system())
    };
    Ok(stream(&text))
}

pub(super) fn event_json(line: &EventLine) -> Result<String> {
    let text = serde_json::to_string(line).context("the event cannot be written as JSON")?;
    Ok(format!("{text}\n"))
}

pub(super) fn event_text(line: &EventLine, zone: &TimeZone) -> String {
    match &line.told {
        EventTold::State { number, nodes } => {
            let rows = nodes
                .iter()
                .map(|n| format!("  {:<10} {}\n", n.name, n.state));
            let after = match number {
                0 => String::new(),
                number => format!(" after event {number}"),
            };
            let nodes = count(nodes.len(), "node");
            format!("{nodes}{after}\n{}", rows.collect::<String>())
        }
        EventTold::Event(event) => event_row(event, zone),
        EventTold::Missed { from, to } if from == to => {
            format!("event {from} is not kept any more\n")
        }
        EventTold::Missed { from, to } => {
            format!("events {from} to {to} are not kept any more\n")
        }
    }
}

fn event_row(event: &Event, zone: &TimeZone) -> String {
    let Event {
        event: kind,
        node,
        note,
        number,
        time,
    } = event;
    let time = Timestamp::from_millisecond((time * 1000.0) as i64).map_or_else(
        |_| "-".to_owned(),
        |t| {
            let zoned = t.to_zoned(zone.clone());
            zoned.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string()
        },
    );
    let kind = kind.name();
    let row = format!("{number:>5}  {time}  {node:<10} {kind:<10} {note}");
    format!("{}\n", row.trim_end())
}
