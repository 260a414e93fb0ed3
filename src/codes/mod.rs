//! Codes of errors: short names that stay the same when the words of a message change.
//!
//! The table names each message as the source has it, with `{}` for its values, and a test compares the two. So an error
//! needs no code where it is made, also in crates that know none, and its words stay in one place.

mod code;
mod host;
mod images;
mod network;
mod settings;
mod snapshots;
#[cfg(test)]
mod tests;

pub(crate) use self::code::Code;

/// The codes by theme.
const THEMES: [(&str, &[Code]); 5] = [
    ("Settings and arguments", settings::CODES),
    ("The host and its clusters", host::CODES),
    ("The host's network", network::CODES),
    ("Images", images::CODES),
    ("Snapshots", snapshots::CODES),
];

/// All codes, by theme.
#[cfg(test)]
pub(crate) fn themes() -> impl Iterator<Item = (&'static str, &'static [Code])> {
    THEMES.into_iter()
}

/// All codes.
pub(crate) fn codes() -> impl Iterator<Item = &'static Code> {
    THEMES.iter().flat_map(|(_, codes)| codes.iter())
}

/// The code of a name.
pub(crate) fn code(name: &str) -> Option<&'static Code> {
    codes().find(|c| c.name == name)
}

/// The code of an error by its text with all causes. Of several messages in it, the one with most words of its own counts,
/// since a cause says more than what failed because of it.
pub(crate) fn code_of(text: &str) -> Option<&'static Code> {
    let found = codes().filter_map(|code| {
        let messages = code.messages.iter().filter(|m| is_in(m, text));
        Some((messages.map(|m| words(m)).max()?, code))
    });
    // Of equals the first one in the table.
    found
        .reduce(|best, next| if next.0 > best.0 { next } else { best })
        .map(|(_, code)| code)
}

/// The number of bytes of a message that are not values.
fn words(message: &str) -> usize {
    message.split("{}").map(str::len).sum()
}

/// Whether a text has the parts of a message, one after the other on one line.
fn is_in(message: &str, text: &str) -> bool {
    text.lines().any(|line| {
        let mut rest = line;
        message.split("{}").all(|part| match rest.find(part) {
            Some(at) => {
                rest = rest.get(at + part.len()..).unwrap_or_default();
                true
            }
            None => false,
        })
    })
}
