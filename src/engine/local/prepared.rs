//! Cloud images in the place of which new nodes get what was prepared of them, so that they can wake.

use anyhow::Result;
use kvmc_images::{Guest, Image, Store};

use crate::image::Images;
use crate::model::Accelerator;
use crate::model::Progress;
use crate::state::ClusterRecord;
use crate::warm;

/// The roles whose nodes are all new, with their images, where these have no agent.
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
/// An image that cannot be read.
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

/// The images with those in the place of cloud images that were prepared, now or before. What cannot be
/// prepared is said in a line, and its nodes boot from it as it is.
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
                    "preparing {} (once: its first start, with kvmc's agent added, so that nodes wake)",
                    image.name
                ));
                warm::prepare(frozen, store, &image, accelerator).await
            }
        };
        match prepared {
            Ok(prepared) => images.replace(&role, prepared),
            Err(e) => {
                progress.say(&format!(
                    "nodes of {} boot, and cannot wake: {e:#}",
                    image.name
                ));
                refused.push(image.id);
            }
        }
    }
    images
}
