//! UEFI, where an image wants it: code that all share, and variables that are each node's own.

use std::path::Path;

use anyhow::{Context, Result};
use kvmc_images::Architecture;

/// The host's firmware for an architecture: its code and the template of its variables.
///
/// # Errors
/// That there is none, with the package that has it.
pub(crate) fn uefi(architecture: Architecture) -> Result<(&'static Path, &'static Path)> {
    let uefi = &architecture.platform().uefi;
    uefi.images
        .iter()
        .map(|(code, variables)| (Path::new(*code), Path::new(*variables)))
        .find(|(code, variables)| code.exists() && variables.exists())
        .with_context(|| {
            format!(
                "the UEFI firmware for {architecture} is not installed; install {} (or its like), or take --firmware bios on amd64",
                uefi.package
            )
        })
}
