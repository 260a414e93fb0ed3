//! Advice beside an error or a finding: what to type next. The one place that writes commands of kvmc, so that each
//! names its cluster wherever that is not the one that a bare `kvmc` works on.

use std::fmt;
use std::sync::OnceLock;

use anyhow::{Error, Result};

/// The cluster that a bare `kvmc` means everywhere.
const DEFAULT: &str = "k80";

/// The cluster that a bare `kvmc` means in this folder and environment, once that is known.
static BARE: OnceLock<String> = OnceLock::new();

/// Tells which cluster a bare `kvmc` means here; the first word holds.
pub(crate) fn set_bare_cluster(name: &str) {
    let _already_set = BARE.set(name.to_owned());
}

/// A command of kvmc for a cluster, in back-ticks. The cluster is left out only where a bare `kvmc` means it here and
/// in any other folder.
pub(crate) fn command(cluster: &str, verb: &str) -> String {
    let bare = BARE.get().map_or(DEFAULT, String::as_str);
    if cluster == DEFAULT && bare == DEFAULT {
        format!("`kvmc {verb}`")
    } else {
        format!("`kvmc --cluster {cluster} {verb}`")
    }
}

/// A command of kvmc that is about no cluster, in back-ticks.
pub(crate) fn host_command(verb: &str) -> String {
    format!("`kvmc {verb}`")
}

/// An error with advice, which is shown apart from it.
struct Advised {
    error: Error,
    hint: String,
}

impl fmt::Debug for Advised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} (hint: {})", self.error, self.hint)
    }
}

impl fmt::Display for Advised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

impl std::error::Error for Advised {}

/// Adds advice to an error.
pub(crate) trait WithHint<T> {
    /// `hint` is a sentence, or a command and what it does.
    fn hint(self, hint: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Error>> WithHint<T> for Result<T, E> {
    fn hint(self, hint: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| advise(e.into(), hint()))
    }
}

/// As [`WithHint::hint`], for an error at hand.
pub(crate) fn advise(error: Error, hint: String) -> Error {
    Advised { error, hint }.into()
}

/// All advice that an error carries, the outermost first.
pub(crate) fn hints(error: &Error) -> Vec<&str> {
    let mut all = Vec::new();
    for cause in error.chain() {
        if let Some(advised) = cause.downcast_ref::<Advised>() {
            all.push(advised.hint.as_str());
            all.extend(hints(&advised.error));
        }
    }
    all
}

/// A cause of a type, also below advice.
pub(crate) fn find<T: fmt::Display + fmt::Debug + Send + Sync + 'static>(
    error: &Error,
) -> Option<&T> {
    error.downcast_ref::<T>().or_else(|| {
        let mut advised = error.chain().filter_map(|c| c.downcast_ref::<Advised>());
        advised.find_map(|a| find(&a.error))
    })
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("a cause")]
    struct Cause;

    #[test]
    fn advice_is_found_below_other_words_and_does_not_show_in_them() {
        let inner: Result<()> = Err(Cause).context("inner").hint(|| "first".to_owned());
        let outer = inner.context("outer").hint(|| "second".to_owned());
        let error = outer.unwrap_err();
        assert_eq!(format!("{error:#}"), "outer: inner: a cause");
        assert_eq!(hints(&error), ["second", "first"]);
        assert!(find::<Cause>(&error).is_some());
        assert!(find::<Cause>(&anyhow!("other")).is_none());
    }

    #[test]
    fn a_command_names_its_cluster_wherever_that_is_not_the_default() {
        assert_eq!(command("k80", "up"), "`kvmc up`");
        assert_eq!(command("lab", "down"), "`kvmc --cluster lab down`");
    }
}
