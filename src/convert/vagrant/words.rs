//! Splits a statement's arguments.

/// Positional arguments and named ones, as they stand in the text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Arguments<'a> {
    pub(super) plain: Vec<&'a str>,
    pub(super) named: Vec<(&'a str, &'a str)>,
}

impl<'a> Arguments<'a> {
    /// Reads `"a", b: 1, :c => 2`, with or without brackets around.
    pub(super) fn read(text: &'a str) -> Self {
        let mut arguments = Self::default();
        for part in split(bare(text), ',') {
            let part = part.trim();
            if let Some((key, value)) = named(part) {
                arguments.named.push((key, value));
            } else if !part.is_empty() {
                arguments.plain.push(part);
            }
        }
        arguments
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        let found = self.named.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| *value)
    }

    /// The names that are not among `known`.
    pub(super) fn others(&self, known: &[&str]) -> Vec<&'a str> {
        let keys = self.named.iter().map(|(key, _)| *key);
        keys.filter(|key| !known.contains(key)).collect()
    }
}

/// A text without the brackets around all of it.
pub(super) fn bare(text: &str) -> &str {
    let text = text.trim();
    let inner = text.strip_prefix('(').and_then(|t| t.strip_suffix(')'));
    // The first bracket is not always closed by the last.
    match inner {
        Some(inner) if is_balanced(inner) => inner.trim(),
        _ => text,
    }
}

fn is_balanced(text: &str) -> bool {
    let mut depth = 0_i64;
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            return false;
        }
    }
    depth == 0
}

/// `name: value`, `:name => value` or `"name" => value`.
fn named(part: &str) -> Option<(&str, &str)> {
    let is_word =
        |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if let Some((key, value)) = part.split_once("=>") {
        let key = key.trim().trim_start_matches(':').trim_matches(['"', '\'']);
        return is_word(key).then_some((key, value.trim()));
    }
    let (key, value) = part.split_once(':')?;
    (is_word(key) && !value.starts_with(':')).then_some((key, value.trim()))
}

/// Splits at a letter outside of quotes and brackets.
pub(super) fn split(text: &str, at: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut quote = None;
    let (mut depth, mut from, mut before) = (0_i64, 0, ' ');
    for (n, c) in text.char_indices() {
        match quote {
            Some(q) if c == q && before != '\\' => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if "([{".contains(c) => depth += 1,
            None if ")]}".contains(c) => depth -= 1,
            None if c == at && depth == 0 => {
                parts.extend(text.get(from..n));
                from = n + c.len_utf8();
            }
            None => {}
        }
        before = c;
    }
    parts.extend(text.get(from..));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_have_both_of_rubys_forms() {
        let arguments =
            Arguments::read("(\"a, b\", guest: 80, :host => 8080 + i, \"x\" => [1, 2])");
        assert_eq!(arguments.plain, ["\"a, b\""]);
        assert_eq!(arguments.get("guest"), Some("80"));
        assert_eq!(arguments.get("host"), Some("8080 + i"));
        assert_eq!(arguments.get("x"), Some("[1, 2]"));
        assert_eq!(arguments.others(&["guest", "host"]), ["x"]);
        assert_eq!(bare("(a) + (b)"), "(a) + (b)");
        assert_eq!(
            Arguments::read(":forwarded_port").plain,
            [":forwarded_port"]
        );
    }
}
