//! The packages of a template, however they are installed.

use std::path::Path;

/// What is installed, beside what the recipe says.
pub(crate) struct PackageSet<'a> {
    pub(crate) packages: &'a [String],
    /// Files that are left out, as dpkg's `path-exclude` has them.
    pub(crate) excluded: &'a [&'a str],
    /// Keys of the archive, where the host's programs do not know them.
    pub(crate) keyring: Option<&'a Path>,
}
