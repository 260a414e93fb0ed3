//! Turns a specification into images: those that exist and those to make.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use kvmc_images::download;
use kvmc_images::{Guest, Image, Recipe, Store};

use super::make::{self, Make};
use super::source::{self, PullOptions};
use super::{Images, Pick};
use crate::model::Progress;
use crate::spec::{ClusterSpec, Reference, RoleSpec};
use crate::state::ClusterRecord;

/// The image of one role.
#[derive(Debug, Clone)]
enum RoleImage {
    There(Box<Image>),
    Make(Make),
}

/// The images that a cluster's nodes need.
#[derive(Debug, Clone)]
pub(crate) struct WantedImages {
    by_role: BTreeMap<String, RoleImage>,
    /// Images that existing nodes of the cluster lie on.
    in_use: Images,
}

impl WantedImages {
    /// Looks for the images of `spec`. Existing nodes keep the image that they were made from.
    ///
    /// # Errors
    /// Fails if an image is missing or damaged, or if a name is unknown.
    pub(crate) fn look(
        spec: &ClusterSpec,
        existing: Option<&ClusterRecord>,
        store: &Store,
        asked: PullOptions,
    ) -> Result<Self> {
        let mut in_use = Images::default();
        let mut by_role = BTreeMap::new();
        for node in existing.iter().flat_map(|r| &r.nodes) {
            let id = node.base.image();
            let image = store.get(id).with_context(|| {
                format!("the image {id} of {} is missing or damaged", node.name)
            })?;
            in_use.keep(image.clone());
            by_role.insert(node.role.clone(), RoleImage::There(Box::new(image)));
        }
        for role in spec.roles.iter().filter(|r| r.count > 0) {
            if !by_role.contains_key(&role.name) {
                let wanted = want(spec, role, store, asked)?;
                by_role.insert(role.name.clone(), wanted);
            }
        }
        Ok(Self { by_role, in_use })
    }

    /// The images to make, each once.
    pub(crate) fn to_make(&self) -> Vec<&Make> {
        let mut all: Vec<&Make> = Vec::new();
        for want in self.by_role.values() {
            if let RoleImage::Make(make) = want
                && !all.contains(&make)
            {
                all.push(make);
            }
        }
        all
    }

    /// Whether a template has to be built.
    pub(crate) fn must_build(&self) -> bool {
        let to_make = self.to_make();
        to_make.iter().any(|m| matches!(m, Make::Build(_)))
    }

    /// What is known of the images before any is made.
    pub(crate) fn picks(&self) -> BTreeMap<String, Pick> {
        let pick = |want: &RoleImage| match want {
            RoleImage::There(image) => Pick {
                id: image.id.clone(),
                guest: image.guest,
                virtual_size: image.virtual_size,
            },
            RoleImage::Make(_) => Pick {
                id: String::new(),
                guest: Guest::Agent,
                virtual_size: 0,
            },
        };
        self.by_role
            .iter()
            .map(|(r, w)| (r.clone(), pick(w)))
            .collect()
    }

    /// The images that exist.
    pub(crate) fn found(&self) -> Images {
        let mut images = self.in_use.clone();
        for (role, want) in &self.by_role {
            if let RoleImage::There(image) = want {
                images.insert(role, (**image).clone());
            }
        }
        images
    }

    /// Makes the missing images.
    ///
    /// # Errors
    /// Fails if an image cannot be made.
    pub(crate) async fn obtain(self, store: &Store, progress: &dyn Progress) -> Result<Images> {
        let mut images = self.found();
        for (role, want) in &self.by_role {
            if let RoleImage::Make(make) = want {
                images.insert(role, make::make(store, make, progress).await?);
            }
        }
        Ok(images)
    }
}

fn want(
    spec: &ClusterSpec,
    role: &RoleSpec,
    store: &Store,
    asked: PullOptions,
) -> Result<RoleImage> {
    let reference = role.reference();
    let found = |image: Option<Image>, make: Make| match image {
        Some(image) => RoleImage::There(Box::new(image)),
        None => RoleImage::Make(make),
    };
    match &reference {
        Reference::BuiltIn => {
            let recipe = recipe(spec)?;
            Ok(found(store.find(&recipe)?, Make::Build(recipe)))
        }
        Reference::Name(name) => match source::named(name, spec.architecture, asked)? {
            Some(pull) => {
                let there = if asked.refresh {
                    None
                } else {
                    pull.find(store)?
                };
                Ok(found(there, Make::Pull(pull)))
            }
            None => source::for_cluster(store, name, spec.architecture)
                .map(|image| RoleImage::There(Box::new(image))),
        },
        Reference::File(path) => {
            let image = download::imported(store, path, spec.architecture)
                .with_context(|| format!("image: {} cannot be used", path.display()))?;
            let make = Make::Import {
                path: path.clone(),
                architecture: spec.architecture,
            };
            Ok(found(image, make))
        }
        Reference::Url(url) => {
            let pull = source::at(url, spec.architecture, asked);
            let there = source::pulled(store, url, spec.architecture)?;
            match there {
                Some(image) if !asked.refresh => Ok(RoleImage::There(Box::new(image))),
                _ => Ok(RoleImage::Make(Make::Pull(pull?))),
            }
        }
    }
}

/// The recipe of the template.
///
/// # Errors
/// Fails if a word in the settings is not allowed.
pub(crate) fn recipe(spec: &ClusterSpec) -> Result<Recipe> {
    let template = &spec.template;
    Ok(Recipe::new(
        &template.suite,
        spec.architecture,
        template.mirror.as_deref(),
        &template.packages,
    )?)
}
