//! A code.

use crate::hint::host_command;

/// A kind of error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Code {
    /// What scripts and people search for, such as `port-in-use`.
    pub(crate) name: &'static str,
    /// The messages that have this code.
    pub(super) messages: &'static [&'static str],
    pub(super) means: &'static str,
    /// Commands of kvmc stand in braces: `{doctor --fix}`.
    pub(super) cure: &'static str,
}

impl Code {
    /// What the error means.
    pub(crate) const fn means(&self) -> &'static str {
        self.means
    }

    /// What to do, with commands of kvmc.
    pub(crate) fn cure(&self) -> String {
        let mut text = String::new();
        let mut rest = self.cure;
        while let Some((before, after)) = rest.split_once('{') {
            let (verb, end) = after.split_once('}').unwrap_or((after, ""));
            text += before;
            text += &host_command(verb);
            rest = end;
        }
        text + rest
    }

    /// The messages, with dots for their values.
    pub(crate) fn messages(&self) -> impl Iterator<Item = String> {
        self.messages.iter().map(|m| m.replace("{}", "…"))
    }
}
