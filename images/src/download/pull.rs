//! One image from its publisher into the store.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};

use super::checksum::{Checksum, find};
use super::fetch::{Fetcher, forget};
use super::form::{self, Form};
use super::{Event, Verification, signature};
use crate::failpoint::failpoint;
use crate::image::{DISK, FORMAT, Meta, now};
use crate::store::hex;
use crate::{Architecture, Boot, Guest, Image, ImageError, Origin, Store};

/// How often the one that waits looks whether the other is done.
const WAIT: Duration = Duration::from_millis(100);

/// What to download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pull {
    /// The image.
    pub url: String,
    /// Its name, for people.
    pub name: String,
    /// The guest's instruction set.
    pub architecture: Architecture,
    /// How a machine starts from it.
    pub boot: Boot,
    /// How it is known to be what its publisher made.
    pub verification: Verification,
    /// Look whether the publisher has a newer one, though one is there.
    pub refresh: bool,
}

/// A checksum that was asked for, and the keyring that its list's signature was good for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Expected {
    checksum: Option<Checksum>,
    keyring: Option<String>,
}

impl Pull {
    /// The image of this address that is in the store.
    ///
    /// # Errors
    /// One that cannot be read.
    pub fn find(&self, store: &Store) -> Result<Option<Image>, ImageError> {
        store.pointed(&pointer(&self.url), self.architecture)
    }

