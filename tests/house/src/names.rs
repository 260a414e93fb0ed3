//! Resolves a path as the compiler does, through modules, imports and re-exports.

use std::collections::BTreeSet;

use crate::modules::{Id, Modules};

/// The target of a path. A module and an item may share a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    Module(Id),
    /// An item of this module, or a part of one, such as a variant or an associated function.
    Item(Id),
}

/// Looks names up in the modules of a crate.
pub(crate) struct Names<'a> {
    modules: &'a Modules,
    /// Names whose look-up is under way, since re-exports may form a circle.
    open: BTreeSet<(Id, String)>,
}

impl<'a> Names<'a> {
    pub(crate) fn new(modules: &'a Modules) -> Self {
        Self {
            modules,
            open: BTreeSet::new(),
        }
    }

    /// The targets of `path` in `module`; none for a name of another crate or of a local variable.
    pub(crate) fn resolve(&mut self, module: Id, path: &[String]) -> BTreeSet<Target> {
        let mut here = module;
        let mut rest = path;
        let mut is_rooted = false;
        while let [first, more @ ..] = rest {
            here = match first.as_str() {
                "crate" if !is_rooted => self.modules.root(here),
                "self" if !is_rooted => here,
                "super" => match self.modules.get(here).and_then(|m| m.parent) {
                    Some(parent) => parent,
                    None => return BTreeSet::new(),
                },
                _ => break,
            };
            is_rooted = true;
            rest = more;
        }
        let [first, rest @ ..] = rest else {
            return BTreeSet::from([Target::Module(here)]);
        };
        let mut found = self.look_up(here, first);
        for name in rest {
            // A part of an item is in the item's module. In a module the path continues.
            let modules = found.iter().filter_map(|target| match target {
                Target::Module(id) => Some(*id),
                Target::Item(_) => None,
            });
            let within: BTreeSet<_> = modules
                .collect::<Vec<_>>()
                .into_iter()
                .flat_map(|id| self.look_up(id, name))
                .collect();
            if within.is_empty() {
                found.retain(|target| matches!(target, Target::Item(_)));
            } else {
                found = within;
            }
        }
        found
    }

    fn look_up(&mut self, id: Id, name: &str) -> BTreeSet<Target> {
        let mut found = BTreeSet::new();
        let modules = self.modules;
        let Some(module) = modules.get(id) else {
            return found;
        };
        found.extend(module.children.get(name).copied().map(Target::Module));
        if module.defined.contains(name) {
            found.insert(Target::Item(id));
        }
        let key = (id, name.to_owned());
        if !self.open.insert(key.clone()) {
            return found;
        }
        let bindings = module.bindings.iter();
        for binding in bindings.filter(|b| b.name.as_deref() == Some(name)) {
            found.extend(self.resolve(id, &binding.path));
        }
        if found.is_empty() {
            for glob in &module.globs {
                for target in self.resolve(id, glob) {
                    if let Target::Module(from) = target {
                        found.extend(self.look_up(from, name));
                    }
                }
            }
        }
        self.open.remove(&key);
        found
    }
}
