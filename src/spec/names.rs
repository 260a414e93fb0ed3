//! Rules for the names of clusters, roles, nodes, inventory groups and variables.

use super::value::Variables;

/// Leaves room for three digits in a DNS label, RFC 1035 section 2.3.4.
const LONGEST_PREFIX: usize = 60;
const LONGEST_NAME: usize = 60;
/// Groups that Ansible defines itself.
const RESERVED_GROUPS: [&str; 2] = ["all", "ungrouped"];
/// Variables that the inventory sets for each host.
const RESERVED_VARIABLES: [&str; 4] = [
    "ansible_host",
    "cluster_hostname",
    "kvmc_addresses",
    "kvmc_addresses6",
];

/// Checks a cluster's name, which is used as a folder's name and in QEMU's `-name`.
///
/// # Errors
/// Fails with the broken rule.
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
            "`{name}` is not a cluster name; expected 1 to 32 of a-z, 0-9 and -, beginning with a letter or digit"
        ))
    }
}

/// Checks a role's name, which is a key of `kvmc.toml` and by default an inventory group.
///
/// # Errors
/// Fails with the broken rule.
pub(super) fn validate_name(name: &str) -> Result<(), String> {
    let fine = (1..=LONGEST_NAME).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'));
    if !fine || RESERVED_GROUPS.contains(&name) {
        return Err(format!(
            "`{name}` is not a role name; expected 1 to {LONGEST_NAME} of a-z, 0-9, - and _, beginning with a letter; all and ungrouped are reserved"
        ));
    }
    Ok(())
}

/// Checks a prefix, with which host names begin, RFC 1123 section 2.1.
///
/// # Errors
/// Fails with the broken rule.
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
        "`{prefix}` is not a prefix of node names; expected 1 to {LONGEST_PREFIX} of a-z, 0-9 and -, beginning with a letter"
    ))
}

/// Checks that Ansible accepts the names of groups.
///
/// # Errors
/// Fails at the first wrong name.
pub(super) fn validate_groups(groups: &[String]) -> Result<(), String> {
    for group in groups {
        let fine = !group.is_empty()
            && group.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && group
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if !fine || RESERVED_GROUPS.contains(&group.as_str()) {
            return Err(format!(
                "`{}` is not an inventory group; expected letters, digits, _ and -, beginning with a letter or _; all and ungrouped are reserved",
                group.escape_debug()
            ));
        }
    }
    Ok(())
}

/// Checks that Ansible accepts the names of variables, and that the inventory does not set them itself.
///
/// # Errors
/// Fails at the first wrong name.
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
        if RESERVED_VARIABLES.contains(&name.as_str()) {
            return Err(format!(
                "the variable `{name}` is reserved, because kvmc sets it for each host"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_ansible_or_dns_would_refuse_are_refused() {
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
            ("ansible_host", "kvmc sets it"),
        ] {
            let variables = [(bad.to_owned(), 1.into())].into();
            assert!(validate_variables(&variables).unwrap_err().contains(why));
        }
    }
}
