//! Domain names as people write them, checked by RFC 1123 section 2.1.

use hickory_proto::rr::Name;
use thiserror::Error;

/// Characters of a label, RFC 1035 section 2.3.4.
const LONGEST_LABEL: usize = 63;
/// Characters of a name without the last dot: 255 bytes on the wire.
const LONGEST_NAME: usize = 253;
/// Characters of a domain, which leaves room for names in it.
const LONGEST_DOMAIN: usize = 180;
/// Special-use domains, each with its use.
const SPECIAL_USE: [(&str, &str); 6] = [
    ("localhost", "always the machine itself (RFC 6761)"),
    ("invalid", "never a name (RFC 6761)"),
    ("local", "for multicast DNS (RFC 6762)"),
    ("onion", "for Tor (RFC 7686)"),
    ("alt", "for systems other than DNS (RFC 9476)"),
    ("arpa", "for the Internet's infrastructure (RFC 3172)"),
];

/// The name cannot be used; `why` says why.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{name}` {why}")]
pub struct NameError {
    name: String,
    why: String,
}

impl NameError {
    pub(super) fn new(name: &str, why: String) -> Self {
        let name = name.to_owned();
        Self { name, why }
    }
}

/// The use of a name, which decides the characters that it may have beside letters, digits and inner hyphens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NameKind {
    /// A host; no others.
    Host,
    /// A service, as `_http._tcp`; underscores.
    Service,
    /// Any record; underscores, and `*` as the first label.
    Wildcard,
}

/// Reads the domain of a network.
///
/// # Errors
/// The text is not a name, or is in a special-use domain.
pub fn parse_domain(text: &str) -> Result<Name, NameError> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let fail = |why: String| NameError {
        name: text.to_owned(),
        why,
    };
    if text.len() > LONGEST_DOMAIN {
        return Err(fail(format!(
            "has {} characters; a domain has at most {LONGEST_DOMAIN}",
            text.len()
        )));
    }
    let name = parse(text, None, NameKind::Host)?;
    match special_use(&name) {
        Some(purpose) => Err(fail(format!("cannot be the domain: {purpose}"))),
        None => Ok(name),
    }
}

/// The special-use domain of a name, for an error; `home.arpa` is free for use, RFC 8375.
pub(super) fn special_use(name: &Name) -> Option<String> {
    let text = name.to_ascii();
    let text = text.trim_end_matches('.');
    let below = |domain: &str| {
        text.strip_suffix(domain)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    if below("home.arpa") {
        return None;
    }
    SPECIAL_USE
        .iter()
        .find(|(domain, _)| below(domain))
        .map(|(domain, purpose)| format!("`{domain}` is {purpose}"))
}

/// Reads a name and turns it into lower case. Without a last dot it is below `origin`, if there is one; `@` is `origin`.
pub(super) fn parse(text: &str, origin: Option<&Name>, kind: NameKind) -> Result<Name, NameError> {
    let fail = |why: String| NameError {
        name: text.to_owned(),
        why,
    };
    if let (Some(origin), "@") = (origin, text) {
        return Ok(origin.clone());
    }
    if !text.is_ascii() {
        return Err(fail(
            "has letters beyond ASCII; expected its `xn--` form".to_owned(),
        ));
    }
    let absolute = text.strip_suffix('.');
    let mut labels: Vec<_> = absolute.unwrap_or(text).split('.').collect();
    for (i, label) in labels.iter().enumerate() {
        if *label == "*" && i == 0 && kind == NameKind::Wildcard {
            continue;
        }
        check_label(label, kind).map_err(&fail)?;
    }
    let below = origin.filter(|_| absolute.is_none()).map(Name::to_ascii);
    if let Some(below) = &below {
        labels.extend(below.trim_end_matches('.').split('.'));
    }
    let whole = labels.join(".").to_ascii_lowercase();
    if whole.len() > LONGEST_NAME {
        return Err(fail(format!(
            "has {} characters with its domain; a name has at most {LONGEST_NAME}",
            whole.len()
        )));
    }
    let mut name = Name::from_ascii(&whole).map_err(|e| fail(format!("is not a DNS name: {e}")))?;
    name.set_fqdn(true);
    Ok(name)
}

fn check_label(label: &str, kind: NameKind) -> Result<(), String> {
    if label.is_empty() {
        return Err("has an empty label".to_owned());
    }
    if label.len() > LONGEST_LABEL {
        return Err(format!(
            "has a label of {} characters; a label has at most {LONGEST_LABEL}",
            label.len()
        ));
    }
    let fits =
        |c: char| c.is_ascii_alphanumeric() || c == '-' || (c == '_' && kind != NameKind::Host);
    if let Some(c) = label.chars().find(|c| !fits(*c)) {
        return Err(format!(
            "has `{c}`; a name has letters, digits and hyphens (RFC 1123)"
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
    fn a_domain_in_use_by_others_is_refused() {
        let text = |t: &str| parse_domain(t).map(|n| n.to_ascii());
        assert_eq!(text("K80.internal").unwrap(), "k80.internal.");
        assert_eq!(text("lab.home.arpa.").unwrap(), "lab.home.arpa.");
        for (bad, why) in [
            ("", "empty label"),
            (".", "empty label"),
            ("a..b", "empty label"),
            ("local", "`local` is for multicast DNS"),
            ("x.localhost", "RFC 6761"),
            ("80.168.192.in-addr.arpa", "infrastructure"),
            ("a_b.internal", "`_`"),
            ("-a.internal", "hyphen"),
            ("b\u{fc}ro.internal", "xn--"),
            ("a b", "` `"),
            (&"a".repeat(64), "64 characters; a label has at most 63"),
            (&"a.".repeat(91), "at most 180"),
        ] {
            let error = parse_domain(bad).unwrap_err().to_string();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }

    #[test]
    fn a_name_without_a_last_dot_is_below_the_domain() {
        let domain = parse_domain("k80.internal").unwrap();
        let read = |t: &str| parse(t, Some(&domain), NameKind::Wildcard).map(|n| n.to_ascii());
        assert_eq!(read("API").unwrap(), "api.k80.internal.");
        assert_eq!(read("@").unwrap(), "k80.internal.");
        assert_eq!(read("example.com.").unwrap(), "example.com.");
        assert_eq!(read("*.apps").unwrap(), "*.apps.k80.internal.");
        assert!(read("apps.*").is_err());
        assert!(read(&format!("{0}.{0}.{0}.{0}", "a".repeat(61))).is_err());
    }
}
