//! The only place that prints: data to stdout, talk to stderr.

mod doctor;
mod down;
mod forward;
mod image;
mod progress;
mod settings;
#[cfg(test)]
mod shape_tests;
mod status;
mod stop;
mod up;

use std::io::Write;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail};

pub(crate) use self::doctor::doctor;
pub(crate) use self::down::down;
pub(crate) use self::forward::{forwards, leads};
pub(crate) use self::image::{catalogue, image, images};
pub(crate) use self::progress::Live;
pub(crate) use self::settings::settings;
pub(crate) use self::status::status;
pub(crate) use self::stop::stop;
pub(crate) use self::up::{plan, up};
use crate::hint::{OTHER_USER, find, hints};
use crate::model::Interrupted;
use crate::spec::SpecError;

/// The first error of a write to stdout.
static UNWRITTEN: OnceLock<String> = OnceLock::new();

/// Writes data to stdout. No verb stops in the middle of its work because of a full disk: it ends with
/// [`unwritten`]. A reader that went away has read what it wanted.
pub(crate) fn data(text: &str) {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            let _only_the_first = UNWRITTEN.set(e.to_string());
        }
        _ => {}
    }
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

fn json_text(value: &impl serde::Serialize) -> Result<String> {
    let text =
        serde_json::to_string_pretty(value).context("the value cannot be written as JSON")?;
    Ok(format!("{text}\n"))
}

/// Writes one line of talk to stderr.
pub(crate) fn talk(text: &str) {
    let _reader_gone = writeln!(std::io::stderr(), "{text}");
}

/// Writes an error to stderr with its causes in one line, and its hints below.
pub(crate) fn error(error: &anyhow::Error) {
    talk(&error_text(error));
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
    format!("{prefix}{error:#}{}", hints.collect::<String>())
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
