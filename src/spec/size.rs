//! Sizes in their written form: `2G`, `512M`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A number of bytes, shown in the largest binary unit that divides it.
#[derive(
    Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub(crate) struct Bytes(pub(crate) u64);

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

impl Bytes {
    pub(crate) const fn mib(n: u64) -> Self {
        Self(n * MIB)
    }

    pub(crate) const fn gib(n: u64) -> Self {
        Self(n * GIB)
    }

    /// The least number of whole MiB that holds so many bytes.
    pub(crate) const fn covering(bytes: u64) -> Self {
        Self(bytes.div_ceil(MIB).saturating_mul(MIB))
    }

    /// Whole GiB, rounded up.
    pub(crate) const fn as_gib(self) -> u64 {
        self.0.div_ceil(GIB)
    }

    /// Whole MiB, rounded down, as QEMU's `-m` takes them.
    pub(crate) const fn as_mib(self) -> u64 {
        self.0 / MIB
    }

    /// Reads `2G`, `512M` or `1T`. With `bare`, a number without a unit counts in units of `bare` bytes.
    ///
    /// # Errors
    /// Fails with a sentence that lacks the setting's name, which the caller adds.
    pub(crate) fn parse(text: &str, bare: Option<u64>) -> Result<Self, String> {
        let text = text.trim();
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit = match (unit, bare) {
            ("", Some(unit)) => unit,
            ("M" | "m" | "Mi" | "MiB", _) => MIB,
            ("G" | "g" | "Gi" | "GiB", _) => GIB,
            ("T" | "t" | "Ti" | "TiB", _) => TIB,
            ("", None) if !number.is_empty() => {
                return Err(format!("`{text}` has no unit; expected {text}M or {text}G"));
            }
            _ => {
                return Err(format!(
                    "`{text}` is not a size; expected a form such as 2G or 512M"
                ));
            }
        };
        number
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(unit))
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not a size; expected a form such as 2G or 512M"))
    }

    /// Reads a disk size. A number without a unit counts in G, like the scripts' variable DISK_SIZE.
    pub(crate) fn parse_disk(text: &str) -> Result<Self, String> {
        Self::parse(text, Some(GIB))
    }

    /// Reads a RAM size, which must have a unit.
    pub(crate) fn parse_ram(text: &str) -> Result<Self, String> {
        Self::parse(text, None)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, name) in [(TIB, "T"), (GIB, "G"), (MIB, "M"), (KIB, "K")] {
            if self.0 >= unit && self.0.is_multiple_of(unit) {
                return write!(f, "{}{name}", self.0 / unit);
            }
        }
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_forms_of_sizes_are_read() {
        assert_eq!(Bytes::parse_ram("2G"), Ok(Bytes::gib(2)));
        assert_eq!(Bytes::parse_ram("512M"), Ok(Bytes::mib(512)));
        assert_eq!(Bytes::parse_disk("4"), Ok(Bytes::gib(4)));
        assert_eq!(Bytes::parse_disk("1536M"), Ok(Bytes::mib(1536)));
    }

    #[test]
    fn other_text_is_refused_as_a_size() {
        for bad in [
            "2gb",
            "",
            "G",
            "-1",
            "1e9",
            "2 G",
            "2.5G",
            "99999999999999999999G",
        ] {
            assert!(Bytes::parse_ram(bad).is_err(), "{bad} was taken");
        }
        assert_eq!(
            Bytes::parse_ram("2048"),
            Err("`2048` has no unit; expected 2048M or 2048G".to_owned())
        );
    }

    #[test]
    fn a_size_is_shown_in_the_largest_unit_that_divides_it() {
        assert_eq!(Bytes::gib(4).to_string(), "4G");
        assert_eq!(Bytes::mib(1536).to_string(), "1536M");
        assert_eq!(Bytes(1000).to_string(), "1000");
    }
}
