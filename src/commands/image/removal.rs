//! What of images goes, and what keeps it.

use anyhow::{Result, bail};
use kvmc_images::{Image, Store};

use crate::commands::Scene;
use crate::image;
use crate::output;
use crate::spec::approximate;
use crate::state::ClusterRecord;
use crate::warm;

pub(super) fn remove(scene: &Scene, store: &Store, image: &Image) -> Result<()> {
    let users = users(scene, store, &image.id)?;
    if !users.is_empty() {
        bail!(
            "image {} is used by {}; remove that first",
            image.id,
            users.join(", ")
        );
    }
    let frozen = warm::Store::open(scene.state.root());
    let of_it = frozen.list()?;
    let of_it: Vec<_> = of_it
        .iter()
        .filter(|f| f.shape().image == image.id)
        .collect();
    frozen.prune(|name| of_it.iter().all(|f| f.id != name))?;
    Ok(store.remove(&image.id)?)
}

pub(super) fn prune(scene: &Scene, store: &Store, all: bool) -> Result<()> {
    let frozen = warm::Store::open(scene.state.root());
    // What is frozen of an image that goes is to go before it.
    let mut images = Vec::new();
    for image in store.list()? {
        if !image::is_outdated(store, &image)? {
            images.push(image);
        }
    }
    let current: Vec<_> = frozen
        .list()?
        .into_iter()
        .filter(|f| images.iter().any(|i| f.shape().is_current(i)))
        .map(|f| f.id)
        .collect();
    let keep =
        |id: &str| !sleepers(scene, id).is_empty() || (!all && current.iter().any(|c| c == id));
    let (gone, mut bytes) = frozen.prune(keep)?;
    for id in &gone {
        output::talk(&format!("removed the frozen machine {id}"));
    }
    bytes += store.sweep_pulls()?;
    bytes += prune_images(scene, store, |image| {
        Ok(all || image::is_outdated(store, image)?)
    })?;
    if bytes == 0 {
        output::talk("nothing to remove");
    } else {
        output::talk(&format!("{} freed", approximate(bytes)));
    }
    Ok(())
}

/// Removes images that nothing uses and that are `doomed`, children before the parents that then are
/// used by nothing.
fn prune_images(
    scene: &Scene,
    store: &Store,
    doomed: impl Fn(&Image) -> Result<bool>,
) -> Result<u64> {
    let mut bytes = 0;
    loop {
        let mut unused = Vec::new();
        for image in store.list()? {
            if doomed(&image)? && users(scene, store, &image.id)?.is_empty() {
                unused.push(image);
            }
        }
        if unused.is_empty() {
            return Ok(bytes);
        }
        for image in unused {
            bytes += store.size(&image);
            store.remove(&image.id)?;
            output::talk(&format!("removed the image {}", image::line(&image)));
        }
    }
}

/// The clusters with a node whose disk lies on a frozen machine's.
pub(super) fn sleepers(scene: &Scene, id: &str) -> Vec<String> {
    clusters(scene, |r| {
        r.nodes.iter().any(|n| n.frozen.as_deref() == Some(id))
    })
}

/// What lies on an image: clusters, and other images.
pub(super) fn users(scene: &Scene, store: &Store, id: &str) -> Result<Vec<String>> {
    let of_it = |r: &ClusterRecord| r.image == id || r.nodes.iter().any(|n| r.image_of(n) == id);
    let mut users: Vec<_> = clusters(scene, of_it)
        .into_iter()
        .map(|name| format!("cluster {name}"))
        .collect();
    if store.is_held(id) {
        users.push("another kvmc at this moment".to_owned());
    }
    for child in store.children(id)? {
        users.push(format!("image {}", child.get(..12).unwrap_or(&child)));
    }
    Ok(users)
}

/// The clusters that `uses` is true of; one whose record cannot be read may be among them.
fn clusters(scene: &Scene, uses: impl Fn(&ClusterRecord) -> bool) -> Vec<String> {
    scene
        .state
        .cluster_names()
        .into_iter()
        .filter(
            |name| match ClusterRecord::load(&scene.state.cluster(name)) {
                Ok(record) => record.is_some_and(|r| uses(&r)),
                Err(_) => true,
            },
        )
        .collect()
}
