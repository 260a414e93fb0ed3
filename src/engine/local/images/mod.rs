//! The store of images, which all clusters of a state folder share: what comes in, what is in it, what goes.

mod listing;
mod removal;

use std::path::Path;

use anyhow::{Context, Result, bail};
use kvmc_images::{Architecture, Boot, Image, ImportedArchive, Store, download, is_archive};

pub(crate) use self::listing::catalogue;
use super::Local;
use super::preflight::fail_on;
use crate::hint::{advise, host_command};
use crate::host;
use crate::image::{self, Asked, build, recipe};
use crate::interrupt::Interrupt;
use crate::model::Interrupted;
use crate::spec::{Settings, approximate, check};
use crate::warm;

/// An image that is to be downloaded.
#[derive(Debug)]
pub(crate) struct PullRequest {
    /// A name of the catalogue, or an address.
    pub(crate) image: String,
    pub(crate) take: ImportRequest,
    /// Address of the publisher's list of checksums.
    pub(crate) sums: Option<String>,
    /// Take it though nothing can verify it.
    pub(crate) insecure: bool,
}

/// What an image that is taken is to be.
#[derive(Debug, Default)]
pub(crate) struct ImportRequest {
    /// A name for it, besides its digest.
    pub(crate) tag: Option<String>,
    /// The host's where there is none.
    pub(crate) architecture: Option<String>,
    /// What boots it: bios or uefi.
    pub(crate) firmware: Option<String>,
}

impl Local {
    pub(super) fn store(&self) -> Store {
        Store::open(self.state.root())
    }

    pub(super) fn frozen(&self) -> warm::Store {
        warm::Store::open(self.state.root())
    }

    /// The template that `up` would use; built where it is not there.
    ///
    /// # Errors
    /// What kept it from being built; that it was [`Interrupted`].
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
                        let now = "nothing is left of the template".to_owned();
                        return Err(Interrupted(now).into());
                    }
                    image => image?,
                }
            }
        };
        finish(&store, &image, tag)
    }

    /// Downloads an image, or its newest version; its digest.
    ///
    /// # Errors
    /// What kept it from being had; that it was [`Interrupted`].
    pub(crate) async fn pull_image(&self, request: PullRequest) -> Result<String> {
        let mut interrupt = Interrupt::listen()?;
        let pulled = tokio::select! {
            biased;
            pulled = self.pull(request) => pulled,
            () = interrupt.wait() => Err(anyhow::anyhow!("interrupted")),
        };
        match pulled {
            Err(_) if interrupt.came() => Err(Interrupted(
                "no image was made, and the next pull goes on with what came".to_owned(),
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
        let asked = Asked {
            refresh: true,
            insecure: insecure || sums.is_some(),
        };
        let mut pull = match image::named(&name, architecture, asked)? {
            Some(pull) => pull,
            None if name.contains("://") => image::at(&name, architecture, asked)?,
            None => {
                let ls = host_command("image ls --catalogue");
                return Err(advise(
                    anyhow::anyhow!("the catalogue has no `{name}`"),
                    format!("{ls} shows it, and an address can be pulled too"),
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

    /// Takes an image from a file; its digest.
    ///
    /// # Errors
    /// A file that cannot be used; that it was [`Interrupted`].
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
            .with_context(|| format!("{} cannot be used", file.display()))?;
        self.progress.say(&image::line(&image));
        finish(&store, &image, request.tag.as_deref())
    }

    /// Takes what `export` wrote, under its name there unless another is asked for, or has it here.
    fn import_archive(
        &self,
        store: &Store,
        file: &Path,
        request: &ImportRequest,
    ) -> Result<String> {
        if request.architecture.is_some() || request.firmware.is_some() {
            bail!(
                "{} says itself what architecture and firmware it is for; leave --arch and --firmware out",
                file.display()
            );
        }
        let ImportedArchive { image, tag } = store
            .unpack(file)
            .with_context(|| format!("{} cannot be used", file.display()))?;
        self.progress.say(&image::line(&image));
        let mut name = request.tag.clone();
        if let (None, Some(tag)) = (&name, tag) {
            let taken = store.named(&tag, image.architecture)?;
            if taken.as_ref().is_some_and(|t| t.id != image.id) || image::catalogue()?.has(&tag) {
                self.progress.say(&format!(
                    "it was called `{tag}`, which is another image's name here; `-t NAME` gives it one"
                ));
            } else {
                name = Some(tag);
            }
        }
        finish(store, &image, name.as_deref())
    }

    /// Writes an image, and all that it lies on, to one file; a line about it.
    ///
    /// # Errors
    /// No such image, or a file that cannot be written; that it was [`Interrupted`].
    pub(crate) fn export_image(
        &self,
        name: &str,
        asked: Option<&str>,
        file: &Path,
    ) -> Result<String> {
        let store = self.store();
        let image = image::in_store(&store, name, architecture(asked)?)?;
        let interrupt = Interrupt::listen()?;
        match store.export(&image, file) {
            Err(_) if interrupt.came() => {
                let now = "nothing of the file is left".to_owned();
                return Err(Interrupted(now).into());
            }
            exported => exported?,
        }
        let size = std::fs::metadata(file).map_or(0, |m| m.len());
        let (line, size) = (image::line(&image), approximate(size));
        Ok(format!("{line} in {}, {size}", file.display()))
    }
}

/// The architecture asked for, or the host's.
pub(super) fn architecture(asked: Option<&str>) -> Result<Architecture> {
    match asked {
        Some(asked) => Ok(asked.parse()?),
        None => Architecture::host().context("say which architecture with --arch"),
    }
}

fn firmware(asked: Option<&str>, architecture: Architecture) -> Result<Boot> {
    match asked {
        None => Ok(image::firmware(architecture)),
        Some("bios") if architecture == Architecture::Amd64 => Ok(Boot::Bios),
        Some("uefi") => Ok(Boot::Uefi),
        Some(other) => {
            bail!("firmware: {architecture} has no `{other}`; bios (amd64) and uefi are known")
        }
    }
}

/// A tag that the catalogue has would hide one of the two.
pub(super) fn check_tag(store: &Store, tag: Option<&str>) -> Result<()> {
    let Some(tag) = tag else { return Ok(()) };
    store.check_tag(tag)?;
    if image::catalogue()?.has(tag) {
        bail!("the catalogue has the name `{tag}`; take another one");
    }
    Ok(())
}

/// Gives an image its tag; its digest.
pub(super) fn finish(store: &Store, image: &Image, tag: Option<&str>) -> Result<String> {
    if let Some(tag) = tag {
        store.tag(image, tag)?;
    }
    Ok(image.id.clone())
}
