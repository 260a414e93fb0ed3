//! From what a spec asks for to images: what is there already, and what is to be made first.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use kvmc_images::{Guest, Image, Recipe, Store};

use super::{Images, Pick, Reference};
use crate::spec::{ClusterSpec, Role};
use crate::state::ClusterRecord;

/// One role's image.
#[derive(Debug, Clone)]
enum Want {
    There(Box<Image>),
    Build(Recipe),
}

/// The images that a cluster's nodes want.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    by_role: BTreeMap<Role, Want>,
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
    ) -> Result<Self> {
        let mut in_use = Images::default();
        let mut by_role = BTreeMap::new();
        for node in existing.iter().flat_map(|r| &r.nodes) {
            let record = existing.context("a node without a record")?;
            let id = record.image_of(node);
            let image = store.get(id).with_context(|| {
                format!(
                    "the template {id} of {} is gone or damaged; `kvmc down`, then `kvmc up`",
                    node.name
                )
            })?;
            in_use.keep(image.clone());
            by_role.insert(node.role, Want::There(Box::new(image)));
        }
        for role in Role::ALL {
            if spec.role(role).count > 0 && !by_role.contains_key(&role) {
                by_role.insert(role, want(spec, role, store)?);
            }
        }
        Ok(Self { by_role, in_use })
    }

    /// What is to be built.
    pub(crate) fn recipe(&self) -> Option<&Recipe> {
        self.by_role.values().find_map(|want| match want {
            Want::Build(recipe) => Some(recipe),
            Want::There(_) => None,
        })
    }

    /// What is known of them before any is made.
    pub(crate) fn picks(&self) -> BTreeMap<Role, Pick> {
        let pick = |want: &Want| match want {
            Want::There(image) => Pick {
                id: image.id.clone(),
                guest: image.guest,
            },
            Want::Build(_) => Pick {
                id: String::new(),
                guest: Guest::Agent,
            },
        };
        self.by_role.iter().map(|(r, w)| (*r, pick(w))).collect()
    }

    /// Those that are there.
    pub(crate) fn found(&self) -> Images {
        let mut images = self.in_use.clone();
        for (role, want) in &self.by_role {
            if let Want::There(image) = want {
                images.insert(*role, (**image).clone());
            }
        }
        images
    }

    /// Makes those that are not.
    ///
    /// # Errors
    /// The one that cannot be made.
    pub(crate) fn obtain(self, mut build: impl FnMut(&Recipe) -> Result<Image>) -> Result<Images> {
        let mut images = self.found();
        for (role, want) in &self.by_role {
            if let Want::Build(recipe) = want {
                images.insert(*role, build(recipe)?);
            }
        }
        Ok(images)
    }
}

fn want(spec: &ClusterSpec, role: Role, store: &Store) -> Result<Want> {
    let reference = spec.image.reference(role);
    match &reference {
        Reference::BuiltIn => {
            let recipe = recipe(spec)?;
            Ok(match store.find(&recipe)? {
                Some(image) => Want::There(Box::new(image)),
                None => Want::Build(recipe),
            })
        }
        Reference::Name(name) => match store.named(name, spec.architecture)? {
            Some(image) => Ok(Want::There(Box::new(image))),
            None => bail!(
                "image: there is no image `{name}` for {}; `kvmc image ls` shows those that there are",
                spec.architecture
            ),
        },
        Reference::File(_) | Reference::Url(_) => {
            bail!("image: `{reference}` is not in the store; `kvmc image ls` shows what is")
        }
    }
}

/// What the built-in template is made of.
///
/// # Errors
/// A word that is not fit.
pub(crate) fn recipe(spec: &ClusterSpec) -> Result<Recipe> {
    let image = &spec.image;
    Ok(Recipe::new(
        &image.suite,
        spec.architecture,
        image.mirror.as_deref(),
        &image.packages,
    )?)
}
