//! The only place that prints: data to stdout, talk to stderr.

mod clusters;
mod color;
mod disk_usage;
mod doctor;
mod down;
mod drawn;
mod events;
mod exec;
mod explain;
mod fork;
mod forward;
mod image;
#[cfg(test)]
mod image_shapes;
mod logs;
mod notes;
#[cfg(test)]
mod outcome_shapes;
mod plain;
mod plan;
mod progress;
mod reach;
mod schemas;
mod screen;
#[cfg(test)]
mod seeing_shapes;
mod settings;
#[cfg(test)]
mod shape_tests;
mod snapshot;
#[cfg(test)]
mod snapshot_shapes;
mod status;
mod stop;
mod support;
mod terminal;
mod timeline;
mod timeline_svg;
mod top;
mod up;
mod usage;
mod wrapped;

use std::io::Write;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail};

pub(crate) use self::clusters::clusters;
pub(crate) use self::color::{ColorChoice, set_manners};
use self::color::{is_colored, is_quiet, states_in_color, talk_in_color};
pub(crate) use self::disk_usage::disk_usage;
pub(crate) use self::doctor::doctor;
pub(crate) use self::down::down;
pub(crate) use self::events::event;
pub(crate) use self::exec::Prefixed;
pub(crate) use self::explain::{explain, explain_all};
pub(crate) use self::fork::forked;
pub(crate) use self::forward::{forwards, leads};
pub(crate) use self::image::{catalogue, image, images};
pub(crate) use self::logs::{LogForm, Logs};
pub(crate) use self::notes::notes;
pub(crate) use self::plan::{can_ask, confirm, plan};
pub(crate) use self::progress::Live;
pub(crate) use self::reach::{addresses, copies, included, synced, tied};
pub(crate) use self::schemas::{REPORTS, schema_of};
pub(crate) use self::screen::Screen;
pub(crate) use self::settings::settings;
pub(crate) use self::snapshot::{
    exported, imported, rolled_back, saved, snapshot_diff, snapshots, suspended, tried,
};
pub(crate) use self::status::{status, status_text};
pub(crate) use self::stop::stop;
pub(crate) use self::support::{support, version, version_text};
pub(crate) use self::terminal::{Terminal, typed};
pub(crate) use self::timeline::timeline;
pub(crate) use self::timeline_svg::{timeline_html, timeline_svg};
pub(crate) use self::top::{After, FullScreen, Input, Top, inputs};
pub(crate) use self::up::{faults, steps, up};
use crate::codes::code_of;
use crate::hint::{OTHER_USER, find, hints, host_command};
use crate::model::{Interrupted, SCHEMA, Stream};
use crate::spec::SpecError;

/// The first error of a write to stdout.
static UNWRITTEN: OnceLock<String> = OnceLock::new();

/// Writes data to stdout. No verb stops in the middle of its work because of a full disk: it ends with
/// [`unwritten`]. A reader that went away has read what it wanted.
pub(crate) fn data(text: &str) {
    let _reader_gone = bytes(Stream::Out, text.as_bytes());
}

/// Like [`data`], for output without an end. Returns whether somebody still reads.
pub(crate) fn stream(text: &str) -> bool {
    bytes(Stream::Out, text.as_bytes())
}

/// Writes bytes to stdout or stderr at once. Returns false when nothing more can be written there.
pub(crate) fn bytes(stream: Stream, bytes: &[u8]) -> bool {
    let written = match stream {
        Stream::Out => {
            let mut out = std::io::stdout().lock();
            out.write_all(bytes).and_then(|()| out.flush())
        }
        Stream::Err => {
            let _reader_gone = std::io::stderr().write_all(bytes);
            return true;
        }
    };
    let Err(e) = written else { return true };
    if e.kind() != std::io::ErrorKind::BrokenPipe {
        let _only_the_first = UNWRITTEN.set(e.to_string());
    }
    false
}

/// The error of the data that could not be written to stdout, if any.
///
/// # Errors
/// Fails if a write failed for another reason than a closed pipe.
pub(crate) fn unwritten() -> Result<()> {
    match UNWRITTEN.get() {
        Some(why) => bail!("cannot write to stdout: {why}"),
        None => Ok(()),
    }
}

/// Writes a value to stdout as JSON.
///
/// # Errors
/// Fails if JSON cannot represent the value.
pub(crate) fn json(value: &impl serde::Serialize) -> Result<()> {
    data(&json_text(value)?);
    Ok(())
}

/// A report with the version of its shape.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
struct Versioned<'a, T> {
    schema: u32,
    #[serde(flatten)]
    report: &'a T,
}

/// Writes the outcome of a verb to stdout as JSON, if that is asked for. Its words go to stderr besides.
///
/// # Errors
/// Fails if JSON cannot represent the report.
pub(crate) fn outcome(is_asked: bool, report: &impl serde::Serialize) -> Result<()> {
    if is_asked {
        data(&outcome_text(report)?);
    }
    Ok(())
}

fn outcome_text(report: &impl serde::Serialize) -> Result<String> {
    let schema = SCHEMA;
    json_text(&Versioned { schema, report })
}

