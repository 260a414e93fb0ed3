//! Constants that the files for Ansible and ssh share.

use sha2::{Digest, Sha256};

use crate::ids::hex;

/// All names, in the order in which they are written.
pub(super) const NAMES: [&str; 5] = [
    "inventory",
    "id_rsa",
    "id_rsa.pub",
    "ssh_config",
    "known_hosts",
];

/// The first line of kvmc's files, so that a file of the user is never overwritten.
pub(super) const HEADER: &str = "# made by kvmc";

/// The second line, before a digest of the rest. It shows what the user changed, whatever became of the record.
const SEAL: &str =
    "# kvmc replaces and removes this file only while the rest of it has the digest ";

/// ssh_config(5): seconds between questions to a silent node, and unanswered questions after which the connection
/// counts as lost. A rebooting node does not close its connections, and ssh would wait forever. An emulated node on a
/// busy host may be silent for long.
pub(super) const ALIVE: (u8, u8) = (15, 8);

/// A file's text with two lines before it: the cluster and the purpose, and the digest.
pub(super) fn sealed(cluster: &str, purpose: &str, body: &str) -> String {
    let first = format!("{HEADER} for cluster {cluster}; {purpose}");
    format!("{first}\n{SEAL}{}\n{body}", seal(&first, body))
}

/// The cluster that a file was made for; none if the file was changed.
pub(super) fn sealed_for(text: &str) -> Option<&str> {
    let (first, rest) = text.split_once('\n')?;
    let (second, body) = rest.split_once('\n')?;
    if second.strip_prefix(SEAL)? != seal(first, body) {
        return None;
    }
    let cluster = first
        .strip_prefix(HEADER)?
        .strip_prefix(" for cluster ")?
        .split_once(';')?
        .0;
    Some(cluster)
}

fn seal(first: &str, body: &str) -> String {
    let digest = Sha256::digest(format!("{first}\n{body}"));
    let mut text = hex(&digest);
    text.truncate(16);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_whose_it_is_until_it_is_changed() {
        let text = sealed("lab", "for ssh", "Host a\n");
        assert!(text.starts_with("# made by kvmc for cluster lab; for ssh\n"));
        assert_eq!(sealed_for(&text), Some("lab"));
        for changed in [
            text.replace("Host a", "Host b"),
            text.replace("lab", "k80"),
            format!("{text}more\n"),
            format!("{HEADER}\n"),
        ] {
            assert_eq!(sealed_for(&changed), None, "{changed}");
        }
    }
}
