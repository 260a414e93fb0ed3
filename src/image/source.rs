//! Turns names and URLs into downloads, with kvmc's catalogue and the user's over it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use kvmc_images::download::{Catalogue, Pull, Source, Verification};
use kvmc_images::{Architecture, Boot, Image, Origin, Store};

use crate::hint::{add_hint, bail_with_hint, host_command};
use crate::spec::approximate;

/// How images may be downloaded.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PullOptions {
    /// Check whether the publisher has a newer image.
    pub(crate) refresh: bool,
    /// Accept images that cannot be verified.
    pub(crate) insecure: bool,
}

/// kvmc's catalogue, overridden by the host's and then the user's files.
///
/// # Errors
/// Fails at a file with a mistake, with its line.
pub(crate) fn catalogue() -> Result<Catalogue> {
    let mut catalogue = Catalogue::built_in()?;
    for path in files(|name| std::env::var(name).ok()) {
        match std::fs::read_to_string(&path) {
            Ok(text) => catalogue = catalogue.with(&path, &text)?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(e).context(format!("cannot read {}", path.display())),
        }
    }
    Ok(catalogue)
}

/// The files of additional catalogues. Later files override earlier ones.
fn files(read: impl Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let set = |name: &str| read(name).filter(|v| !v.is_empty());
    let config = set("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&set("HOME")?).join(".config")));
    let mut files = vec![PathBuf::from("/etc/kvmc/images.toml")];
    files.extend(config.map(|dir| dir.join("kvmc/images.toml")));
    files
}

/// The default firmware for images of an architecture.
pub(crate) const fn firmware(architecture: Architecture) -> Boot {
    match architecture {
        Architecture::Amd64 => Boot::Bios,
        Architecture::Arm64 => Boot::Uefi,
    }
}

/// The download for a name from the catalogue, or `None` if the catalogue lacks the name.
///
/// # Errors
/// Fails if a catalogue has a mistake, or if it has the name for another architecture only.
pub(crate) fn named(
    name: &str,
    architecture: Architecture,
    asked: PullOptions,
) -> Result<Option<Pull>> {
    let catalogue = catalogue()?;
    if !catalogue.has(name) {
        return Ok(None);
    }
    let source = catalogue.get(name, architecture).with_context(|| {
        format!("image: the catalogue has `{name}`, but not for {architecture}")
    })?;
    pull(name, source, architecture, asked).map(Some)
}

fn pull(
    name: &str,
    source: &Source,
    architecture: Architecture,
    asked: PullOptions,
) -> Result<Pull> {
    let verification = match source.verification() {
        Some(verification) => verification,
        None if asked.insecure => Verification::Insecure,
        None => bail_with_hint!(
            "add `sums` or `checksum` to its entry, or pass --insecure",
            "image: the catalogue has no checksum for `{name}`"
        ),
    };
    Ok(Pull {
        url: source.url.clone(),
        name: name.to_owned(),
        architecture,
        boot: source.firmware.unwrap_or(firmware(architecture)),
        verification,
        refresh: asked.refresh,
    })
}

/// The download for a URL, written as `URL` or `URL#sha256:…`.
///
/// # Errors
/// Fails if there is no checksum and unverified images are not accepted.
pub(crate) fn at(text: &str, architecture: Architecture, asked: PullOptions) -> Result<Pull> {
    let (url, checksum) = split(text);
    let verification = match checksum {
        Some(checksum) => Verification::Given(
            checksum
                .parse()
                .with_context(|| format!("image: the checksum of {url} is wrong; expected sha256: or sha512: and hexadecimal digits"))?,
        ),
        None if asked.insecure => Verification::Insecure,
        None => bail_with_hint!(
            format!("write {url}#sha256:DIGITS, name the publisher's list with `image pull --sums`, or pass --insecure"),
            "image: {url} has no checksum"
        ),
    };
    Ok(Pull {
        url: url.to_owned(),
        name: name_of(url),
        architecture,
        boot: firmware(architecture),
        verification,
        refresh: asked.refresh,
    })
}

/// The image in the store that came from a URL, verified or not.
///
/// # Errors
/// Fails if an image cannot be read.
pub(crate) fn pulled(
    store: &Store,
    text: &str,
    architecture: Architecture,
) -> Result<Option<Image>> {
    let asked = PullOptions {
        insecure: true,
        refresh: false,
    };
    Ok(at(text, architecture, asked)?.find(store)?)
}

/// Splits a URL from the checksum after its `#`.
fn split(text: &str) -> (&str, Option<&str>) {
    text.split_once('#')
        .map_or((text, None), |(url, checksum)| (url, Some(checksum)))
}

/// A file's name without the endings for its format.
pub(crate) fn name_of(path: &str) -> String {
    const FORMS: [&str; 6] = [".xz", ".gz", ".zst", ".qcow2", ".img", ".raw"];
    let path = path.split(['?', '#']).next().unwrap_or(path);
    let mut name = path.rsplit('/').next().unwrap_or(path);
    for form in FORMS {
        name = name.strip_suffix(form).unwrap_or(name);
    }
    name.to_owned()
}

/// Finds an image in the store by its tag, digest or name.
///
/// # Errors
/// Fails if there is none, with the images that there are.
pub(crate) fn in_store(store: &Store, name: &str, architecture: Architecture) -> Result<Image> {
    if let Some(image) = store.named(name, architecture)? {
        return Ok(image);
    }
    let missing = format!("the store has no image `{name}` for {architecture}");
    for other in Architecture::ALL {
        match store.named(name, other)? {
            // A digest identifies an image without the architecture.
            Some(image) if name.len() >= Store::SHORTEST_ID && image.id.starts_with(name) => {
                return Ok(image);
            }
            Some(_) => bail!("{missing}; it has one for {other}, which --arch {other} chooses"),
            None => {}
        }
    }
    let there: BTreeSet<_> = (store.list()?.iter())
        .flat_map(|image| names(store, image))
        .collect();
    let there: Vec<_> = there.into_iter().collect();
    if there.is_empty() {
        bail!("{missing}; the store is empty");
    }
    bail!("{missing}; it has {}", there.join(", "))
}

/// The names of an image in the store: its tags, or else its own name.
pub(crate) fn names(store: &Store, image: &Image) -> Vec<String> {
    let tags = store.tags(&image.id);
    if tags.is_empty() {
        vec![image.name.clone()]
    } else {
        tags
    }
}

/// Whether another version of kvmc made the image and this version's `up` would not use it. That is true for an image
/// prepared by other rules, and for a template of which this version has built its own.
///
/// # Errors
/// Fails if an image cannot be read. It does not count as outdated then.
pub(crate) fn is_outdated(store: &Store, image: &Image) -> Result<bool> {
    Ok(match &image.origin {
        Origin::Prepared => {
            let parent = image.parent.as_deref().map(|id| store.get(id));
            let current = parent
                .transpose()?
                .map(|p| store.prepared(&p))
                .transpose()?;
            current.flatten().is_none_or(|c| c.id != image.id)
        }
        Origin::Built { recipe } => {
            let current = store.find(recipe)?;
            current.is_some_and(|c| c.id != image.id) && store.tags(&image.id).is_empty()
        }
        _ => false,
    })
}

/// Finds an image in the store for a cluster, by a name that the catalogue lacks.
///
/// # Errors
/// Fails if there is none, with the names that may be meant.
pub(crate) fn for_cluster(store: &Store, name: &str, architecture: Architecture) -> Result<Image> {
    if let Some(image) = store.named(name, architecture)? {
        return Ok(image);
    }
    let catalogue = catalogue()?;
    let known: Vec<_> = catalogue.entries().map(|(name, _)| name).collect();
    let nearest = known
        .iter()
        .map(|k| (strsim::damerau_levenshtein(name, k), *k))
        .min()
        .filter(|(distance, _)| *distance <= 2);
    let hint = match nearest {
        Some((_, nearest)) => format!("did you mean `{nearest}`?"),
        None => format!(
            "{} lists the images in the store; the catalogue has {}",
            host_command("image ls"),
            known.join(", ")
        ),
    };
    Err(add_hint(
        anyhow::anyhow!("image: unknown image `{name}` for {architecture}"),
        hint,
    ))
}

/// One line about an image.
pub(crate) fn line(image: &Image) -> String {
    format!(
        "{} ({}, {}, {})",
        image.name,
        image.id.get(..12).unwrap_or(&image.id),
        image.architecture,
        approximate(image.virtual_size)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hint::hints;

    #[test]
    fn the_users_catalogue_follows_the_hosts() {
        let home = |n: &str| (n == "HOME").then(|| "/home/a".to_owned());
        assert_eq!(
            files(home),
            [
                PathBuf::from("/etc/kvmc/images.toml"),
                PathBuf::from("/home/a/.config/kvmc/images.toml")
            ]
        );
    }

    #[test]
    fn bad_input_23_a_url_without_a_checksum_needs_insecure() {
        let url = "https://h/x.qcow2";
        let error = at(url, Architecture::Amd64, PullOptions::default()).unwrap_err();
        assert!(hints(&error).concat().contains("--insecure"), "{error}");
        let short = format!("{url}#sha512:{}", "a".repeat(64));
        let error = at(&short, Architecture::Amd64, PullOptions::default()).unwrap_err();
        assert!(
            format!("{error:#}").contains("128 hex digits, got 64"),
            "{error:#}"
        );
        let whole = format!("{url}#sha256:{}", "a".repeat(64));
        let pull = at(&whole, Architecture::Amd64, PullOptions::default()).unwrap();
        assert_eq!((pull.url.as_str(), pull.name.as_str()), (url, "x"));
        assert_eq!(name_of("/a/b.raw.xz"), "b");
    }
}
