//! Names and addresses as downloads: the catalogue, ours with the user's over it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use kvmc_images::download::{Catalogue, Pull, Source, Verification};
use kvmc_images::{Architecture, Boot, Image, Origin, Store};

use crate::hint::{advise, host_command};
use crate::spec::approximate;

/// How images are asked for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Asked {
    /// Look whether the publisher has a newer one.
    pub(crate) refresh: bool,
    /// Take what cannot be verified.
    pub(crate) insecure: bool,
}

/// The catalogue, with the host's and the user's files over ours.
///
/// # Errors
/// A file that is wrong, with its line.
pub(crate) fn catalogue() -> Result<Catalogue> {
    let mut catalogue = Catalogue::built_in()?;
    for path in files(|name| std::env::var(name).ok()) {
        match std::fs::read_to_string(&path) {
            Ok(text) => catalogue = catalogue.with(&path, &text)?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(e).context(format!("failed to read {}", path.display())),
        }
    }
    Ok(catalogue)
}

/// The user's catalogues, the last of which wins.
fn files(read: impl Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let set = |name: &str| read(name).filter(|v| !v.is_empty());
    let config = set("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&set("HOME")?).join(".config")));
    let mut files = vec![PathBuf::from("/etc/kvmc/images.toml")];
    files.extend(config.map(|dir| dir.join("kvmc/images.toml")));
    files
}

/// What firmware an image of an architecture is booted by, unless it says otherwise.
pub(crate) const fn firmware(architecture: Architecture) -> Boot {
    match architecture {
        Architecture::Amd64 => Boot::Bios,
        Architecture::Arm64 => Boot::Uefi,
    }
}

/// The download that a name of the catalogue stands for; `None` where it has no such name.
///
/// # Errors
/// A catalogue that is wrong, or that has the name for another architecture only.
pub(crate) fn named(name: &str, architecture: Architecture, asked: Asked) -> Result<Option<Pull>> {
    let catalogue = catalogue()?;
    if !catalogue.has(name) {
        return Ok(None);
    }
    let source = catalogue
        .get(name, architecture)
        .with_context(|| format!("image: the catalogue has no `{name}` for {architecture}"))?;
    pull(name, source, architecture, asked).map(Some)
}

fn pull(name: &str, source: &Source, architecture: Architecture, asked: Asked) -> Result<Pull> {
    let verification = match source.verification() {
        Some(verification) => verification,
        None if asked.insecure => Verification::Insecure,
        None => bail!(
            "image: the catalogue names no checksums for `{name}`; add `sums` or `checksum` to it, or pass --insecure"
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

/// The download of an address, `URL` or `URL#sha256:…`.
///
/// # Errors
/// No checksum, and no leave to do without.
pub(crate) fn at(text: &str, architecture: Architecture, asked: Asked) -> Result<Pull> {
    let (url, checksum) = split(text);
    let verification = match checksum {
        Some(checksum) => Verification::Given(
            checksum
                .parse()
                .with_context(|| format!("image: the checksum of {url} is none"))?,
        ),
        None if asked.insecure => Verification::Insecure,
        None => bail!(
            "image: {url} has no checksum to verify it by; write it as {url}#sha256:DIGITS, name the publisher's list with `image pull --sums`, or pass --insecure"
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

/// The image of an address that is in the store, however it was verified.
///
/// # Errors
/// One that cannot be read.
pub(crate) fn pulled(
    store: &Store,
    text: &str,
    architecture: Architecture,
) -> Result<Option<Image>> {
    let asked = Asked {
        insecure: true,
        refresh: false,
    };
    Ok(at(text, architecture, asked)?.find(store)?)
}

/// An address and the checksum behind its `#`.
fn split(text: &str) -> (&str, Option<&str>) {
    text.split_once('#')
        .map_or((text, None), |(url, checksum)| (url, Some(checksum)))
}

/// A file's name without what says its form.
pub(crate) fn name_of(path: &str) -> String {
    const FORMS: [&str; 6] = [".xz", ".gz", ".zst", ".qcow2", ".img", ".raw"];
    let path = path.split(['?', '#']).next().unwrap_or(path);
    let mut name = path.rsplit('/').next().unwrap_or(path);
    for form in FORMS {
        name = name.strip_suffix(form).unwrap_or(name);
    }
    name.to_owned()
}

/// An image of the store by tag, digest or name.
///
/// # Errors
/// That there is none, and what there is.
pub(crate) fn in_store(store: &Store, name: &str, architecture: Architecture) -> Result<Image> {
    if let Some(image) = store.named(name, architecture)? {
        return Ok(image);
    }
    let missing = format!("there is no image `{name}` for {architecture} in the store");
    for other in Architecture::ALL {
        match store.named(name, other)? {
            // A digest says which without the architecture.
            Some(image) if name.len() >= Store::SHORTEST_ID && image.id.starts_with(name) => {
                return Ok(image);
            }
            Some(_) => bail!("{missing}; there is one for {other}, with --arch {other}"),
            None => {}
        }
    }
    let there: BTreeSet<_> = (store.list()?.iter())
        .flat_map(|image| names(store, image))
        .collect();
    let there: Vec<_> = there.into_iter().collect();
    if there.is_empty() {
        bail!("{missing}; it is empty");
    }
    bail!("{missing}; it has {}", there.join(", "))
}

/// What an image of the store is called: its tags, and its own name where it has none.
pub(crate) fn names(store: &Store, image: &Image) -> Vec<String> {
    let tags = store.tags(&image.id);
    if tags.is_empty() {
        vec![image.name.clone()]
    } else {
        tags
    }
}

/// Whether another version of kvmc made it, and no `up` of this one would take it by itself: a cloud image prepared
/// otherwise, or a template of which this version has built its own.
///
/// # Errors
/// An image that cannot be read; nothing is called outdated for that.
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

/// An image of the store that a cluster is to lie on, by a name that the catalogue does not have.
///
/// # Errors
/// That there is none, and what could be meant.
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
            "{} shows those that there are; the catalogue has {}",
            host_command("image ls"),
            known.join(", ")
        ),
    };
    Err(advise(
        anyhow::anyhow!("image: there is no image `{name}` for {architecture}"),
        hint,
    ))
}

/// One line about an image, for people.
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

    #[test]
    fn the_users_catalogue_is_beside_the_hosts() {
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
    fn bad_input_23_an_address_without_a_checksum_wants_leave() {
        let url = "https://h/x.qcow2";
        let error = at(url, Architecture::Amd64, Asked::default()).unwrap_err();
        assert!(error.to_string().contains("--insecure"), "{error}");
        let short = format!("{url}#sha512:{}", "a".repeat(64));
        let error = at(&short, Architecture::Amd64, Asked::default()).unwrap_err();
        assert!(
            format!("{error:#}").contains("128 hex digits, got 64"),
            "{error:#}"
        );
        let whole = format!("{url}#sha256:{}", "a".repeat(64));
        let pull = at(&whole, Architecture::Amd64, Asked::default()).unwrap();
        assert_eq!((pull.url.as_str(), pull.name.as_str()), (url, "x"));
        assert_eq!(name_of("/a/b.raw.xz"), "b");
    }
}
