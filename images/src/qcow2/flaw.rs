//! What is wrong with a qcow2, in words.

use super::header::{LARGEST, LONGEST_NAME};

/// Why an image cannot be used as it is, by its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Flaw {
    NotQcow2,
    Cut,
    Version(u32),
    /// With the header's `crypt_method`.
    Encrypted(u32),
    Dirty,
    Corrupt,
    DataFile(String),
    Unknown(String),
    /// With the length of its name.
    BackingName(u32),
    /// The binary logarithm of its clusters' size.
    Clusters(u32),
    /// Bytes that its disk is said to have.
    Size(u64),
    /// What is impossible of a table or of the header.
    Layout(String),
}

impl std::fmt::Display for Flaw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotQcow2 => f.write_str("is not a qcow2 image"),
            Self::Cut => f.write_str("is cut short"),
            Self::Version(version) => {
                write!(f, "is a qcow2 of version {version}; expected 2 or 3")
            }
            Self::Encrypted(1) => f.write_str("is encrypted (AES)"),
            Self::Encrypted(2) => f.write_str("is encrypted (LUKS)"),
            Self::Encrypted(method) => write!(f, "is encrypted by an unknown method, {method}"),
            Self::Dirty => f.write_str("is dirty: the program that wrote it did not close it"),
            Self::Corrupt => f.write_str("is marked as corrupt"),
            Self::DataFile(name) if name.is_empty() => {
                f.write_str("keeps its data in another file")
            }
            Self::DataFile(name) => {
                write!(
                    f,
                    "keeps its data in another file, `{}`",
                    name.escape_debug()
                )
            }
            Self::Unknown(names) => {
                write!(
                    f,
                    "has features that kvmc does not know: {}",
                    names.escape_debug()
                )
            }
            Self::BackingName(length) => write!(
                f,
                "has a backing file with a name of {length} bytes; expected at most {LONGEST_NAME}"
            ),
            Self::Clusters(bits) => {
                write!(f, "has clusters of 2^{bits} bytes; expected 2^9 to 2^21")
            }
            Self::Size(size) => write!(
                f,
                "says that its disk has {size} bytes; expected at most {LARGEST}"
            ),
            Self::Layout(what) => f.write_str(what),
        }
    }
}
