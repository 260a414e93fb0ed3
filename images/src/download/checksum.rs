//! Checksums, and publishers' lists of them.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use sha2::{Sha256, Sha512};

use crate::digest;
use crate::error::ImageError;

/// A hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// SHA-256
    Sha256,
    /// SHA-512
    Sha512,
}

impl Algorithm {
    const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    const fn digits(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }

    /// A file's checksum.
    pub(crate) fn of_file(self, path: &Path) -> Result<Checksum, ImageError> {
        let digits = match self {
            Self::Sha256 => digest::of_file::<Sha256>(path)?,
            Self::Sha512 => digest::of_file::<Sha512>(path)?,
        };
        Ok(Checksum {
            algorithm: self,
            digits,
        })
    }
}

/// A digest with its hash, `sha512:0123…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksum {
    pub(crate) algorithm: Algorithm,
    /// Hex, in lower case.
    digits: String,
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.digits)
    }
}

impl FromStr for Checksum {
    type Err = ImageError;

    /// Reads `sha256:…`, `sha512:…`, and bare digits of either length.
    fn from_str(text: &str) -> Result<Self, ImageError> {
        let wrong = |what: String| ImageError::Checksum { what };
        let (named, digits) = match text.split_once(':') {
            Some((name, digits)) => {
                let named = Algorithm::ALL
                    .into_iter()
                    .find(|a| a.name().eq_ignore_ascii_case(name))
                    .ok_or_else(|| {
                        wrong(format!(
                            "unknown hash `{}`; expected sha256 or sha512",
                            name.escape_debug()
                        ))
                    })?;
                (Some(named), digits)
            }
            None => (None, text),
        };
        if let Some(odd) = digits.chars().find(|c| !c.is_ascii_hexdigit()) {
            return Err(wrong(format!(
                "`{}` is not a hex digit",
                odd.escape_debug()
            )));
        }
        let algorithm = match named {
            Some(named) if digits.len() == named.digits() => named,
            Some(named) => {
                return Err(wrong(format!(
                    "{} has {} hex digits, got {}",
                    named.name(),
                    named.digits(),
                    digits.len()
                )));
            }
            None => Algorithm::ALL
                .into_iter()
                .find(|a| a.digits() == digits.len())
                .ok_or_else(|| {
                    wrong(format!(
                        "sha256 has 64 hex digits and sha512 has 128, got {}",
                        digits.len()
                    ))
                })?,
        };
        Ok(Self {
            algorithm,
            digits: digits.to_ascii_lowercase(),
        })
    }
}

/// Finds a file's checksum in a publisher's list: lines of sha256sum(1), BSD's `SHA256 (name) = digits`, or digits alone
/// where the list has one file. Of several hashes it takes the longest.
///
/// # Errors
/// The file is not listed.
pub(crate) fn find(list: &str, file: &str) -> Result<Checksum, ImageError> {
    let mut others = 0;
    let mut found: Option<Checksum> = None;
    for line in list.lines().map(str::trim) {
        let Some((name, checksum)) = entry(line) else {
            continue;
        };
        if name.is_some_and(|n| n.trim_start_matches("./") != file) {
            others += 1;
            continue;
        }
        let longer = |f: &Checksum| f.digits.len() < checksum.digits.len();
        if found.as_ref().is_none_or(longer) {
            found = Some(checksum);
        }
    }
    found.ok_or_else(|| ImageError::Checksum {
        what: format!("`{file}` is not in the publisher's list ({others} other files are)"),
    })
}

/// Reads a line: the file's name, where it has one, and the checksum.
fn entry(line: &str) -> Option<(Option<&str>, Checksum)> {
    if let Some((head, digits)) = line.rsplit_once(" = ")
        && let Some((algorithm, name)) = head.split_once(" (")
    {
        let name = name.strip_suffix(')')?;
        let checksum = format!("{algorithm}:{digits}").parse().ok()?;
        return Some((Some(name), checksum));
    }
    let (digits, name) = match line.split_once(char::is_whitespace) {
        Some((digits, name)) => (digits, Some(name.trim().trim_start_matches('*'))),
        None => (line, None),
    };
    let is_hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
    is_hex
        .then(|| digits.parse().ok())
        .flatten()
        .map(|c| (name, c))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(n: usize, digit: char) -> String {
        std::iter::repeat_n(digit, n).collect()
    }

    #[test]
    fn bad_input_24_a_checksum_of_the_wrong_length_says_both_lengths() {
        let say = |text: &str| text.parse::<Checksum>().unwrap_err().to_string();
        let short = format!("sha512:{}", of(64, 'a'));
        assert!(say(&short).contains("sha512 has 128 hex digits, got 64"));
        assert!(say(&of(40, 'a')).contains("got 40"));
        assert!(say(&format!("md5:{}", of(32, 'a'))).contains("unknown hash `md5`"));
        assert!(say(&format!("{}g", of(63, 'a'))).contains("`g` is not a hex digit"));
        let upper = of(64, 'A').parse::<Checksum>().unwrap();
        assert_eq!(upper.to_string(), format!("sha256:{}", of(64, 'a')));
    }

    #[test]
    fn lists_of_every_publisher_are_read() {
        let (a, b) = (of(64, 'a'), of(128, 'b'));
        let gnu = format!("{}  other.img\n{a} *x.img\n", of(64, 'c'));
        assert_eq!(
            find(&gnu, "x.img").unwrap().to_string(),
            format!("sha256:{a}")
        );
        let bsd = format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n# x.img: 3 bytes\nSHA256 (x.img) = {a}\n-----BEGIN PGP SIGNATURE-----\n\niQ\n=abcd\n"
        );
        assert_eq!(
            find(&bsd, "x.img").unwrap().to_string(),
            format!("sha256:{a}")
        );
        assert_eq!(
            find(&b, "x.img").unwrap().to_string(),
            format!("sha512:{b}")
        );
        let both = format!("{a}  x.img\n{b}  x.img\n");
        assert_eq!(find(&both, "x.img").unwrap().algorithm, Algorithm::Sha512);
        let error = find(&gnu, "y.img").unwrap_err().to_string();
        assert!(
            error.contains("`y.img` is not in") && error.contains("2 other"),
            "{error}"
        );
        assert!(find("<html>404</html>", "x.img").is_err());
    }

    proptest! {
        #[test]
        fn no_list_makes_it_fall_over(text in ".{0,200}") {
            let _either = find(&text, "x");
            let _either = text.parse::<Checksum>();
        }
    }

    #[test]
    fn fuzz_checksum_files() {
        kvmc_fuzz::run("checksums", |bytes| {
            let text = String::from_utf8_lossy(bytes);
            match find(&text, "debian-13-genericcloud-amd64.qcow2") {
                Ok(checksum) => format!("{:?}", checksum.to_string().len()),
                Err(e) => e.to_string(),
            }
        });
        kvmc_fuzz::run("signed", |bytes| {
            let text = String::from_utf8_lossy(bytes);
            let covered = crate::download::signature::covered(&text);
            assert!(covered.len() <= text.len() + 1);
            format!("{}", covered.lines().count().min(3))
        });
    }
}
