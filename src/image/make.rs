//! Making an image that is not there, with what is said meanwhile.

use std::time::Instant;

use anyhow::{Context, Result};
use kvmc_images::download::{self, Event, Pull};
use kvmc_images::{Image, Recipe, Store};

use super::Make;
use super::source::{firmware, is_outdated, line, name_of};
use crate::output::{self, Transfer, seconds};

/// Makes it.
///
/// # Errors
/// Why it cannot be had.
pub(crate) async fn make(store: &Store, make: &Make) -> Result<Image> {
    match make {
        Make::Build(recipe) => build(store, recipe),
        Make::Pull(pull) => self::pull(store, pull).await,
        Make::Import { path, architecture } => {
            output::talk(&format!("copying {} into the store", path.display()));
            let name = name_of(&path.display().to_string());
            let boot = firmware(*architecture);
            download::import(store, path, &name, *architecture, boot)
                .with_context(|| format!("image: {} cannot be used", path.display()))
        }
    }
}

/// Builds a template, saying what takes so long.
///
/// # Errors
/// The program that failed.
pub(crate) fn build(store: &Store, recipe: &Recipe) -> Result<Image> {
    let began = Instant::now();
    output::talk(&format!(
        "building the template {} (once; it stays for the next clusters)",
        recipe.name()
    ));
    let image = store
        .build(recipe, &mut |what| output::talk(&format!("  {what}")))
        .context("failed to build the template")?;
    output::talk(&format!(
        "template {} built in {}",
        image.name,
        seconds(began.elapsed())
    ));
    let is_before = |i: &Image| {
        i.origin == image.origin && is_outdated(store, i).is_ok_and(|outdated| outdated)
    };
    // A damaged image of something else is no reason to stop who has a template now.
    if store.list().is_ok_and(|all| all.iter().any(is_before)) {
        output::talk(
            "  the one that another version of kvmc built is outdated: `kvmc image prune` removes it",
        );
    }
    Ok(image)
}

/// Downloads an image.
///
/// # Errors
/// The address with what went wrong.
pub(crate) async fn pull(store: &Store, pull: &Pull) -> Result<Image> {
    let began = Instant::now();
    output::talk(&format!("downloading {} from {}", pull.name, pull.url));
    if pull.verification == download::Verification::Insecure {
        output::talk("  --insecure: nothing tells whether it is what its publisher made");
    }
    let mut transfer = Transfer::new(&pull.name);
    let image = pull
        .run(store, &mut |event| match event {
            Event::Say(text) => transfer.say(&format!("  {text}")),
            Event::Bytes { done, total } => transfer.bytes(done, total),
        })
        .await
        .context("failed to download an image")?;
    drop(transfer);
    output::talk(&format!("{} in {}", line(&image), seconds(began.elapsed())));
    Ok(image)
}
