//! `image`.

use std::process::ExitCode;

use anyhow::{Result, bail};
use kvmc_images::Store;

use super::Scene;
use super::up::{build, recipe};
use crate::cli::ImageCommand;
use crate::output;
use crate::spec::{approximate, check};
use crate::state::ClusterRecord;

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
        ImageCommand::Ls => {
            let rows: Vec<_> = store
                .list()?
                .iter()
                .map(|i| {
                    vec![
                        i.id.clone(),
                        i.name.clone(),
                        approximate(i.virtual_size),
                        users(scene, &i.id).join(" "),
                    ]
                })
                .collect();
            output::data(&output::table(&["IMAGE", "NAME", "SIZE", "USED BY"], &rows));
        }
        ImageCommand::Rm { id } => {
            let users = users(scene, &id);
            if !users.is_empty() {
                bail!(
                    "image {id} is used by cluster {}; `kvmc down` first",
                    users.join(", ")
                );
            }
            store.get(&id)?;
            store.remove(&id)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The clusters whose disks lie on an image; one whose record cannot be read may be among them.
fn users(scene: &Scene, id: &str) -> Vec<String> {
    scene
        .state
        .cluster_names()
        .into_iter()
        .filter(
            |name| match ClusterRecord::load(&scene.state.cluster(name)) {
                Ok(record) => record.is_some_and(|r| r.image == id),
                Err(_) => true,
            },
        )
        .collect()
}
