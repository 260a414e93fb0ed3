//! The failpoints of this crate, see tests/failpoint.

/// A failpoint: when a test has set it, the enclosing function returns an error.
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        kvmc_failpoint::reached($crate::failpoint::FAILPOINTS, $name).map_err(|source| {
            $crate::LinkError::Request {
                action: "go on".to_owned(),
                source,
            }
        })?;
    };
}

pub(crate) use failpoint;

/// All failpoints of this crate.
#[cfg(feature = "failpoints")]
pub const FAILPOINTS: &[&str] = &["up.bridge.added"];
