//! What is wrong in user data, and where.

use std::fmt;

/// A mistake, shown after the file's name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Counted from 1.
    line: usize,
    /// Counted from 1.
    column: Option<usize>,
    what: String,
}

impl Fault {
    pub(super) fn at(line: usize, what: impl Into<String>) -> Self {
        Self {
            line,
            column: None,
            what: what.into(),
        }
    }

    pub(super) fn at_column(line: usize, column: usize, what: impl Into<String>) -> Self {
        Self {
            column: Some(column),
            ..Self::at(line, what)
        }
    }

    /// The same mistake, where the text stands below so many other lines.
    pub(super) fn after_lines(self, lines: usize) -> Self {
        Self {
            line: self.line + lines,
            ..self
        }
    }

    /// The same mistake in a part whose lines are not lines of the file. The part begins at `line`.
    pub(super) fn in_part(self, line: usize, part: &str) -> Self {
        Self::at(line, format!("{part}, line {}: {}", self.line, self.what))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, ":{}:", self.line)?;
        if let Some(column) = self.column {
            write!(f, "{column}:")?;
        }
        write!(f, " {}", self.what)
    }
}
