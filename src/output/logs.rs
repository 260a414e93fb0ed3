//! The lines of logs.

use std::cell::Cell;
use std::time::{Duration, UNIX_EPOCH};

use schemars::JsonSchema;
use serde::Serialize;

use super::bytes;
use super::plain::plain;
use crate::model::{LogLine, LogOutput, SCHEMA, Stream};

/// The width of a time, and what stands in its place.
const NO_TIME: &str = "-                       ";

/// The form of the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogForm {
    /// Without escape sequences and control characters.
    Plain,
    /// With the bytes that the guest wrote, escape sequences included.
    Raw,
    /// An object a line.
    Json,
}

/// A line as JSON.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct JsonLine<'a> {
    schema: u32,
    /// Seconds since 1970; null where nobody noted the time.
    time: Option<f64>,
    /// Null for the whole cluster.
    node: Option<&'a str>,
    source: &'static str,
    text: String,
}

/// Prints each line of a log after its time, its node and its source.
#[derive(Debug)]
pub(crate) struct Logs {
    form: LogForm,
    width: Cell<usize>,
}

impl Logs {
    pub(crate) const fn new(form: LogForm) -> Self {
        Self {
            form,
            width: Cell::new(0),
        }
    }

    fn text(&self, line: &LogLine) -> Vec<u8> {
        if self.form == LogForm::Json {
            return json_line(line);
        }
        let time = line.time.and_then(|time| {
            let time = UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(time).ok()?)?;
            Some(humantime::format_rfc3339_millis(time).to_string())
        });
        let node = match line.node.as_str() {
            "" => "-",
            node => node,
        };
        let head = format!(
            "{} {node:width$} {:7} | ",
            time.as_deref().unwrap_or(NO_TIME),
            line.source.name(),
            width = self.width.get()
        );
        let mut text = head.into_bytes();
        match self.form {
            LogForm::Raw => text.extend_from_slice(&line.text),
            _ => text.extend_from_slice(plain(&line.text).as_bytes()),
        }
        text.push(b'\n');
        text
    }
}

/// Every value of a line is a value of JSON, so nothing is lost.
fn json_line(line: &LogLine) -> Vec<u8> {
    let object = JsonLine {
        schema: SCHEMA,
        time: line.time,
        node: Some(line.node.as_str()).filter(|n| !n.is_empty()),
        source: line.source.name(),
        text: plain(&line.text),
    };
    let mut text = serde_json::to_vec(&object).unwrap_or_default();
    text.push(b'\n');
    text
}

impl LogOutput for Logs {
    fn begin(&self, nodes: &[String]) {
        let width = nodes.iter().map(String::len).max();
        self.width.set(width.unwrap_or_default());
    }

    fn line(&self, line: &LogLine) -> bool {
        bytes(Stream::Out, &self.text(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LogSource;

    #[test]
    fn a_line_has_time_node_and_source_and_obeys_nothing_unless_raw() {
        let line = |time, node: &str| LogLine {
            time,
            node: node.to_owned(),
            source: LogSource::Console,
            text: b"\x1b[31mred\r".to_vec(),
        };
        let text = |form, line: &LogLine| {
            let logs = Logs::new(form);
            logs.begin(&["master0".to_owned()]);
            String::from_utf8(logs.text(line)).unwrap()
        };
        assert_eq!(
            text(LogForm::Plain, &line(Some(1.25), "lbl0")),
            "1970-01-01T00:00:01.250Z lbl0    console | red\n"
        );
        assert_eq!(
            text(LogForm::Raw, &line(None, "")),
            format!("{NO_TIME} -       console | \u{1b}[31mred\r\n")
        );
        assert!(text(LogForm::Plain, &line(Some(f64::NAN), "a")).starts_with("- "));
        assert_eq!(
            text(LogForm::Json, &line(Some(1.5), "lbl0")),
            "{\"schema\":1,\"time\":1.5,\"node\":\"lbl0\",\"source\":\"console\",\"text\":\"red\"}\n"
        );
        assert!(
            text(LogForm::Json, &line(Some(f64::NAN), "")).contains("\"time\":null,\"node\":null")
        );
    }
}
