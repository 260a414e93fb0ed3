//! The stages of a start, as bars on a terminal.

use anyhow::Result;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{count, data, json, table};
use crate::model::{NodeTimeline, Stage, Timeline};

/// Columns of a bar.
const WIDTH: usize = 40;

/// The stages that nodes wait for, in columns, with the letter of each in a bar.
pub(super) const WAITS: [(Stage, char); 7] = [
    (Stage::Kernel, 'k'),
    (Stage::Woken, 'w'),
    (Stage::Identity, 'i'),
    (Stage::Lease, 'l'),
    (Stage::Ssh, 's'),
    (Stage::Ready, 'r'),
    (Stage::Ended, 'x'),
];

/// Prints the stages of the last start.
///
/// # Errors
/// Fails if JSON cannot represent a value.
pub(crate) fn timeline(timeline: &Timeline, as_json: bool) -> Result<()> {
    if as_json {
        return json(timeline);
    }
    data(&timeline_text(timeline, &TimeZone::system()));
    Ok(())
}

pub(super) fn timeline_text(timeline: &Timeline, zone: &TimeZone) -> String {
    let is_shown = |stage: Stage| {
        timeline
            .nodes
            .iter()
            .any(|n| n.waits().any(|w| w.0 == stage))
    };
    let shown: Vec<_> = WAITS
        .into_iter()
        .filter(|(stage, _)| is_shown(*stage))
        .collect();
    let mut headings = vec![
        "NODE".to_owned(),
        "WAITED FOR".to_owned(),
        "STARTED".to_owned(),
    ];
    headings.extend(shown.iter().map(|(stage, _)| stage.name().to_uppercase()));
    let rows: Vec<_> = timeline
        .nodes
        .iter()
        .map(|node| {
            let at = |stage: Stage| {
                let reached = node.stages.iter().find(|r| r.stage == stage);
                reached.map_or_else(|| "-".to_owned(), |r| format!("{:.2} s", r.at))
            };
            let mut row = vec![
                node.node.clone(),
                bar(node, timeline.took),
                at(Stage::Started),
            ];
            row.extend(shown.iter().map(|(stage, _)| at(*stage)));
            row
        })
        .collect();
    let headings: Vec<_> = headings.iter().map(String::as_str).collect();
    let letters = shown
        .iter()
        .map(|(stage, letter)| format!("{letter} {}", stage.name()));
    format!(
        "{}\n{}{}; a letter is {:.2} s\n",
        summary(timeline, zone),
        table(&headings, &rows),
        letters.collect::<Vec<_>>().join(", "),
        timeline.took / WIDTH as f64
    )
}

/// What happened, in a line.
pub(super) fn summary(timeline: &Timeline, zone: &TimeZone) -> String {
    let ready = timeline.nodes.iter().filter(|n| n.is_ready()).count();
    let when = Timestamp::from_second(timeline.began as i64).map_or_else(
        |_| String::new(),
        |t| {
            t.to_zoned(zone.clone())
                .strftime(" at %Y-%m-%d %H:%M:%S")
                .to_string()
        },
    );
    format!(
        "cluster {}{when}: {ready} of {} ready, in {:.1} s",
        timeline.cluster,
        count(timeline.nodes.len(), "node"),
        timeline.took
    )
}

/// A letter for each part of the time, for the stage that the node waited for then.
fn bar(node: &NodeTimeline, took: f64) -> String {
    let letter = |column: usize| {
        let time = (column as f64 + 0.5) / WIDTH as f64 * took;
        let wait = node
            .waits()
            .find(|(_, from, to)| (*from..*to).contains(&time));
        let of = |stage| {
            WAITS
                .iter()
                .find(|(s, _)| *s == stage)
                .map(|(_, letter)| *letter)
        };
        wait.and_then(|(stage, ..)| of(stage)).unwrap_or(' ')
    };
    (0..WIDTH).map(letter).collect()
}
