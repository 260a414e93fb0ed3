//! Names as people write them, checked by RFC 1123 section 2.1.

use hickory_proto::rr::Name;
use thiserror::Error;

/// RFC 1035 section 2.3.4.
const LONGEST_LABEL: usize = 63;
/// In text, without the last dot: 255 bytes on the wire.
const LONGEST_NAME: usize = 253;
/// What a domain leaves for the names in it.
const LONGEST_DOMAIN: usize = 180;
/// Names that belong to somebody else, each with whom.
const TAKEN: [(&str, &str); 6] = [
    ("localhost", "always this very machine (RFC 6761)"),
    ("invalid", "never a name (RFC 6761)"),
    ("local", "of multicast DNS (RFC 6762)"),
    ("onion", "of Tor (RFC 7686)"),
    ("alt", "of other systems than DNS (RFC 9476)"),
    ("arpa", "of the Internet's own infrastructure (RFC 3172)"),
];

/// What is wrong with a name, in words.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{name}` {why}")]
pub struct NameError {
    name: String,
    why: String,
}

/// What a name may hold beside letters, digits and inner hyphens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Allow {
    /// Nothing: a host's name.
    Host,
    /// Underscores, as in `_http._tcp`.
    Service,
    /// Those, and a first label of `*`.
    Wildcard,
}

/// The domain of a network: one or more labels, nobody else's.
///
/// # Errors
/// The rule that is broken, in words.
pub fn parse_domain(text: &str) -> Result<Name, NameError> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let fail = |why: String| NameError {
        name: text.to_owned(),
        why,
    };
    if text.len() > LONGEST_DOMAIN {
        return Err(fail(format!(
            "has {} characters, a domain {LONGEST_DOMAIN} at most",
            text.len()
        )));
    }
    let name = parse(text, None, Allow::Host)?;
    match taken(&name) {
        Some(whose) => Err(fail(format!("cannot be the domain: it is {whose}"))),
        None => Ok(name),
    }
}

/// Whose a name is that can be nobody's here; RFC 8375 leaves `home.arpa` to everybody.
pub(super) fn taken(name: &Name) -> Option<String> {
    let text = name.to_ascii();
    let text = text.trim_end_matches('.');
    let below = |domain: &str| {
        text.strip_suffix(domain)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    if below("home.arpa") {
        return None;
    }
    TAKEN
        .iter()
        .find(|(domain, _)| below(domain))
        .map(|(domain, whose)| format!("`{domain}`, {whose}"))
}

/// A name in lower case; without a last dot it is below `origin`, if there is one, and `@` is `origin`.
pub(super) fn parse(text: &str, origin: Option<&Name>, allow: Allow) -> Result<Name, NameError> {
    let fail = |why: String| NameError {
        name: text.to_owned(),
        why,
    };
    if let (Some(origin), "@") = (origin, text) {
        return Ok(origin.clone());
    }
    if !text.is_ascii() {
        return Err(fail(
            "has letters beyond ASCII; write such a name in its `xn--` form".to_owned(),
        ));
    }
    let absolute = text.strip_suffix('.');
    let mut labels: Vec<_> = absolute.unwrap_or(text).split('.').collect();
    for (i, label) in labels.iter().enumerate() {
        if *label == "*" && i == 0 && allow == Allow::Wildcard {
            continue;
        }
        check_label(label, allow).map_err(&fail)?;
    }
    let below = origin.filter(|_| absolute.is_none()).map(Name::to_ascii);
    if let Some(below) = &below {
        labels.extend(below.trim_end_matches('.').split('.'));
    }
    let whole = labels.join(".").to_ascii_lowercase();
    if whole.len() > LONGEST_NAME {
        return Err(fail(format!(
            "has {} characters with its domain, a name {LONGEST_NAME} at most",
            whole.len()
        )));
    }
    let mut name = Name::from_ascii(&whole).map_err(|e| fail(format!("is not a DNS name: {e}")))?;
    name.set_fqdn(true);
    Ok(name)
}

fn check_label(label: &str, allow: Allow) -> Result<(), String> {
    if label.is_empty() {
        return Err("has an empty label".to_owned());
    }
    if label.len() > LONGEST_LABEL {
        return Err(format!(
            "has a label of {} characters, {LONGEST_LABEL} at most",
            label.len()
        ));
    }
    let fits =
        |c: char| c.is_ascii_alphanumeric() || c == '-' || (c == '_' && allow != Allow::Host);
    if let Some(c) = label.chars().find(|c| !fits(*c)) {
        return Err(format!(
            "has `{c}`; letters, digits and hyphens make a name (RFC 1123)"
        ));
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err("has a label that begins or ends with a hyphen".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_one_that_can_be_ours() {
        let text = |t: &str| parse_domain(t).map(|n| n.to_ascii());
        assert_eq!(text("K80.internal").unwrap(), "k80.internal.");
        assert_eq!(text("lab.home.arpa.").unwrap(), "lab.home.arpa.");
        for (bad, why) in [
            ("", "empty label"),
            (".", "empty label"),
            ("a..b", "empty label"),
            ("local", "multicast DNS"),
            ("x.localhost", "RFC 6761"),
            ("80.168.192.in-addr.arpa", "infrastructure"),
            ("a_b.internal", "`_`"),
            ("-a.internal", "hyphen"),
            ("b\u{fc}ro.internal", "xn--"),
            ("a b", "` `"),
            (&"a".repeat(64), "64 characters, 63"),
            (&"a.".repeat(91), "180 at most"),
        ] {
            let error = parse_domain(bad).unwrap_err().to_string();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }

    #[test]
    fn a_name_without_a_last_dot_is_below_the_domain() {
        let domain = parse_domain("k80.internal").unwrap();
        let read = |t: &str| parse(t, Some(&domain), Allow::Wildcard).map(|n| n.to_ascii());
        assert_eq!(read("API").unwrap(), "api.k80.internal.");
        assert_eq!(read("@").unwrap(), "k80.internal.");
        assert_eq!(read("example.com.").unwrap(), "example.com.");
        assert_eq!(read("*.apps").unwrap(), "*.apps.k80.internal.");
        assert!(read("apps.*").is_err());
        assert!(read(&format!("{0}.{0}.{0}.{0}", "a".repeat(61))).is_err());
    }
}
