//! Downloads one image from its publisher into the store.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::catalogue::Verification;
use super::checksum::{Checksum, find};
use super::disk::make_disk;
use super::event::Event;
use super::fetch::Fetcher;
use super::lock::DownloadLock;
use super::name::{check_name, file_name};
use super::part::forget;
use super::signature;
use super::subject::Subject;
use crate::architecture::Architecture;
use crate::digest::hex;
use crate::error::ImageError;
use crate::failpoint::failpoint;
use crate::image::{Boot, Guest, Image, Origin};
use crate::image::{FORMAT, Meta, now};
use crate::store::Store;

/// A download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pull {
    /// Its address.
    pub url: String,
    /// Its name in messages and tables.
    pub name: String,
    /// The guest's instruction set.
    pub architecture: Architecture,
    /// How a machine boots from it.
    pub boot: Boot,
    /// How it is verified.
    pub verification: Verification,
    /// Ask the publisher for a newer one, even if one is in the store.
    pub refresh: bool,
}

/// The expected content of the download.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Expected {
    /// `None` with `--insecure`.
    checksum: Option<Checksum>,
    /// The keyring that verified the signature of the checksums' list.
    keyring: Option<String>,
}

impl Pull {
    /// The image that was downloaded from this address before.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn find(&self, store: &Store) -> Result<Option<Image>, ImageError> {
        store.pointed(&pointer(&self.url), self.architecture)
    }

    /// The image, downloaded if it is not in the store. When several kvmc ask at once, one downloads, and the others
    /// wait and take its image.
    ///
    /// # Errors
    /// The download or its verification failed; the error has the address. The store never holds an unverified file. The
    /// received part lies outside the store, and the next run resumes there.
    pub async fn run(
        &self,
        store: &Store,
        say: &mut dyn FnMut(Event),
    ) -> Result<Image, ImageError> {
        check_name(file_name(&self.url), self.architecture)?;
        let work = store.pulls()?;
        let stem = hex(&Sha256::digest(self.url.as_bytes()));
        let stem = stem.get(..16).unwrap_or(&stem);
        let lock = DownloadLock::take(&work.join(format!("{stem}.lock")), say).await?;
        let there = self.find(store)?;
        if let Some(image) = &there
            && (!self.refresh || lock.has_waited)
        {
            return Ok(image.clone());
        }
        let fetcher = Fetcher::new()?;
        let expected = self.expected(&fetcher, &work, say).await?;
        if let Some(image) = there
            && is_of(&image, &expected)
        {
            say(Event::Say("it is the newest".to_owned()));
            return Ok(image);
        }
        let part = work.join(format!("{stem}.part"));
        let wanted = expected.checksum.as_ref().map(ToString::to_string);
        fetcher
            .file(&self.url, wanted.as_deref(), &part, say)
            .await?;
        failpoint!("pull.received");
        let expected = self.verify(&part, expected, &fetcher, &work, say).await?;
        let (disk, _lock) = store.workplace()?;
        make_disk(disk.path(), &part, Subject::Address(&self.url))?;
        failpoint!("pull.disk");
        forget(&part);
        let meta = Meta {
            format: FORMAT,
            name: self.name.clone(),
            key: None,
            architecture: self.architecture,
            boot: self.boot,
            guest: Guest::CloudInit,
            origin: Origin::Pulled {
                url: self.url.clone(),
                checksum: expected.checksum.map(|c| c.to_string()),
                keyring: expected.keyring,
            },
            parent: None,
            created: now(),
            digests: std::collections::BTreeMap::new(),
        };
        let image = store.admit(disk, meta)?;
        store.point(&pointer(&self.url), &image)?;
        failpoint!("pull.pointer");
        Ok(image)
    }

    /// Finds the expected checksum of the image.
    async fn expected(
        &self,
        fetcher: &Fetcher,
        work: &Path,
        say: &mut dyn FnMut(Event),
    ) -> Result<Expected, ImageError> {
        let (sums, signature, keyrings) = match &self.verification {
            Verification::Given(checksum) => {
                return Ok(Expected {
                    checksum: Some(checksum.clone()),
                    keyring: None,
                });
            }
            Verification::Insecure => {
                return Ok(Expected {
                    checksum: None,
                    keyring: None,
                });
            }
            Verification::Listed {
                sums,
                signature,
                keyrings,
            } => (sums, signature, keyrings),
        };
        let list = fetcher.text(sums).await?;
        let mut keyring = None;
        if let Some(found) = signature::keyring(keyrings) {
            let folder = tempfile::tempdir_in(work).map_err(ImageError::io("make a folder"))?;
            let path = folder.path().join("list");
            fs_err::write(&path, &list)?;
            let detached = match signature {
                Some(url) => {
                    let path = folder.path().join("signature");
                    fs_err::write(&path, fetcher.text(url).await?)?;
                    Some(path)
                }
                None => None,
            };
            signature::verify(&path, detached.as_deref(), found).map_err(|e| in_list(sums, e))?;
            keyring = Some(found.clone());
        } else if !keyrings.is_empty() {
            say(Event::Say(format!(
                "the publisher's signature is not checked: this host has no {}",
                keyrings.join(" or ")
            )));
        }
        if keyring.is_none() && sums.starts_with("http://") {
            say(Event::Say(
                "the checksums come by plain http: they show damage, not forgery".to_owned(),
            ));
        }
        let list = String::from_utf8_lossy(&list);
        let text = match keyring {
            Some(_) if signature.is_none() => signature::covered(&list),
            _ => list.into_owned(),
        };
        let checksum = find(&text, file_name(&self.url)).map_err(|e| in_list(sums, e))?;
        Ok(Expected {
            checksum: Some(checksum),
            keyring,
        })
    }

    /// Compares the download with its checksum. If they differ, reads the list again, since the publisher may have
    /// replaced the image meanwhile.
    async fn verify(
        &self,
        part: &Path,
        expected: Expected,
        fetcher: &Fetcher,
        work: &Path,
        say: &mut dyn FnMut(Event),
    ) -> Result<Expected, ImageError> {
        let Some(checksum) = &expected.checksum else {
            return Ok(expected);
        };
        let found = checksum.algorithm.of_file(part)?;
        if found == *checksum {
            return Ok(expected);
        }
        if matches!(self.verification, Verification::Listed { .. }) {
            let now = self.expected(fetcher, work, say).await?;
            if now.checksum.as_ref() == Some(&found) {
                return Ok(now);
            }
        }
        forget(part);
        Err(ImageError::Mismatch {
            url: self.url.clone(),
            expected: checksum.to_string(),
            found: found.to_string(),
        })
    }
}

/// The store's pointer from a source to its image.
pub(super) fn pointer(source: &str) -> String {
    let digest = hex(&Sha256::digest(source.as_bytes()));
    format!("of:{}", digest.get(..32).unwrap_or(&digest))
}

/// Whether the image in the store has the checksum that is expected now.
fn is_of(image: &Image, expected: &Expected) -> bool {
    let Origin::Pulled { checksum, .. } = &image.origin else {
        return false;
    };
    checksum.is_some() && *checksum == expected.checksum.as_ref().map(ToString::to_string)
}

fn in_list(sums: &str, error: ImageError) -> ImageError {
    match error {
        ImageError::Checksum { what } => ImageError::Address {
            url: sums.to_owned(),
            why: what,
        },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_as_long_as_a_digest_with_its_prefix() {
        assert_eq!(pointer("a").len(), 35);
    }
}
