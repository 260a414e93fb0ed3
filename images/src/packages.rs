//! The packages of a template, for both ways to install them.

use std::path::Path;

/// The packages and settings of an installation, in addition to the recipe's.
pub(crate) struct PackageSet<'a> {
    pub(crate) packages: &'a [String],
    /// Files to leave out, in the notation of dpkg's `path-exclude`.
    pub(crate) excluded: &'a [&'a str],
    /// Keys of the archive, if the host's programs do not have them.
    pub(crate) keyring: Option<&'a Path>,
}
