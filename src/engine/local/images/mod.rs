//! The store of images, which all clusters of a state folder share.

mod listing;
mod removal;

use std::path::Path;

use anyhow::{Context, Result, bail};
use kvmc_images::{Architecture, Boot, Image, ImportedArchive, Store, download, is_archive};

pub(crate) use self::listing::catalogue;
pub(super) use self::removal::Prunable;
use super::Local;
use super::preflight::fail_on;
use crate::hint::{add_hint, bail_with_hint, host_command};
use crate::host;
use crate::image::{self, PullOptions, build, recipe};
use crate::interrupt::Interrupt;
use crate::model::{ImageExport, Interrupted};
use crate::spec::{Settings, approximate, check};
use crate::warm;

/// A request to download an image.
#[derive(Debug)]
pub(crate) struct PullRequest {
    /// A name from the catalogue, or a URL.
    pub(crate) image: String,
    pub(crate) take: ImportRequest,
    /// URL of the publisher's list of checksums.
    pub(crate) sums: Option<String>,
    /// Accept an image without a checksum or signature.
    pub(crate) insecure: bool,
}

/// A request to import an image.
#[derive(Debug, Default)]
pub(crate) struct ImportRequest {
    /// A name for the image, in addition to its digest.
    pub(crate) tag: Option<String>,
    /// `None` means the host's architecture.
    pub(crate) architecture: Option<String>,
    /// Firmware that boots the image, `bios` or `uefi`.
    pub(crate) firmware: Option<String>,
}

impl Local {
    pub(super) fn store(&self) -> Store {
        Store::open(self.state.root())
    }

    pub(super) fn frozen(&self) -> warm::Store {
        warm::Store::open(self.state.root())
    }

    /// Returns the template that `up` would use, and builds it if it is missing.
    ///
    /// # Errors
    /// Fails if the template cannot be built, or if it was [`Interrupted`].
    pub(crate) fn build_template(&self, settings: &Settings, tag: Option<&str>) -> Result<String> {
        let store = self.store();
        check_tag(&store, tag)?;
        let recipe = recipe(&check(settings)?)?;
        let image = match store.find(&recipe)? {
            Some(image) => image,
            None => {
                fail_on(&host::build_tools(recipe.architecture))?;
                let interrupt = Interrupt::listen()?;
                match build(&store, &recipe, self.progress.as_ref()) {
                    Err(_) if interrupt.came() => {
                        let now = "the unfinished template was removed".to_owned();
                        return Err(Interrupted(now).into());
                    }
                    image => image?,
                }
            }
        };
        finish(&store, &image, tag)
    }

    /// Downloads an image or its newest version, and returns its digest.
    ///
    /// # Errors
    /// Fails if the image cannot be downloaded or verified, or if it was [`Interrupted`].
    pub(crate) async fn pull_image(&self, request: PullRequest) -> Result<String> {
        let mut interrupt = Interrupt::listen()?;
        let pulled = tokio::select! {
            biased;
            pulled = self.pull(request) => pulled,
            () = interrupt.wait() => Err(anyhow::anyhow!("interrupted")),
        };
        match pulled {
            Err(_) if interrupt.came() => Err(Interrupted(
                "no image was made; the next pull resumes the download".to_owned(),
            )
            .into()),
            pulled => pulled,
        }
    }

    async fn pull(&self, request: PullRequest) -> Result<String> {
        let PullRequest {
            image: name,
            take,
            sums,
            insecure,
        } = request;
        let store = self.store();
        let architecture = architecture(take.architecture.as_deref())?;
        check_tag(&store, take.tag.as_deref())?;
        let asked = PullOptions {
            refresh: true,
            insecure: insecure || sums.is_some(),
        };
        let mut pull = match image::named(&name, architecture, asked)? {
            Some(pull) => pull,
            None if name.contains("://") => image::at(&name, architecture, asked)?,
            None => {
                let ls = host_command("image ls --catalogue");
                return Err(add_hint(
                    anyhow::anyhow!(
                        "unknown image `{name}`; expected a name from the catalogue or a URL"
                    ),
                    format!("{ls} lists the catalogue"),
                ));
            }
        };
        if let Some(sums) = sums {
            pull.verification = download::Verification::Listed {
                sums,
                signature: None,
                keyrings: Vec::new(),
            };
        }
        if take.firmware.is_some() {
            pull.boot = firmware(take.firmware.as_deref(), architecture)?;
        }
        let image = image::pull(&store, &pull, self.progress.as_ref()).await?;
        finish(&store, &image, take.tag.as_deref())
    }

