//! What a foreign file has and a cluster file cannot have.

/// A part of a foreign file that is not carried over, or not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) line: usize,
    /// The part as it stands there, shortened.
    pub(crate) what: String,
    pub(crate) why: String,
    /// The nearest thing to do; empty if there is nothing.
    pub(crate) instead: String,
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: `{}`: {}", self.line, self.what, self.why)?;
        match self.instead.as_str() {
            "" => Ok(()),
            instead => write!(f, "; {instead}"),
        }
    }
}
