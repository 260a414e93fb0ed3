//! The keys that a publisher signs its archive with, where the host lacks them.

use std::path::{Path, PathBuf};

use crate::distribution::Distribution;
use crate::error::ImageError;
use crate::mmdebstrap;

/// Fetches the archive's keys to `dir`, unless the host has them where programs look for them.
///
/// Debian's archive has Ubuntu's keys as a package and the reverse, so the keys that this host trusts vouch for them.
///
/// # Errors
/// [`ImageError::Keys`] where mmdebstrap failed.
pub(crate) fn fetch(
    distribution: &Distribution,
    dir: &Path,
    say: &mut dyn FnMut(&str),
) -> Result<Option<PathBuf>, ImageError> {
    let keyring = distribution.keyring;
    if Path::new(keyring).exists() {
        return Ok(None);
    }
    let (package, suite, components) = distribution.elsewhere;
    say(&format!("fetching the package {package} of {suite}"));
    let root = dir.join("keyring");
    mmdebstrap::unpack(package, suite, components, &root).map_err(|e| match e {
        ImageError::Program { status, stderr, .. } => ImageError::Keys {
            keyring,
            package,
            suite,
            status,
            stderr,
        },
        e => e,
    })?;
    Ok(Some(root.join(keyring.trim_start_matches('/'))))
}