    /// The image, downloaded if it is not there. Of those that ask at once one downloads, and the others
    /// wait and take what it got.
    ///
    /// # Errors
    /// The address with what went wrong. Nothing that was not verified is in the store then; what came
    /// is kept outside it, and the next run goes on from there.
    pub async fn run(
        &self,
        store: &Store,
        say: &mut dyn FnMut(Event),
    ) -> Result<Image, ImageError> {
        check_name(file_name(&self.url), self.architecture)?;
        let work = store.pulls()?;
        let stem = hex(&Sha256::digest(self.url.as_bytes()));
        let stem = stem.get(..16).unwrap_or(&stem);
        let waited = Waited::lock(&work.join(format!("{stem}.lock")), say).await?;
        let there = self.find(store)?;
        if let Some(image) = &there
            && (!self.refresh || waited.for_another)
        {
            return Ok(image.clone());
        }
        let fetcher = Fetcher::new()?;
        let expected = self.expected(&fetcher, &work, say).await?;
        if let Some(image) = there
            && is_of(&image, &expected)
        {
            say(Event::Say("it is the newest that there is".to_owned()));
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
        make_disk(disk.path(), &part)?;
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

    /// The checksum that the image is to have.
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
                "the publisher's signature is not checked: no {} here",
                keyrings.join(" or ")
            )));
        }
        if keyring.is_none() && sums.starts_with("http://") {
            say(Event::Say(
                "the checksums come over plain http: they tell damage, but not a forgery"
                    .to_owned(),
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

    /// Compares what came with its checksum; the publisher may have put a newer one there meanwhile.
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
        // Whatever it is, it is not to be gone on with.
        forget(part);
        Err(ImageError::Mismatch {
            url: self.url.clone(),
            expected: checksum.to_string(),
            found: found.to_string(),
        })
    }
}

/// Makes the disk that a file of any form holds, in `folder`.
pub(super) fn make_disk(folder: &Path, from: &Path) -> Result<(), ImageError> {
    let unpacked = folder.join("unpacked");
    let disk = folder.join(DISK);
    let mut plain: PathBuf = from.to_owned();
    let mut form = form::probe(&plain)?;
    if !matches!(form, Form::Qcow2 | Form::Raw) {
        form::unpack(form, &plain, &unpacked)?;
        plain.clone_from(&unpacked);
        form = form::probe(&plain)?;
        if !matches!(form, Form::Qcow2 | Form::Raw) {
            return Err(ImageError::Unfit {
                path: from.to_owned(),
                why: "is packed twice; unpack it first".to_owned(),
            });
        }
    }
    form::settle(form, &plain, &disk)?;
    let _moved_or_used_up = std::fs::remove_file(&unpacked);
    Ok(())
}

/// Refuses by its name what is made for another machine or another purpose.
///
/// # Errors
/// Which, and what to take instead.
pub fn check_name(file: &str, architecture: Architecture) -> Result<(), ImageError> {
    const OTHERS: [&str; 8] = [
        "ppc64le", "ppc64el", "s390x", "riscv64", "loong64", "armhf", "armv7", "i386",
    ];
    let file = file.to_ascii_lowercase();
    let is =
        |a: Architecture| file.contains(a.platform().name) || file.contains(a.platform().machine);
    let known = Architecture::ALL.into_iter().find(|a| is(*a));
    let other = OTHERS.into_iter().find(|o| file.contains(o));
    let refuse = |what: String| Err(ImageError::Recipe { what });
    match (known, other) {
        (Some(_), _) if is(architecture) => {}
        (Some(known), _) => {
            return refuse(format!(
                "image: `{file}` is {known} by its name, and {architecture} is asked for; say --arch {known}, or take another"
            ));
        }
        (None, Some(other)) => {
            return refuse(format!(
                "image: `{file}` is {other} by its name, and {architecture} is asked for"
            ));
        }
        (None, None) => {}
    }
    if file.contains("debian") && file.contains("-nocloud-") {
        return refuse(format!(
            "image: `{file}` has no cloud-init and lets root in without a password; use genericcloud"
        ));
    }
    Ok(())
}

/// The last part of an address, without its query.
fn file_name(url: &str) -> &str {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    path.rsplit('/').next().unwrap_or(path)
}

/// The name under which the store points from a source to its image.
pub(super) fn pointer(source: &str) -> String {
    let digest = hex(&Sha256::digest(source.as_bytes()));
    format!("of:{}", digest.get(..32).unwrap_or(&digest))
}

/// The image was made of what is expected now.
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

/// A lock, held.
struct Waited {
    _lock: Flock<File>,
    for_another: bool,
}

impl Waited {
    async fn lock(path: &Path, say: &mut dyn FnMut(Event)) -> Result<Self, ImageError> {
        let mut for_another = false;
        loop {
            let file = File::options()
                .create(true)
                .append(true)
                .open(path)
                .map_err(ImageError::io(format!("open {}", path.display())))?;
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => {
                    return Ok(Self {
                        _lock: lock,
                        for_another,
                    });
                }
                Err((_, Errno::EWOULDBLOCK)) => {
                    if !for_another {
                        for_another = true;
                        say(Event::Say("another kvmc downloads it; waiting".to_owned()));
                    }
                    tokio::time::sleep(WAIT).await;
                }
                Err((_, e)) => {
                    return Err(ImageError::io(format!("lock {}", path.display()))(e.into()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(file: &str) -> String {
        check_name(file, Architecture::Amd64)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn bad_input_21_another_architecture_is_seen_by_the_name() {
        let error = say("debian-13-genericcloud-arm64.qcow2");
        assert!(
            error.contains("is arm64") && error.contains("--arch arm64"),
            "{error}"
        );
        assert!(say("x.s390x.qcow2").contains("s390x"));
        for fine in ["a.x86_64.qcow2", "a-amd64.img", "mine.qcow2"] {
            check_name(fine, Architecture::Amd64).unwrap();
        }
        check_name("a.aarch64.img", Architecture::Arm64).unwrap();
    }

    #[test]
    fn bad_input_22_debians_nocloud_is_refused_and_alpines_is_not() {
        let error = say("debian-13-nocloud-amd64.qcow2");
        assert!(
            error.contains("no cloud-init") && error.contains("use genericcloud"),
            "{error}"
        );
        check_name(
            "nocloud_alpine-3.23.4-x86_64-bios-cloudinit-r0.qcow2",
            Architecture::Amd64,
        )
        .unwrap();
    }

    #[test]
    fn the_file_is_the_last_part_of_the_address() {
        assert_eq!(file_name("https://h/a/b.img?x=/y"), "b.img");
        assert_eq!(pointer("a").len(), 35);
    }
}
