//! Makes a missing image and reports the progress.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result};
use kvmc_images::download::{self, Event, Pull};
use kvmc_images::{Architecture, Image, ImageError, Recipe, Store};

use super::source::{firmware, is_outdated, line, name_of};
use crate::hint::{add_hint, host_command};
use crate::model::Progress;

/// The work that makes an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Make {
    Build(Recipe),
    Pull(Pull),
    Import {
        path: PathBuf,
        architecture: Architecture,
    },
}

impl std::fmt::Display for Make {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Build(recipe) => write!(f, "build the template {}", recipe.name()),
            Self::Pull(pull) => write!(f, "download the image {} from {}", pull.name, pull.url),
            Self::Import { path, .. } => write!(f, "copy the image {}", path.display()),
        }
    }
}

/// Carries out the work.
///
/// # Errors
/// Fails if the image cannot be made.
pub(crate) async fn make(store: &Store, make: &Make, progress: &dyn Progress) -> Result<Image> {
    match make {
        Make::Build(recipe) => build(store, recipe, progress),
        Make::Pull(pull) => self::pull(store, pull, progress).await,
        Make::Import { path, architecture } => {
            progress.say(&format!("copying {} into the store", path.display()));
            let name = name_of(&path.display().to_string());
            let boot = firmware(*architecture);
            download::import(store, path, &name, *architecture, boot)
                .map_err(with_cure)
                .with_context(|| format!("image: {} cannot be used", path.display()))
        }
    }
}

/// Builds a template and reports the slow steps.
///
/// # Errors
/// Fails with the program that failed.
pub(crate) fn build(store: &Store, recipe: &Recipe, progress: &dyn Progress) -> Result<Image> {
    let began = Instant::now();
    progress.say(&format!(
        "building the template {}; it is done once for all clusters",
        recipe.name()
    ));
    let what = format!("building the template {}", recipe.name());
    progress.begin(&what);
    let built = store.build(recipe, &mut |what| progress.say(&format!("  {what}")));
    progress.finish(&what);
    let image = built.context("the template cannot be built")?;
    progress.say(&format!(
        "template {} built in {}",
        image.name,
        seconds(began.elapsed())
    ));
    let is_before = |i: &Image| {
        i.origin == image.origin && is_outdated(store, i).is_ok_and(|outdated| outdated)
    };
    // An error about another, damaged image must not fail this build.
    if store.list().is_ok_and(|all| all.iter().any(is_before)) {
        progress.say(&format!(
            "  the template of another version of kvmc is outdated; {} removes it",
            host_command("image prune")
        ));
    }
    Ok(image)
}

/// Downloads an image.
///
/// # Errors
/// Fails with the URL and the reason.
pub(crate) async fn pull(store: &Store, pull: &Pull, progress: &dyn Progress) -> Result<Image> {
    let began = Instant::now();
    progress.say(&format!("downloading {} from {}", pull.name, pull.url));
    if pull.verification == download::Verification::Insecure {
        progress.say("  --insecure: the image is not verified against its publisher's checksum");
    }
    let image = pull
        .run(store, &mut |event| match event {
            Event::Say(text) => progress.say(&format!("  {text}")),
            Event::Bytes { done, total } => progress.transfer(&pull.name, done, total),
        })
        .await
        .map_err(with_cure)
        .context("the image cannot be downloaded")?;
    progress.say(&format!("{} in {}", line(&image), seconds(began.elapsed())));
    Ok(image)
}

/// Adds what makes a usable image of an unusable one.
pub(crate) fn with_cure(error: ImageError) -> Error {
    match error.cure().map(str::to_owned) {
        Some(cure) => add_hint(error.into(), cure),
        None => error.into(),
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
