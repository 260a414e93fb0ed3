//! Unknown keys, with the one that was meant.

/// An unknown key, with the known one that is near, if one is.
pub(super) fn unknown(name: &str, known: &[&str]) -> String {
    let nearest = known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .min()
        .filter(|(distance, known)| *distance <= (known.len().max(name.len()) / 3).min(3));
    match nearest {
        Some((_, known)) => format!("unknown key `{name}`; did you mean `{known}`?"),
        None => format!("unknown key `{name}`; the keys are {}", known.join(", ")),
    }
}
