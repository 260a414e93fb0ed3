//! The failpoints of this crate, see tests/failpoint.

/// A failpoint: when a test has set it, the enclosing function returns an error.
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        kvmc_failpoint::reached($crate::failpoint::FAILPOINTS, $name)?;
    };
}

pub(crate) use failpoint;

/// All failpoints of this crate.
#[cfg(feature = "failpoints")]
pub const FAILPOINTS: &[&str] = &[
    "image.folder",
    "image.packages",
    "image.tree",
    "image.disk",
    "image.meta",
    "image.done",
    "pull.mark",
    "pull.received",
    "pull.disk",
    "pull.pointer",
    "import.copy",
    "import.disk",
    "import.pointer",
];
