//! Long lines on a terminal, which would otherwise break in the middle of words.

use std::io::IsTerminal;
use std::os::fd::AsFd;

use rustix::termios::tcgetwinsize;

use crate::model::Stream;

/// The narrowest terminal for which lines are broken, in columns.
const NARROWEST: usize = 20;
/// How much further the rest of a line is indented.
const FURTHER: usize = 2;

/// Columns of the terminal that a stream is; `None` if it is none or does not know them.
fn columns(stream: Stream) -> Option<usize> {
    fn of(stream: &(impl IsTerminal + AsFd)) -> Option<usize> {
        let size = stream.is_terminal().then(|| tcgetwinsize(stream))?;
        Some(usize::from(size.ok()?.ws_col))
    }
    let columns = match stream {
        Stream::Out => of(&std::io::stdout()),
        Stream::Err => of(&std::io::stderr()),
    };
    columns.filter(|columns| *columns >= NARROWEST)
}

/// The text as a stream gets it: on a terminal, no line is longer than that is wide.
pub(super) fn for_stream(text: &str, stream: Stream) -> String {
    match columns(stream) {
        Some(columns) => wrapped(text, columns),
        None => text.to_owned(),
    }
}

/// Breaks long lines between words. What is in back-ticks stays in one piece, so that it can be pasted.
fn wrapped(text: &str, columns: usize) -> String {
    let lines = text.split('\n').map(|line| wrapped_line(line, columns));
    lines.collect::<Vec<_>>().join("\n")
}

fn wrapped_line(line: &str, columns: usize) -> String {
    let blanks = line.len() - line.trim_start().len();
    let (indent, rest) = line.split_at(blanks);
    let mut all = indent.to_owned();
    let mut used = blanks;
    for (number, word) in words(rest).into_iter().enumerate() {
        let length = word.chars().count();
        if number == 0 {
            used += length;
        } else if used + 1 + length <= columns {
            all.push(' ');
            used += 1 + length;
        } else {
            all.push('\n');
            all.push_str(&" ".repeat(blanks + FURTHER));
            used = blanks + FURTHER + length;
        }
        all.push_str(word);
    }
    all
}

/// The words of a line. A blank between back-ticks ends none.
fn words(line: &str) -> Vec<&str> {
    let mut quoted = false;
    line.split(|c| {
        quoted ^= c == '`';
        c == ' ' && !quoted
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_commands_stay_whole() {
        let text = "note: one two three\n    indented words, `nft list table inet kvmc_a` starts\n\n  a  b";
        assert_eq!(
            wrapped(text, 24),
            "note: one two three\n    indented words,\n      `nft list table inet kvmc_a`\n      starts\n\n  a  b"
        );
        assert_eq!(wrapped("note: one two three", 12), "note: one\n  two three");
        assert_eq!(wrapped("longer-than-the-line", 10), "longer-than-the-line");
    }
}
