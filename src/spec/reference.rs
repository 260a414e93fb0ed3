//! Parses the value of `--image`.

use std::path::PathBuf;

/// The requested image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reference {
    /// The template that kvmc builds from packages.
    BuiltIn,
    /// A tag, an id or the beginning of one, or a name from the catalogue.
    Name(String),
    /// A file.
    File(PathBuf),
    /// A URL.
    Url(String),
}

/// The word for the template, for a role in a cluster that uses another image.
pub(crate) const BUILT_IN: &str = "built-in";

impl Reference {
    /// Parses a reference. Text with `://` is a URL, other text with a slash is a path.
    pub(crate) fn parse(text: &str) -> Self {
        if text.is_empty() || text == BUILT_IN {
            Self::BuiltIn
        } else if text.contains("://") {
            Self::Url(text.to_owned())
        } else if text.contains('/') || text == "." || text == ".." {
            Self::File(PathBuf::from(text))
        } else {
            Self::Name(text.to_owned())
        }
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BuiltIn => f.write_str(BUILT_IN),
            Self::Name(name) => f.write_str(name),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Url(url) => f.write_str(url),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_paths_and_urls_are_told_apart() {
        assert_eq!(Reference::parse(""), Reference::BuiltIn);
        assert_eq!(Reference::parse("built-in"), Reference::BuiltIn);
        let name = |t: &str| Reference::Name(t.to_owned());
        assert_eq!(Reference::parse("debian-13"), name("debian-13"));
        assert_eq!(Reference::parse("x.qcow2"), name("x.qcow2"));
        let file = |t: &str| Reference::File(t.into());
        assert_eq!(Reference::parse("./x.qcow2"), file("./x.qcow2"));
        let url = "https://h/x.img";
        assert_eq!(Reference::parse(url), Reference::Url(url.to_owned()));
    }
}
