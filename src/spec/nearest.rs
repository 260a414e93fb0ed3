//! Suggests a known key for an unknown one.

/// The error for an unknown key, with the nearest known key if one is near.
pub(super) fn unknown(name: &str, known: &[&str]) -> String {
    let nearest = known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .min()
        .filter(|(distance, known)| *distance <= (known.len().max(name.len()) / 3).min(3));
    match nearest {
        Some((_, known)) => format!("unknown key `{name}`; did you mean `{known}`?"),
        None => format!("unknown key `{name}`; expected {}", known.join(", ")),
    }
}
