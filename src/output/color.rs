//! Whether output is coloured, and which colours there are.

use std::io::IsTerminal;
use std::sync::OnceLock;

use crate::model::{NodeStatus, Stream};

/// Whether output is coloured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ColorChoice {
    #[default]
    Auto,
    Always,
    Never,
}

/// What `--color` says.
static CHOICE: OnceLock<ColorChoice> = OnceLock::new();
/// Whether `--quiet` is given.
static QUIET: OnceLock<bool> = OnceLock::new();

/// Stores how this run prints. Only the first call has an effect.
pub(crate) fn set_manners(color: ColorChoice, quiet: bool) {
    let _already_set = CHOICE.set(color);
    let _already_set = QUIET.set(quiet);
}

/// Whether only data, errors and warnings are printed.
pub(super) fn is_quiet() -> bool {
    QUIET.get().is_some_and(|quiet| *quiet)
}

/// Whether a stream gets colours.
pub(super) fn is_colored(stream: Stream) -> bool {
    let choice = CHOICE.get().copied().unwrap_or_default();
    let is_terminal = match stream {
        Stream::Out => std::io::stdout().is_terminal(),
        Stream::Err => std::io::stderr().is_terminal(),
    };
    decide(choice, is_terminal, |name| std::env::var(name).ok())
}

/// `--color` decides, then `NO_COLOR` (no-color.org), then `CLICOLOR_FORCE` and `CLICOLOR` (bixense.com/clicolors),
/// then the terminal.
fn decide(choice: ColorChoice, is_terminal: bool, read: impl Fn(&str) -> Option<String>) -> bool {
    let set = |name: &str| read(name).filter(|v| !v.is_empty());
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto if set("NO_COLOR").is_some() => false,
        ColorChoice::Auto if set("CLICOLOR_FORCE").is_some_and(|v| v != "0") => true,
        ColorChoice::Auto => {
            let may = set("CLICOLOR").is_none_or(|v| v != "0");
            is_terminal && may && set("TERM").is_none_or(|t| t != "dumb")
        }
    }
}

/// Colours of ECMA-48, as a terminal's theme shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Color {
    Red = 31,
    Green = 32,
    Yellow = 33,
    Cyan = 36,
}

impl Color {
    fn paint(self, text: &str) -> String {
        format!("\x1b[{}m{text}\x1b[0m", self as u8)
    }
}

/// Paints the words that begin lines of talk: error, warning, hint.
pub(super) fn talk_in_color(text: &str) -> String {
    let words = [
        ("error:", Color::Red),
        ("warning:", Color::Yellow),
        ("hint:", Color::Cyan),
    ];
    let lines = text.split('\n').map(|line| {
        let blanks = line.len() - line.trim_start().len();
        let (indent, rest) = line.split_at(blanks);
        let word = words.iter().find(|(word, _)| rest.starts_with(word));
        word.map_or_else(
            || line.to_owned(),
            |(word, color)| {
                let rest = rest.get(word.len()..).unwrap_or_default();
                format!("{indent}{}{rest}", color.paint(word))
            },
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Paints the nodes' states in a table: green for a ready node, red for one that ended by itself, yellow for others
/// that do not run as they should.
pub(super) fn states_in_color(table: &str, nodes: &[NodeStatus]) -> String {
    let mut lines = table.lines();
    let mut text = lines
        .next()
        .map_or_else(String::new, |head| format!("{head}\n"));
    for (line, node) in lines.zip(nodes) {
        let (name, rest) = line.split_at_checked(node.name.len()).unwrap_or(("", line));
        let color = match node.state.as_str() {
            "ready" => Color::Green,
            "stopped" | "stopped (by name)" => {
                text += &format!("{line}\n");
                continue;
            }
            state if state.starts_with("stopped (") => Color::Red,
            _ => Color::Yellow,
        };
        text += &format!(
            "{name}{}\n",
            rest.replacen(&node.state, &color.paint(&node.state), 1)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_wins_over_variables_and_variables_over_the_terminal() {
        let decided = |choice, is_terminal, set: &[(&str, &str)]| {
            decide(choice, is_terminal, |name| {
                let found = set.iter().find(|(n, _)| *n == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        let auto = ColorChoice::Auto;
        assert!(decided(auto, true, &[]) && !decided(auto, false, &[]));
        assert!(!decided(auto, true, &[("NO_COLOR", "1")]));
        assert!(decided(auto, true, &[("NO_COLOR", "")]));
        assert!(!decided(auto, true, &[("CLICOLOR", "0")]));
        assert!(!decided(auto, true, &[("TERM", "dumb")]));
        assert!(decided(auto, false, &[("CLICOLOR_FORCE", "1")]));
        assert!(!decided(
            auto,
            true,
            &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")]
        ));
        assert!(decided(ColorChoice::Always, false, &[("NO_COLOR", "1")]));
        assert!(!decided(
            ColorChoice::Never,
            true,
            &[("CLICOLOR_FORCE", "1")]
        ));
    }

    #[test]
    fn only_the_word_at_the_begin_of_a_line_is_painted() {
        assert_eq!(
            talk_in_color("error: an error: x\n  hint: do"),
            "\x1b[31merror:\x1b[0m an error: x\n  \x1b[36mhint:\x1b[0m do"
        );
        assert_eq!(talk_in_color("no error: here"), "no error: here");
    }

    #[test]
    fn states_are_painted_in_their_column_only() {
        let node = |name: &str, state: &str| NodeStatus {
            name: name.to_owned(),
            role: None,
            state: state.to_owned(),
            pid: None,
            machine: None,
            paused: None,
            vitals: Default::default(),
            usage: Default::default(),
            last_end: None,
            faults: Vec::new(),
        };
        let nodes = [
            node("ready", "ready"),
            node("b", "stopped"),
            node("c", "stopped (x)"),
        ];
        assert_eq!(
            states_in_color(
                "NODE   STATE\nready  ready\nb      stopped\nc      stopped (x)\n",
                &nodes
            ),
            "NODE   STATE\nready  \x1b[32mready\x1b[0m\nb      stopped\nc      \x1b[31mstopped (x)\x1b[0m\n"
        );
    }
}
