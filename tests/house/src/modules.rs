//! The modules of a crate, read from its files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::Visit;
use syn::{Expr, Item, ItemUse, Lit, Meta, UseTree, Visibility};

use crate::skip;

/// A source file's path below the folder that was read.
pub type File = String;

/// A module's number in [`Modules`].
pub(crate) type Id = usize;

/// A name that a `use` brings into a module.
#[derive(Debug)]
pub(crate) struct Binding {
    /// `None` for `as _`.
    pub(crate) name: Option<String>,
    pub(crate) path: Vec<String>,
    /// Whether modules outside this module and those below it see it.
    pub(crate) is_public: bool,
}

/// A module outside test code.
pub(crate) struct Module {
    pub(crate) file: File,
    pub(crate) parent: Option<Id>,
    pub(crate) children: BTreeMap<String, Id>,
    /// Names that the module itself defines, without modules.
    pub(crate) defined: BTreeSet<String>,
    pub(crate) bindings: Vec<Binding>,
    /// The paths of `use path::*`.
    pub(crate) globs: Vec<Vec<String>>,
    pub(crate) items: Vec<Item>,
}

/// All modules of the crates whose roots are `lib.rs`, `main.rs` and the files of `bin/` in one folder.
#[derive(Default)]
pub(crate) struct Modules(Vec<Module>);

/// The place of a module's text, and of its children's files.
struct Place {
    file: PathBuf,
    folder: PathBuf,
}

impl Modules {
    pub(crate) fn read(src: &Path) -> Self {
        let mut modules = Self::default();
        let mut roots: Vec<_> = ["lib.rs", "main.rs"].map(|name| src.join(name)).to_vec();
        roots.retain(|root| root.exists());
        let bin = std::fs::read_dir(src.join("bin")).into_iter().flatten();
        roots.extend(
            bin.flatten()
                .map(|entry| entry.path())
                .filter(|p| p.is_file()),
        );
        assert!(
            !roots.is_empty(),
            "no lib.rs or main.rs in {}",
            src.display()
        );
        roots.sort();
        for file in roots {
            let folder = file.parent().unwrap_or(src).to_owned();
            modules.read_file(src, None, &Place { file, folder });
        }
        modules
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Id, &Module)> {
        self.0.iter().enumerate()
    }

    pub(crate) fn get(&self, id: Id) -> Option<&Module> {
        self.0.get(id)
    }

    /// The topmost module above `id`.
    pub(crate) fn root(&self, mut id: Id) -> Id {
        while let Some(parent) = self.get(id).and_then(|m| m.parent) {
            id = parent;
        }
        id
    }

    /// Whether `id` is `above` or lies below it.
    pub(crate) fn is_within(&self, mut id: Id, above: Id) -> bool {
        while id != above {
            match self.get(id).and_then(|m| m.parent) {
                Some(parent) => id = parent,
                None => return false,
            }
        }
        true
    }

    fn read_file(&mut self, src: &Path, parent: Option<Id>, place: &Place) -> Id {
        let shown = place.file.display();
        let text = std::fs::read_to_string(&place.file)
            .unwrap_or_else(|e| panic!("cannot read {shown}: {e}"));
        let parsed = syn::parse_file(&text).unwrap_or_else(|e| panic!("{shown} is not Rust: {e}"));
        self.add(src, parent, place, parsed.items)
    }

    fn add(&mut self, src: &Path, parent: Option<Id>, place: &Place, items: Vec<Item>) -> Id {
        let id = self.0.len();
        let is_kept = |item: &Item| !skip::is_test(skip::item_attributes(item));
        let mut items: Vec<_> = items.into_iter().filter(is_kept).collect();
        let mut names = Names::default();
        items.iter().for_each(|item| names.visit_item(item));
        self.0.push(Module {
            file: relative(src, &place.file),
            parent,
            children: BTreeMap::new(),
            defined: items.iter().filter_map(name).collect(),
            bindings: names.bindings,
            globs: names.globs,
            items: Vec::new(),
        });
        let mut children = BTreeMap::new();
        for item in &mut items {
            if let Item::Mod(module) = item {
                let name = module.ident.to_string();
                if let Some(child) = self.child(src, id, place, module) {
                    children.insert(name, child);
                }
            }
        }
        if let Some(module) = self.0.get_mut(id) {
            module.children = children;
            module.items = items;
        }
        id
    }

