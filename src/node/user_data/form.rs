//! The forms of user data, by their first words and by their MIME types.

/// A form that cloud-init has a handler for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Archive,
    Patch,
    Config,
    Boothook,
    Include,
    PartHandler,
    Template,
    Script,
}

/// First words in lower case, the longest of several that fit first.
const FIRST_WORDS: [(&str, Form); 8] = [
    ("#cloud-config-archive", Form::Archive),
    ("#cloud-config-jsonp", Form::Patch),
    ("#cloud-config", Form::Config),
    ("#cloud-boothook", Form::Boothook),
    ("#include", Form::Include),
    ("#part-handler", Form::PartHandler),
    ("## template: jinja", Form::Template),
    ("#!", Form::Script),
];
const TYPES: [(&str, Form); 12] = [
    ("text/cloud-config-archive", Form::Archive),
    ("text/cloud-config-jsonp", Form::Patch),
    ("text/cloud-config", Form::Config),
    ("text/cloud-boothook", Form::Boothook),
    ("text/x-include-url", Form::Include),
    ("text/x-include-once-url", Form::Include),
    ("text/part-handler", Form::PartHandler),
    ("text/jinja2", Form::Template),
    ("text/x-shellscript", Form::Script),
    ("text/x-shellscript-per-boot", Form::Script),
    ("text/x-shellscript-per-instance", Form::Script),
    ("text/x-shellscript-per-once", Form::Script),
];
/// Types whose form cloud-init takes from the content.
const UNTYPED: [&str; 2] = ["text/plain", "text/x-not-multipart"];
const PACKED: [&str; 8] = [
    "application/gzip",
    "application/gzip-compressed",
    "application/gzipped",
    "application/x-compress",
    "application/x-compressed",
    "application/x-gunzip",
    "application/x-gzip",
    "application/x-gzip-compressed",
];

impl Form {
    /// The form of a content. Case and blanks before it do not count.
    pub(super) fn of(content: &str) -> Option<Self> {
        let content = content.trim_start().as_bytes();
        let begins = |word: &str| {
            let start = content.get(..word.len());
            start.is_some_and(|s| s.eq_ignore_ascii_case(word.as_bytes()))
        };
        let known = FIRST_WORDS.iter().find(|(word, _)| begins(word));
        known.map(|(_, form)| *form)
    }

    /// The form of a MIME type.
    pub(super) fn of_type(kind: &str) -> Option<Self> {
        let known = TYPES.iter().find(|(name, _)| *name == kind);
        known.map(|(_, form)| *form)
    }
}

pub(super) fn is_untyped(kind: &str) -> bool {
    UNTYPED.contains(&kind)
}

pub(super) fn is_packed(kind: &str) -> bool {
    PACKED.contains(&kind)
}