fn json_text(value: &impl serde::Serialize) -> Result<String> {
    let text =
        serde_json::to_string_pretty(value).context("the value cannot be written as JSON")?;
    Ok(format!("{text}\n"))
}

/// Writes one line of talk to stderr. With `--quiet`, only errors and warnings.
pub(crate) fn talk(text: &str) {
    let is_needed = ["error:", "warning:"].iter().any(|w| text.starts_with(w));
    if is_needed || !is_quiet() {
        write_talk(text);
    }
}

/// Writes one line about a step, for `--verbose`, also with `--quiet`. A screen that is drawn on the terminal hides it.
pub(crate) fn step(text: &str) {
    if !drawn::is_in_the_way() {
        write_talk(text);
    }
}

fn write_talk(text: &str) {
    let is_note = ["note:", "warning:"].iter().any(|w| text.starts_with(w));
    let wrapped = is_note.then(|| wrapped::for_stream(text, Stream::Err));
    let text = wrapped.as_deref().unwrap_or(text);
    let _reader_gone = if is_colored(Stream::Err) {
        writeln!(std::io::stderr(), "{}", talk_in_color(text))
    } else {
        writeln!(std::io::stderr(), "{text}")
    };
}

/// Writes an error to stderr with its causes in one line, and its hints below.
pub(crate) fn error(error: &anyhow::Error) {
    write_talk(&error_text(error));
}

fn error_text(error: &anyhow::Error) -> String {
    let mut hints = hints(error);
    hints.extend(find::<SpecError>(error).and_then(|e| e.hint.as_deref()));
    let mut causes = error.chain().filter_map(|c| c.downcast_ref());
    hints.extend(causes.find_map(|cause| general_hint(cause, hints.is_empty())));
    let hints = hints.iter().map(|hint| format!("\n  hint: {hint}"));
    // An interruption by the user is not an error.
    let prefix = match find::<Interrupted>(error) {
        Some(_) => "",
        None => "error: ",
    };
    let text = format!("{error:#}");
    let code = match prefix {
        "" => None,
        _ => code_of(&text),
    };
    let code = code.map_or_else(String::new, |code| {
        let explain = host_command(&format!("explain {}", code.name));
        format!("\n  code: {} ({explain})", code.name)
    });
    format!("{prefix}{text}{}{code}", hints.collect::<String>())
}

/// The hint for an error of the kernel, whatever the verb did. `is_only`: the error has no other hint.
fn general_hint(io: &std::io::Error, is_only: bool) -> Option<&'static str> {
    let is_denied = io.kind() == std::io::ErrorKind::PermissionDenied;
    match io.raw_os_error() {
        Some(nix::libc::EMFILE | nix::libc::ENFILE) => {
            Some("`ulimit -n 4096` lets programs of this shell open more files")
        }
        _ if is_denied && is_only && !nix::unistd::geteuid().is_root() => Some(OTHER_USER),
        _ => None,
    }
}

/// A table without borders.
fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(header.to_vec());
    for row in rows {
        table.add_row(row.clone());
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    // Keep leading blanks: an indented row belongs to the row above it.
    let text = table.to_string();
    let lines = text.lines();
    lines.map(|l| format!("{}\n", l.trim_end())).collect()
}

/// Seconds to one decimal.
fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// A number of things, in words: `1 node`, `3 nodes`.
fn count(number: usize, thing: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{s}")
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;
    use crate::hint::WithHint;

    #[test]
    fn an_indented_row_keeps_its_columns() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let rows = [row(["image", "1G"]), row(["  frozen", "2M"])];
        assert_eq!(
            table(&["NAME", "SIZE"], &rows),
            "NAME      SIZE\nimage     1G\n  frozen  2M\n"
        );
    }

    #[test]
    fn a_hint_is_shown_below_its_error() {
        let error: Result<()> = Err(anyhow!("cause")).context("outer");
        let error = error.hint(|| "do it".to_owned()).unwrap_err();
        assert_eq!(error_text(&error), "error: outer: cause\n  hint: do it");
    }

    #[test]
    fn a_code_is_shown_below_the_hints() {
        let error = anyhow!("the device /dev/net/tun is missing").context("outer");
        let error = Err::<(), _>(error).hint(|| "do it".to_owned()).unwrap_err();
        let explain = host_command("explain device-missing");
        assert_eq!(
            error_text(&error),
            format!(
                "error: outer: the device /dev/net/tun is missing\n  hint: do it\n  code: device-missing ({explain})"
            )
        );
    }

    #[test]
    fn an_interruption_is_not_shown_as_an_error() {
        let told = anyhow::Error::from(Interrupted("nothing is left".to_owned()));
        assert_eq!(
            error_text(&told.context("outer")),
            "outer: interrupted; nothing is left"
        );
    }

    #[test]
    fn too_few_descriptors_are_told_with_the_cure() {
        let error = anyhow::Error::from(std::io::Error::from_raw_os_error(nix::libc::EMFILE));
        let text = error_text(&error.context("cannot open the bridge"));
        assert!(text.contains("\n  hint: `ulimit -n 4096`"), "{text}");
    }

    #[test]
    fn one_thing_is_shown_in_the_singular() {
        assert_eq!(count(1, "node"), "1 node");
        assert_eq!(count(0, "node"), "0 nodes");
    }
}
