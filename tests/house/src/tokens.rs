//! Finds paths in tokens that are not parsed as Rust: the arguments of macros and attributes.

use proc_macro2::{TokenStream, TokenTree};

/// All names joined by `::`, without method calls, fields and strings.
pub(crate) fn paths(tokens: TokenStream) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    collect(tokens, &mut found);
    found
}

fn collect(tokens: TokenStream, found: &mut Vec<Vec<String>>) {
    let mut path: Vec<String> = Vec::new();
    // Colons since the last name, and whether a dot makes the next name a field's or a method's.
    let (mut colons, mut after_dot) = (0, false);
    for token in tokens {
        match token {
            TokenTree::Ident(name) => {
                if colons != 2 {
                    found.extend((!path.is_empty()).then(|| std::mem::take(&mut path)));
                }
                if !after_dot {
                    path.push(name.to_string());
                }
                (colons, after_dot) = (0, false);
                continue;
            }
            TokenTree::Punct(mark) if mark.as_char() == ':' && !path.is_empty() => {
                colons += 1;
                continue;
            }
            TokenTree::Punct(mark) => after_dot = mark.as_char() == '.',
            TokenTree::Group(group) => {
                collect(group.stream(), found);
                after_dot = false;
            }
            TokenTree::Literal(_) => after_dot = false,
        }
        found.extend((!path.is_empty()).then(|| std::mem::take(&mut path)));
        colons = 0;
    }
    found.extend((!path.is_empty()).then_some(path));
}

/// The text of all strings in `tokens`, also in groups.
pub(crate) fn strings(tokens: TokenStream) -> Vec<String> {
    tokens
        .into_iter()
        .flat_map(|token| match token {
            TokenTree::Group(group) => strings(group.stream()),
            TokenTree::Literal(literal) => match syn::Lit::new(literal) {
                syn::Lit::Str(text) => vec![text.value()],
                _ => Vec::new(),
            },
            _ => Vec::new(),
        })
        .collect()
}
