//! OpenPGP signatures of checksum lists, by gpgv(1).

use std::path::Path;

use crate::error::ImageError;
use crate::exec;

/// The first keyring that exists.
pub(crate) fn keyring(paths: &[String]) -> Option<&String> {
    paths.iter().find(|p| Path::new(p).is_file())
}

/// Verifies a list's signature. `None` means that the signature is in the list itself.
///
/// # Errors
/// The signature is not good; the error has gpgv's output.
pub(crate) fn verify(
    list: &Path,
    signature: Option<&Path>,
    keyring: &str,
) -> Result<(), ImageError> {
    let mut arguments = vec!["--keyring".to_owned(), keyring.to_owned()];
    arguments.extend(signature.map(|s| s.display().to_string()));
    arguments.push(list.display().to_string());
    exec::run("gpgv", &arguments).map_err(|e| match e {
        ImageError::Program { stderr, .. } => ImageError::Checksum {
            what: format!("the publisher's signature is not good: {stderr}"),
        },
        other => other,
    })
}

/// The signed part of a clear-signed message; all of another text.
pub(crate) fn covered(text: &str) -> String {
    const BEGIN: &str = "-----BEGIN PGP SIGNED MESSAGE-----\n";
    const END: &str = "-----BEGIN PGP SIGNATURE-----";
    let Some((_, signed)) = text.split_once(BEGIN) else {
        return text.to_owned();
    };
    // Anybody could have added the text around it.
    let signed = signed.split_once(END).map_or("", |(signed, _)| signed);
    let mut lines = signed.lines().skip_while(|l| !l.trim().is_empty());
    lines.next();
    lines
        .map(|l| format!("{}\n", l.strip_prefix("- ").unwrap_or(l)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_signed_counts() {
        let text = "aa  evil\n-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n- -bb\ncc  x\n-----BEGIN PGP SIGNATURE-----\n\nxx\n-----END PGP SIGNATURE-----\ndd  evil\n";
        assert_eq!(covered(text), "-bb\ncc  x\n");
        assert_eq!(covered("plain"), "plain");
        assert_eq!(covered("-----BEGIN PGP SIGNED MESSAGE-----\n\nno end"), "");
    }
}
