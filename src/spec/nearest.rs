//! Suggests a known name for an unknown one.

/// The known name that is nearest to an unknown one, if one is near.
pub(crate) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let distances = known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(name, known), *known));
    let is_near =
        |(distance, known): &(usize, &str)| *distance <= (known.len().max(name.len()) / 3).min(3);
    let (_, nearest) = distances.min().filter(is_near)?;
    Some(nearest)
}

/// The error for an unknown key, with the nearest known key if one is near.
pub(super) fn unknown(name: &str, known: &[&str]) -> String {
    match nearest(name, known) {
        Some(known) => format!("unknown key `{name}`; did you mean `{known}`?"),
        None => format!("unknown key `{name}`; expected {}", known.join(", ")),
    }
}
