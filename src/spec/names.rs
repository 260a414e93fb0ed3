//! What names may be: those of clusters, roles, nodes, inventory groups and variables.

use super::value::Variables;

/// Room for three digits in a label of DNS, RFC 1035 section 2.3.4.
const LONGEST_PREFIX: usize = 60;
const LONGEST_NAME: usize = 60;
/// Groups that Ansible makes itself.
const ANSIBLES_OWN: [&str; 2] = ["all", "ungrouped"];
/// Variables that the inventory sets for each host.
const OURS: [&str; 2] = ["ansible_host", "cluster_hostname"];

/// A cluster's name is a folder's name and part of QEMU's `-name`.
///
/// # Errors
/// The rule that is broken, in words.
pub(crate) fn validate_cluster_name(name: &str) -> Result<(), String> {
    let fine = !name.is_empty()
        && name.len() <= 32
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if fine {
        Ok(())
    } else {
        Err(format!(
            "`{name}` is not a cluster name: 1 to 32 of a-z, 0-9 and -, beginning with a letter or digit"
        ))
    }
}

/// A role's name is a key of `kvmc.toml` and, where nothing else is said, an inventory group.
///
/// # Errors
/// The rule that is broken.
pub(super) fn validate_name(name: &str) -> Result<(), String> {
    let fine = (1..=LONGEST_NAME).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'));
    if !fine || ANSIBLES_OWN.contains(&name) {
        return Err(format!(
            "`{name}` is not a role's name; expected 1 to {LONGEST_NAME} of a-z, 0-9, - and _, beginning with a letter, and neither all nor ungrouped"
        ));
    }
    Ok(())
}

/// A prefix is the beginning of a host name, RFC 1123 section 2.1.
///
/// # Errors
/// The rule that is broken.
pub(super) fn validate_prefix(prefix: &str) -> Result<(), String> {
    let fine = (1..=LONGEST_PREFIX).contains(&prefix.len())
        && prefix.starts_with(|c: char| c.is_ascii_lowercase())
        && prefix
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if fine {
        return Ok(());
    }
    Err(format!(
        "`{prefix}` cannot begin a node's name; expected 1 to {LONGEST_PREFIX} of a-z, 0-9 and -, beginning with a letter"
    ))
}

/// Names of groups that Ansible takes.
///
/// # Errors
/// The first that it does not.
pub(super) fn validate_groups(groups: &[String]) -> Result<(), String> {
    for group in groups {
        let fine = !group.is_empty()
            && group.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && group
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if !fine || ANSIBLES_OWN.contains(&group.as_str()) {
            return Err(format!(
                "`{}` is not an inventory group; expected letters, digits, _ and -, beginning with a letter or _, and neither all nor ungrouped",
                group.escape_debug()
            ));
        }
    }
    Ok(())
}

/// Names of variables that Ansible takes, and that the inventory does not set itself.
///
/// # Errors
/// The first that cannot be one.
pub(super) fn validate_variables(variables: &Variables) -> Result<(), String> {
    for name in variables.keys() {
        let fine = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !fine {
            return Err(format!(
                "`{}` is not an Ansible variable; expected letters, digits and _, beginning with a letter or _",
                name.escape_debug()
            ));
        }
        if OURS.contains(&name.as_str()) {
            return Err(format!("`{name}` is set by kvmc for each host"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_ansible_or_dns_would_not_take_are_refused() {
        for bad in ["", "Etcd", "0a", "all", "a b", "a.b", &"a".repeat(61)] {
            assert!(validate_name(bad).is_err(), "{bad}");
        }
        for bad in ["", "a_b", "-a", "A", "0"] {
            assert!(validate_prefix(bad).is_err(), "{bad}");
        }
        for bad in ["all", "ungrouped", "a b", "1a", "a:b", ""] {
            assert!(validate_groups(&[bad.to_owned()]).is_err(), "{bad}");
        }
        for (bad, why) in [
            ("a-b", "not an Ansible variable"),
            ("ansible_host", "is set by kvmc"),
        ] {
            let variables = [(bad.to_owned(), 1.into())].into();
            assert!(validate_variables(&variables).unwrap_err().contains(why));
        }
    }
}
