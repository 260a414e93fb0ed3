//! Finds the strings of a source.

use proc_macro2::{TokenStream, TokenTree};

/// The values of all string literals, also in the arguments of macros, without documentation.
pub(crate) fn strings(tokens: TokenStream) -> Vec<String> {
    let mut found = Vec::new();
    collect(tokens, &mut found);
    found
}

fn collect(tokens: TokenStream, found: &mut Vec<String>) {
    let mut is_doc = false;
    for token in tokens {
        match token {
            TokenTree::Ident(name) => is_doc = name == "doc",
            TokenTree::Group(group) => collect(group.stream(), found),
            TokenTree::Literal(literal) if !is_doc => {
                if let syn::Lit::Str(text) = syn::Lit::new(literal) {
                    found.push(text.value());
                }
            }
            TokenTree::Literal(_) => is_doc = false,
            TokenTree::Punct(_) => {}
        }
    }
}