    /// Imports an image from a file, and returns its digest.
    ///
    /// # Errors
    /// Fails if the file cannot be used, or if it was [`Interrupted`].
    pub(crate) fn import_image(&self, file: &Path, request: &ImportRequest) -> Result<String> {
        let interrupt = Interrupt::listen()?;
        match self.import(file, request) {
            Err(_) if interrupt.came() => Err(Interrupted("no image was made".to_owned()).into()),
            imported => imported,
        }
    }

    fn import(&self, file: &Path, request: &ImportRequest) -> Result<String> {
        let store = self.store();
        check_tag(&store, request.tag.as_deref())?;
        if is_archive(file)? {
            return self.import_archive(&store, file, request);
        }
        let architecture = architecture(request.architecture.as_deref())?;
        let boot = firmware(request.firmware.as_deref(), architecture)?;
        let path = std::path::absolute(file)?;
        let name = image::name_of(&path.display().to_string());
        let image = download::import(&store, &path, &name, architecture, boot)
            .map_err(image::with_cure)
            .with_context(|| format!("{} cannot be used", file.display()))?;
        self.progress.say(&image::line(&image));
        finish(&store, &image, request.tag.as_deref())
    }

    /// Imports an archive from `export`, under its own name unless another is given.
    fn import_archive(
        &self,
        store: &Store,
        file: &Path,
        request: &ImportRequest,
    ) -> Result<String> {
        if request.architecture.is_some() || request.firmware.is_some() {
            bail_with_hint!(
                "leave out --arch and --firmware",
                "{} states its own architecture and firmware",
                file.display()
            );
        }
        let ImportedArchive { image, tag } = store
            .unpack(file)
            .map_err(image::with_cure)
            .with_context(|| format!("{} cannot be used", file.display()))?;
        self.progress.say(&image::line(&image));
        let mut name = request.tag.clone();
        if let (None, Some(tag)) = (&name, tag) {
            let taken = store.named(&tag, image.architecture)?;
            if taken.as_ref().is_some_and(|t| t.id != image.id) || image::catalogue()?.has(&tag) {
                self.progress.say(&format!(
                    "its tag `{tag}` names another image here, so it has no tag; `-t NAME` gives it one"
                ));
            } else {
                name = Some(tag);
            }
        }
        finish(store, &image, name.as_deref())
    }

    /// Writes an image and its backing files to one file. Also returns a line about it.
    ///
    /// # Errors
    /// Fails if there is no such image, if the file cannot be written, or if it was [`Interrupted`].
    pub(crate) fn export_image(
        &self,
        name: &str,
        asked: Option<&str>,
        file: &Path,
    ) -> Result<(ImageExport, String)> {
        let store = self.store();
        let image = image::in_store(&store, name, architecture(asked)?)?;
        let interrupt = Interrupt::listen()?;
        match store.export(&image, file) {
            Err(_) if interrupt.came() => {
                let now = "the unfinished file was removed".to_owned();
                return Err(Interrupted(now).into());
            }
            exported => exported?,
        }
        let size = std::fs::metadata(file).map_or(0, |m| m.len());
        let words = approximate(size);
        let words = format!("{} in {}, {words}", image::line(&image), file.display());
        let exported = ImageExport {
            image: image.id,
            file: file.to_owned(),
            size,
        };
        Ok((exported, words))
    }
}

/// The requested architecture, or the host's.
pub(super) fn architecture(asked: Option<&str>) -> Result<Architecture> {
    match asked {
        Some(asked) => Ok(asked.parse()?),
        None => Architecture::host()
            .context("the host's architecture is not supported; choose one with --arch"),
    }
}

fn firmware(asked: Option<&str>, architecture: Architecture) -> Result<Boot> {
    match asked {
        None => Ok(image::firmware(architecture)),
        Some("bios") if architecture == Architecture::Amd64 => Ok(Boot::Bios),
        Some("uefi") => Ok(Boot::Uefi),
        Some(other) => {
            bail!(
                "unknown firmware `{other}` for {architecture}; expected bios (amd64 only) or uefi"
            )
        }
    }
}

/// Refuses a tag that the catalogue uses, because one would hide the other.
pub(super) fn check_tag(store: &Store, tag: Option<&str>) -> Result<()> {
    let Some(tag) = tag else { return Ok(()) };
    store.check_tag(tag)?;
    if image::catalogue()?.has(tag) {
        bail_with_hint!(
            "choose another tag",
            "the tag `{tag}` is a name in the catalogue"
        );
    }
    Ok(())
}

/// Tags an image, and returns its digest.
pub(super) fn finish(store: &Store, image: &Image, tag: Option<&str>) -> Result<String> {
    if let Some(tag) = tag {
        store.tag(image, tag)?;
    }
    Ok(image.id.clone())
}
