//! From what a spec asks for to images: what is there already, and what is to be made first.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use kvmc_images::download;
use kvmc_images::{Guest, Image, Recipe, Store};

use super::make::{self, Make};
use super::source::{self, Asked};
use super::{Images, Pick};
use crate::model::Progress;
use crate::spec::{ClusterSpec, Reference, RoleSpec};
use crate::state::ClusterRecord;

/// One role's image.
#[derive(Debug, Clone)]
enum Want {
    There(Box<Image>),
    Make(Make),
}

/// The images that a cluster's nodes want.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    by_role: BTreeMap<String, Want>,
    /// Those that nodes of the cluster lie on already.
    in_use: Images,
}

impl Wanted {
    /// Looks for what `spec` asks for; the nodes of a cluster stay on what they were made from.
    ///
    /// # Errors
    /// An image that is gone or damaged, or a name that nothing has.
    pub(crate) fn look(
        spec: &ClusterSpec,
        existing: Option<&ClusterRecord>,
        store: &Store,
        asked: Asked,
    ) -> Result<Self> {
        let mut in_use = Images::default();
        let mut by_role = BTreeMap::new();
        for node in existing.iter().flat_map(|r| &r.nodes) {
            let id = node.base.image();
            let image = store.get(id).with_context(|| {
                format!("the template {id} of {} is gone or damaged", node.name)
            })?;
            in_use.keep(image.clone());
            by_role.insert(node.role.clone(), Want::There(Box::new(image)));
        }
        for role in spec.roles.iter().filter(|r| r.count > 0) {
            if !by_role.contains_key(&role.name) {
                let wanted = want(spec, role, store, asked)?;
                by_role.insert(role.name.clone(), wanted);
            }
        }
        Ok(Self { by_role, in_use })
    }

    /// What is to be made, each once.
    pub(crate) fn to_make(&self) -> Vec<&Make> {
        let mut all: Vec<&Make> = Vec::new();
        for want in self.by_role.values() {
            if let Want::Make(make) = want
                && !all.contains(&make)
            {
                all.push(make);
            }
        }
        all
    }

    /// Whether a template is to be built.
    pub(crate) fn must_build(&self) -> bool {
        let to_make = self.to_make();
        to_make.iter().any(|m| matches!(m, Make::Build(_)))
    }

    /// What is known of them before any is made.
    pub(crate) fn picks(&self) -> BTreeMap<String, Pick> {
        let pick = |want: &Want| match want {
            Want::There(image) => Pick {
                id: image.id.clone(),
                guest: image.guest,
            },
            Want::Make(_) => Pick {
                id: String::new(),
                guest: Guest::Agent,
            },
        };
        self.by_role
            .iter()
            .map(|(r, w)| (r.clone(), pick(w)))
            .collect()
    }

    /// Those that are there.
    pub(crate) fn found(&self) -> Images {
        let mut images = self.in_use.clone();
        for (role, want) in &self.by_role {
            if let Want::There(image) = want {
                images.insert(role, (**image).clone());
            }
        }
        images
    }

    /// Makes those that are not.
    ///
    /// # Errors
    /// The one that cannot be made.
    pub(crate) async fn obtain(self, store: &Store, progress: &dyn Progress) -> Result<Images> {
        let mut images = self.found();
        for (role, want) in &self.by_role {
            if let Want::Make(make) = want {
                images.insert(role, make::make(store, make, progress).await?);
            }
        }
        Ok(images)
    }
}

fn want(spec: &ClusterSpec, role: &RoleSpec, store: &Store, asked: Asked) -> Result<Want> {
    let reference = role.reference();
    let found = |image: Option<Image>, make: Make| match image {
        Some(image) => Want::There(Box::new(image)),
        None => Want::Make(make),
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
                .map(|image| Want::There(Box::new(image))),
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
                Some(image) if !asked.refresh => Ok(Want::There(Box::new(image))),
                _ => Ok(Want::Make(Make::Pull(pull?))),
            }
        }
    }
}

/// What the built-in template is made of.
///
/// # Errors
/// A word that is not fit.
pub(crate) fn recipe(spec: &ClusterSpec) -> Result<Recipe> {
    let template = &spec.template;
    Ok(Recipe::new(
        &template.suite,
        spec.architecture,
        template.mirror.as_deref(),
        &template.packages,
    )?)
}
