//! UEFI firmware: code that all nodes share, and variables that each node has.

use std::path::Path;

use anyhow::{Context, Result};
use kvmc_images::Architecture;

/// The host's UEFI firmware for an architecture: its code and the template of its variables.
///
/// # Errors
/// Fails if it is not installed, with the package to install.
pub(crate) fn uefi(architecture: Architecture) -> Result<(&'static Path, &'static Path)> {
    let uefi = &architecture.platform().uefi;
    uefi.images
        .iter()
        .map(|(code, variables)| (Path::new(*code), Path::new(*variables)))
        .find(|(code, variables)| code.exists() && variables.exists())
        .with_context(|| {
            format!(
                "the UEFI firmware for {architecture} is not installed; install {} or a similar package, or choose --firmware bios on amd64",
                uefi.package
            )
        })
}
