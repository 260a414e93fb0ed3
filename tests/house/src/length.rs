//! The lengths of files and functions.

use std::path::Path;

use syn::visit::Visit;
use syn::{Block, ImplItem, Item, ItemFn, Signature, TraitItem};

use crate::modules::{File, Modules};
use crate::skip;

pub(crate) fn files(src: &Path, limit: usize) -> Vec<(File, usize)> {
    let mut long = Vec::new();
    let mut folders = vec![src.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder)
            .unwrap_or_else(|e| panic!("cannot read {}: {e}", folder.display()));
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path)
                    .unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
                let name = path.strip_prefix(src).unwrap_or(&path);
                long.push((name.to_string_lossy().into_owned(), text.lines().count()));
            }
        }
    }
    long.retain(|(_, lines)| *lines > limit);
    long.sort();
    long
}

pub(crate) fn functions(modules: &Modules, limit: usize) -> Vec<(String, usize)> {
    let mut long = Vec::new();
    for (_, module) in modules.iter() {
        let mut functions = Functions::default();
        let items = module.items.iter();
        items.for_each(|item| functions.visit_item(item));
        let found = functions.0.into_iter();
        long.extend(found.map(|(name, lines)| (format!("{}: {name}", module.file), lines)));
    }
    long.retain(|(_, lines)| *lines > limit);
    long.sort();
    long
}

/// All functions of a module with their lines, also functions within functions.
#[derive(Default)]
struct Functions(Vec<(String, usize)>);

impl Functions {
    fn note(&mut self, signature: &Signature, block: &Block) {
        let first = signature.fn_token.span.start().line;
        let last = block.brace_token.span.close().end().line;
        let lines = (last + 1).saturating_sub(first);
        self.0.push((signature.ident.to_string(), lines));
    }
}

impl<'a> Visit<'a> for Functions {
    fn visit_item(&mut self, item: &'a Item) {
        if !skip::is_test(skip::item_attributes(item)) {
            syn::visit::visit_item(self, item);
        }
    }

    /// An inline module counts as its own module.
    fn visit_item_mod(&mut self, _module: &'a syn::ItemMod) {}

    fn visit_item_fn(&mut self, function: &'a ItemFn) {
        self.note(&function.sig, &function.block);
        syn::visit::visit_item_fn(self, function);
    }

    fn visit_impl_item(&mut self, item: &'a ImplItem) {
        if skip::is_test(skip::impl_item_attributes(item)) {
            return;
        }
        if let ImplItem::Fn(function) = item {
            self.note(&function.sig, &function.block);
        }
        syn::visit::visit_impl_item(self, item);
    }

    fn visit_trait_item(&mut self, item: &'a TraitItem) {
        if skip::is_test(skip::trait_item_attributes(item)) {
            return;
        }
        if let TraitItem::Fn(function) = item
            && let Some(block) = &function.default
        {
            self.note(&function.sig, block);
        }
        syn::visit::visit_trait_item(self, item);
    }
}
