//! The recipe of a template.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::architecture::Architecture;
use crate::digest::hex;
use crate::distribution::Distribution;
use crate::error::ImageError;
use crate::guest_files;

/// The contents of a template. Equal recipes give one template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    /// The release's code name, such as `trixie` or `noble`.
    pub suite: String,
    /// The guest's instruction set.
    pub architecture: Architecture,
    /// The packages' mirror; `None` for mmdebstrap's default.
    pub mirror: Option<String>,
    /// Packages in addition to every template's, sorted.
    pub packages: Vec<String>,
}

impl Recipe {
    /// Makes a recipe. Checks its values, since they become arguments of programs.
    ///
    /// # Errors
    /// A value is not valid; the error says what is expected.
    pub fn new(
        suite: &str,
        architecture: Architecture,
        mirror: Option<&str>,
        packages: &[String],
    ) -> Result<Self, ImageError> {
        let word = |text: &str, extra: &str| {
            text.starts_with(|c: char| c.is_ascii_alphanumeric())
                && text
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
        };
        if !word(suite, "-.") {
            return Err(ImageError::Recipe {
                what: format!("invalid suite `{suite}`; expected a code name such as trixie"),
            });
        }
        if let Some(bad) = packages.iter().find(|p| !word(p, "+-.:")) {
            return Err(ImageError::Recipe {
                what: format!("invalid package name `{bad}`; expected letters, digits and + - . :"),
            });
        }
        let is_address = |m: &str| m.contains("://") && !m.contains(char::is_whitespace);
        if let Some(bad) = mirror.filter(|m| !is_address(m)) {
            return Err(ImageError::Recipe {
                what: format!(
                    "invalid mirror `{bad}`; expected an address such as http://…/debian"
                ),
            });
        }
        let mut packages = packages.to_vec();
        packages.sort();
        packages.dedup();
        Ok(Self {
            suite: suite.to_owned(),
            architecture,
            mirror: mirror.map(str::to_owned),
            packages,
        })
    }

    /// The publisher of its packages.
    pub(crate) fn distribution(&self) -> &'static Distribution {
        Distribution::of(&self.suite)
    }

    /// A digest of the recipe and of the files that this version of kvmc puts into a template.
    #[must_use]
    pub fn key(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(serde_json::to_vec(self).unwrap_or_default());
        for (path, text) in guest_files::of_template() {
            hash.update(path);
            hash.update([0]);
            hash.update(text);
        }
        hash.update(guest_files::PACKAGES.join(" "));
        hash.update(self.distribution().kernel_package(self.architecture));
        hash.update(guest_files::REVISION);
        hex(&hash.finalize())
    }

    /// The template's name.
    #[must_use]
    pub fn name(&self) -> String {
        let release = self.distribution().release(&self.suite);
        let more: String = self.packages.iter().map(|p| format!("+{p}")).collect();
        format!("{release}-{}{more}", self.architecture)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_is_part_of_the_key() {
        let plain = Recipe::new("trixie", Architecture::Amd64, None, &[]).unwrap();
        let vim = Recipe::new("trixie", Architecture::Amd64, None, &["vim".to_owned()]).unwrap();
        let old = Recipe::new("bookworm", Architecture::Amd64, None, &[]).unwrap();
        let near =
            Recipe::new("trixie", Architecture::Amd64, Some("http://m/debian"), &[]).unwrap();
        let keys = [&plain, &vim, &old, &near].map(Recipe::key);
        for (i, key) in keys.iter().enumerate() {
            assert!(!keys[..i].contains(key));
        }
        assert_eq!(vim.name(), "debian-13-amd64+vim");
    }

    #[test]
    fn words_that_would_be_options_or_commands_are_refused() {
        let packages = |p: &str| Recipe::new("trixie", Architecture::Amd64, None, &[p.to_owned()]);
        assert!(packages("--hook=x").is_err());
        assert!(packages("a,b").is_err());
        assert!(packages("libstdc++6").is_ok());
        assert!(Recipe::new("../x", Architecture::Amd64, None, &[]).is_err());
        assert!(Recipe::new("sid", Architecture::Amd64, Some("nowhere"), &[]).is_err());
    }
}
