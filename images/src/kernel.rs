//! Finds the kernel in a tree of packages.

use std::path::Path;

use crate::error::ImageError;

/// The release of the newest kernel in `root`, in the form of `uname -r`.
///
/// # Errors
/// `root` has no kernel with its modules.
pub(crate) fn release(root: &Path) -> Result<String, ImageError> {
    let lacks = || ImageError::Incomplete {
        what: "a kernel in /usr/lib/modules".to_owned(),
    };
    fs_err::read_dir(root.join("usr/lib/modules"))?
        .flatten()
        .filter_map(|e| e.file_name().into_string().ok())
        .filter(|release| root.join(format!("boot/vmlinuz-{release}")).exists())
        .max()
        .ok_or_else(lacks)
}
