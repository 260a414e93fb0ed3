//! The graph of imports between files, with the imported names.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::TokenStream;
use syn::visit::Visit;
use syn::{Attribute, ImplItem, Item, Macro, Meta, Path, TraitItem};

use crate::modules::{File, Id, Modules};
use crate::names::{Names, Target};
use crate::{skip, tokens};

type Graph = BTreeMap<File, BTreeMap<File, BTreeSet<String>>>;

/// The graph of all files outside test code.
pub(crate) fn of(modules: &Modules) -> Graph {
    let mut graph = Graph::new();
    let mut names = Names::new(modules);
    for (id, module) in modules.iter() {
        let imported = graph.entry(module.file.clone()).or_default();
        let mut note = |target: Target, by: String| {
            if let Target::Item(at) = target
                && let Some(other) = modules.get(at)
                && other.file != module.file
            {
                let names = imported.entry(other.file.clone()).or_default();
                names.insert(by);
            }
        };
        for binding in &module.bindings {
            for target in names.resolve(id, &binding.path) {
                // A module that re-exports an item of a module below it does not use that item itself.
                let is_offer = binding.is_public && is_below(modules, target, id);
                if !is_offer {
                    note(target, last(&binding.path));
                }
            }
        }
        // This finds the variants of an enum. Items of a module count where the code uses them.
        for glob in &module.globs {
            for target in names.resolve(id, glob) {
                note(target, last(glob));
            }
        }
        let mut used = Used::default();
        module.items.iter().for_each(|item| used.visit_item(item));
        for path in &used.0 {
            for target in names.resolve(id, path) {
                note(target, path.join("::"));
            }
        }
    }
    graph
}

fn last(path: &[String]) -> String {
    path.last().cloned().unwrap_or_default()
}

fn is_below(modules: &Modules, target: Target, above: Id) -> bool {
    let (Target::Module(id) | Target::Item(id)) = target;
    modules.is_within(id, above)
}

/// All paths in the code of a module, without `use`.
#[derive(Default)]
struct Used(BTreeSet<Vec<String>>);

impl Used {
    fn tokens(&mut self, tokens: TokenStream) {
        self.0.extend(tokens::paths(tokens));
    }
}

impl<'a> Visit<'a> for Used {
    fn visit_item(&mut self, item: &'a Item) {
        if !skip::is_test(skip::item_attributes(item)) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'a ImplItem) {
        if !skip::is_test(skip::impl_item_attributes(item)) {
            syn::visit::visit_impl_item(self, item);
        }
    }

    fn visit_trait_item(&mut self, item: &'a TraitItem) {
        if !skip::is_test(skip::trait_item_attributes(item)) {
            syn::visit::visit_trait_item(self, item);
        }
    }

    /// An inline module counts as its own module.
    fn visit_item_mod(&mut self, _module: &'a syn::ItemMod) {}

    fn visit_item_use(&mut self, _item: &'a syn::ItemUse) {}

    /// `pub(in path)` names a scope of visibility, not a used item.
    fn visit_vis_restricted(&mut self, _restricted: &'a syn::VisRestricted) {}

    fn visit_path(&mut self, path: &'a Path) {
        if path.leading_colon.is_none() {
            let names = path.segments.iter().map(|s| s.ident.to_string());
            self.0.insert(names.collect());
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'a Macro) {
        self.visit_path(&called.path);
        self.tokens(called.tokens.clone());
    }

    /// Derive macros read paths in the arguments of their attributes; serde's also in strings.
    fn visit_attribute(&mut self, attribute: &'a Attribute) {
        if let Meta::List(list) = &attribute.meta {
            self.tokens(list.tokens.clone());
            if list.path.is_ident("serde") {
                let paths = tokens::strings(list.tokens.clone());
                let paths = paths.iter().filter_map(|p| syn::parse_str::<Path>(p).ok());
                for path in paths {
                    self.visit_path(&path);
                }
            }
        }
    }
}
