//! What a new cluster file has not taken from a foreign file.

use super::wrapped::for_stream;
use super::{data, talk};
use crate::model::{Note, Stream};

/// Says that `file` is written, and lists what of `from` is not in it.
pub(crate) fn notes(file: &str, from: &str, notes: &[Note]) {
    match from {
        "" => talk(&format!("{file} is written")),
        from => talk(&format!("{file} is written from {from}")),
    }
    if !notes.is_empty() {
        talk("not carried over, or not as it was:");
        data(&for_stream(&text(from, notes), Stream::Out));
    }
}

fn text(from: &str, notes: &[Note]) -> String {
    let line = |note: &Note| {
        let instead = match note.instead.as_str() {
            "" => String::new(),
            instead => format!("\n    {instead}"),
        };
        let Note {
            line, what, why, ..
        } = note;
        format!("{from}:{line}: {what}\n    {why}{instead}\n")
    };
    notes.iter().map(line).collect()
}
