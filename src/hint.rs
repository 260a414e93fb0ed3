//! Hints: commands to type next, apart from an error or finding. No other module writes commands of kvmc, so that each
//! command names its cluster wherever a bare `kvmc` works on another one.

use std::fmt;
use std::sync::OnceLock;

use anyhow::{Error, Result};

/// The cluster that a bare `kvmc` works on by default.
const DEFAULT: &str = "k80";

/// The cluster that a bare `kvmc` works on in this folder and environment, once that is known.
static BARE: OnceLock<String> = OnceLock::new();

/// Stores which cluster a bare `kvmc` works on here. Only the first call has an effect.
pub(crate) fn set_bare_cluster(name: &str) {
    let _already_set = BARE.set(name.to_owned());
}

/// A command of kvmc for a cluster, in back-ticks. It leaves the cluster out only where a bare `kvmc` works on it both
/// here and in every other folder.
pub(crate) fn command(cluster: &str, verb: &str) -> String {
    let bare = BARE.get().map_or(DEFAULT, String::as_str);
    if cluster == DEFAULT && bare == DEFAULT {
        format!("`kvmc {verb}`")
    } else {
        format!("`kvmc --cluster {cluster} {verb}`")
    }
}

/// A command of kvmc that concerns no cluster, in back-ticks.
pub(crate) fn host_command(verb: &str) -> String {
    format!("`kvmc {verb}`")
}

/// The hint for a file that this user may not read or write.
pub(crate) const OTHER_USER: &str = "run kvmc as the user who made the cluster, for root with sudo";

/// An error with a hint, which is shown apart from it.
struct Hinted {
    error: Error,
    hint: String,
}

impl fmt::Debug for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} (hint: {})", self.error, self.hint)
    }
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

impl std::error::Error for Hinted {}

/// Adds a hint to an error.
pub(crate) trait WithHint<T> {
    /// `hint` is a sentence, or a command and what it does.
    fn hint(self, hint: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Error>> WithHint<T> for Result<T, E> {
    fn hint(self, hint: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| add_hint(e.into(), hint()))
    }
}

/// Adds a hint to an error that is at hand.
pub(crate) fn add_hint(error: Error, hint: String) -> Error {
    Hinted { error, hint }.into()
}

/// Returns an error with a hint from the enclosing function: first the hint, then the error as for `bail!`.
macro_rules! bail_with_hint {
    ($hint:expr, $($error:tt)*) => {
        return Err($crate::hint::add_hint(anyhow::anyhow!($($error)*), $hint.into()))
    };
}
pub(crate) use bail_with_hint;

/// All hints of an error, the outermost first.
pub(crate) fn hints(error: &Error) -> Vec<&str> {
    let mut all = Vec::new();
    for cause in error.chain() {
        if let Some(hinted) = cause.downcast_ref::<Hinted>() {
            all.push(hinted.hint.as_str());
            all.extend(hints(&hinted.error));
        }
    }
    all
}

/// Finds a cause of a type in an error, also behind hints.
pub(crate) fn find<T: fmt::Display + fmt::Debug + Send + Sync + 'static>(
    error: &Error,
) -> Option<&T> {
    error.downcast_ref::<T>().or_else(|| {
        let mut hinted = error.chain().filter_map(|c| c.downcast_ref::<Hinted>());
        hinted.find_map(|a| find(&a.error))
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
    fn hints_are_found_below_contexts_and_do_not_show_in_the_error() {
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
