//! Fetches the keys of a publisher's archive for a host without them.

use std::path::{Path, PathBuf};

use crate::distribution::Distribution;
use crate::error::ImageError;
use crate::mmdebstrap;

/// Fetches the archive's keys to `dir`, unless the host has them where programs look for them.
///
/// Debian's archive has a package with Ubuntu's keys and the reverse, so the keys that this host trusts verify them.
///
/// # Errors
/// [`ImageError::Keys`] if mmdebstrap failed.
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
