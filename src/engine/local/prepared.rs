//! Prepared images: cloud images with kvmc's agent, from which new nodes can wake.

use anyhow::Result;
use kvmc_images::{Guest, Image, Store};

use crate::image::Images;
use crate::model::Accelerator;
use crate::model::Progress;
use crate::state::ClusterRecord;
use crate::warm;

/// The roles whose nodes are all new and whose images have no agent.
fn without_agent<'a>(
    images: &'a Images,
    existing: Option<&'a ClusterRecord>,
) -> impl Iterator<Item = (&'a str, &'a Image)> {
    let is_new = move |role: &str| existing.is_none_or(|r| r.nodes.iter().all(|n| n.role != role));
    images
        .by_role()
        .filter(move |(role, image)| image.guest == Guest::CloudInit && is_new(role))
}

/// The names of the images that `up` would prepare.
///
/// # Errors
/// Fails if an image cannot be read.
pub(super) fn unprepared(
    images: &Images,
    store: &Store,
    existing: Option<&ClusterRecord>,
) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for (_, image) in without_agent(images, existing) {
        if store.prepared(image)?.is_none() && !names.contains(&image.name) {
            names.push(image.name.clone());
        }
    }
    Ok(names)
}

/// Replaces cloud images by prepared ones, and prepares those that are missing. If an image cannot be prepared, a line
/// says so and its nodes boot from the cloud image.
pub(super) async fn prepare_images(
    mut images: Images,
    store: &Store,
    frozen: &warm::Store,
    existing: Option<&ClusterRecord>,
    accelerator: &Accelerator,
    progress: &dyn Progress,
) -> Images {
    let all: Vec<(String, Image)> = without_agent(&images, existing)
        .map(|(role, image)| (role.to_owned(), image.clone()))
        .collect();
    let mut refused: Vec<String> = Vec::new();
    for (role, image) in all {
        if refused.contains(&image.id) {
            continue;
        }
        let prepared = match store.prepared(&image) {
            Ok(Some(prepared)) => Ok(prepared),
            _ => {
                progress.say(&format!(
                    "preparing {}; its first start is done once, with kvmc's agent added, so that nodes can wake",
                    image.name
                ));
                let what = format!("preparing {}", image.name);
                progress.begin(&what);
                let prepared = warm::prepare(frozen, store, &image, accelerator).await;
                progress.finish(&what);
                prepared
            }
        };
        match prepared {
            Ok(prepared) => images.replace(&role, prepared),
            Err(e) => {
                progress.say(&format!(
                    "nodes of {} boot instead of waking: {e:#}",
                    image.name
                ));
                refused.push(image.id);
            }
        }
    }
    images
}