    /// A child module, read from its file unless its text is in its parent's; `None` for a module of tests.
    fn child(
        &mut self,
        src: &Path,
        id: Id,
        parent: &Place,
        module: &mut syn::ItemMod,
    ) -> Option<Id> {
        let name = module.ident.to_string();
        if let Some((_, items)) = module.content.take() {
            let place = Place {
                file: parent.file.clone(),
                folder: parent.folder.join(&name),
            };
            return (name != "tests").then(|| self.add(src, Some(id), &place, items));
        }
        let beside = parent.file.parent().unwrap_or(src);
        let place = match path_attribute(&module.attrs) {
            Some(path) => {
                let file = beside.join(path);
                let folder = file.parent().unwrap_or(src).to_owned();
                Place { file, folder }
            }
            None => {
                let folder = parent.folder.join(&name);
                let own = parent.folder.join(format!("{name}.rs"));
                let file = if own.exists() {
                    own
                } else {
                    folder.join("mod.rs")
                };
                Place { file, folder }
            }
        };
        let is_test = skip::is_test_module(&name, &relative(src, &place.file));
        (!is_test).then(|| self.read_file(src, Some(id), &place))
    }
}

fn relative(src: &Path, file: &Path) -> File {
    let file = file.strip_prefix(src).unwrap_or(file);
    file.to_string_lossy().into_owned()
}

fn path_attribute(attributes: &[syn::Attribute]) -> Option<String> {
    attributes
        .iter()
        .find_map(|attribute| match &attribute.meta {
            Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
                Expr::Lit(literal) => match &literal.lit {
                    Lit::Str(text) => Some(text.value()),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        })
}

/// The name that an item defines.
fn name(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(i) => &i.ident,
        Item::Enum(i) => &i.ident,
        Item::Fn(i) => &i.sig.ident,
        Item::Macro(i) => i.ident.as_ref()?,
        Item::Static(i) => &i.ident,
        Item::Struct(i) => &i.ident,
        Item::Trait(i) => &i.ident,
        Item::TraitAlias(i) => &i.ident,
        Item::Type(i) => &i.ident,
        Item::Union(i) => &i.ident,
        _ => return None,
    };
    Some(name.to_string())
}

/// The names that all `use` items bring into a module; those in functions count as if they were outside.
#[derive(Default)]
struct Names {
    bindings: Vec<Binding>,
    globs: Vec<Vec<String>>,
}

impl<'a> Visit<'a> for Names {
    fn visit_item(&mut self, item: &'a Item) {
        if !skip::is_test(skip::item_attributes(item)) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'a syn::ImplItem) {
        if !skip::is_test(skip::impl_item_attributes(item)) {
            syn::visit::visit_impl_item(self, item);
        }
    }

    /// An inline module has its own names.
    fn visit_item_mod(&mut self, _module: &'a syn::ItemMod) {}

    fn visit_item_use(&mut self, item: &'a ItemUse) {
        // `::name` belongs to another crate.
        if item.leading_colon.is_none() {
            let is_public = !matches!(item.vis, Visibility::Inherited);
            self.tree(&item.tree, &mut Vec::new(), is_public);
        }
    }
}

impl Names {
    fn tree(&mut self, tree: &UseTree, above: &mut Vec<String>, is_public: bool) {
        let mut bind = |name: Option<String>, last: String| {
            let mut path = above.clone();
            if last != "self" || path.is_empty() {
                path.push(last);
            }
            self.bindings.push(Binding {
                name,
                path,
                is_public,
            });
        };
        match tree {
            UseTree::Path(path) => {
                above.push(path.ident.to_string());
                self.tree(&path.tree, above, is_public);
                above.pop();
            }
            UseTree::Name(name) if name.ident == "self" => {
                bind(above.last().cloned(), "self".to_owned());
            }
            UseTree::Name(name) => bind(Some(name.ident.to_string()), name.ident.to_string()),
            UseTree::Rename(rename) => {
                let name = Some(rename.rename.to_string()).filter(|n| n != "_");
                bind(name, rename.ident.to_string());
            }
            UseTree::Glob(_) => self.globs.push(above.clone()),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.tree(tree, above, is_public);
                }
            }
        }
    }
}
