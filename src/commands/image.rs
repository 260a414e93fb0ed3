//! `image`.

use std::process::ExitCode;

use anyhow::{Result, bail};
use kvmc_images::Store;

use super::Scene;
use super::up::build;
use crate::cli::ImageCommand;
use crate::image::recipe;
use crate::output;
use crate::spec::{approximate, check};
use crate::state::ClusterRecord;
use crate::warm;

pub(super) fn run(scene: &Scene, command: ImageCommand) -> Result<ExitCode> {
    let store = Store::open(scene.state.root());
    match command {
        ImageCommand::Build { flags } => {
            let recipe = recipe(&check(&scene.settings(&flags)?)?)?;
            let image = match store.find(&recipe)? {
                Some(image) => image,
                None => build(&store, &recipe)?,
            };
            output::data(&format!("{}\n", image.id));
        }
        ImageCommand::Ls => list(scene, &store)?,
        ImageCommand::Rm { id } => {
            let users = users(scene, &id);
            if !users.is_empty() {
                bail!(
                    "image {id} is used by cluster {}; `kvmc down` first",
                    users.join(", ")
                );
            }
            store.get(&id)?;
            let frozen = warm::Store::open(scene.state.root());
            let of_it = frozen.list()?;
            let of_it: Vec<_> = of_it.iter().filter(|f| f.shape().image == id).collect();
            frozen.prune(|name| of_it.iter().all(|f| f.id != name))?;
            store.remove(&id)?;
        }
        ImageCommand::Prune { all } => prune(scene, &store, all)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(scene: &Scene, store: &Store) -> Result<()> {
    let mut rows = Vec::new();
    let frozen = warm::Store::open(scene.state.root()).list()?;
    for image in store.list()? {
        rows.push(vec![
            image.id.clone(),
            image.name.clone(),
            approximate(image.virtual_size),
            users(scene, &image.id).join(" "),
        ]);
        for frozen in frozen.iter().filter(|f| f.shape().image == image.id) {
            rows.push(vec![
                format!("  {}", frozen.id),
                format!("frozen, {}, disk {}", frozen.shape(), frozen.disk_size()),
                approximate(frozen.size()),
                sleepers(scene, &frozen.id).join(" "),
            ]);
        }
    }
    output::data(&output::table(&["IMAGE", "NAME", "SIZE", "USED BY"], &rows));
    Ok(())
}

fn prune(scene: &Scene, store: &Store, all: bool) -> Result<()> {
    let frozen = warm::Store::open(scene.state.root());
    let images = store.list()?;
    let current: Vec<_> = frozen
        .list()?
        .into_iter()
        .filter(|f| images.iter().any(|i| f.shape().is_current(i)))
        .map(|f| f.id)
        .collect();
    let keep =
        |id: &str| !sleepers(scene, id).is_empty() || (!all && current.iter().any(|c| c == id));
    let (gone, bytes) = frozen.prune(keep)?;
    for id in &gone {
        output::talk(&format!("removed the frozen machine {id}"));
    }
    let mut templates = 0;
    if all {
        for image in images.iter().filter(|i| users(scene, &i.id).is_empty()) {
            store.remove(&image.id)?;
            output::talk(&format!(
                "removed the template {} ({})",
                image.id, image.name
            ));
            templates += 1;
        }
    }
    if gone.is_empty() && templates == 0 {
        output::talk("nothing to remove");
    } else {
        output::talk(&format!("{} of frozen machines freed", approximate(bytes)));
    }
    Ok(())
}

/// The clusters with a node whose disk lies on a frozen machine's.
fn sleepers(scene: &Scene, id: &str) -> Vec<String> {
    clusters(scene, |r| {
        r.nodes.iter().any(|n| n.frozen.as_deref() == Some(id))
    })
}

/// The clusters whose disks lie on an image.
fn users(scene: &Scene, id: &str) -> Vec<String> {
    clusters(scene, |r| {
        r.image == id || r.nodes.iter().any(|n| r.image_of(n) == id)
    })
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
