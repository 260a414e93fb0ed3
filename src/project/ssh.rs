//! ssh's files: its configuration and the nodes' host keys.

use std::fmt::Write;
use std::path::Path;

use super::common::{ALIVE, sealed};
use super::{proxy, quote};
use crate::node::Secrets;
use crate::node::identity::ADMIN;
use crate::state::{ClusterRecord, NodeRecord};

/// An ssh_config(5) with the paths of `folder`.
pub(super) fn config(record: &ClusterRecord, folder: &Path) -> String {
    let mut text = String::new();
    let domain = record.spec.domain();
    // The whole name tells the nodes of several clusters apart.
    let names = |node: &NodeRecord| format!("{0} {0}.{domain}", node.name);
    for node in &record.nodes {
        let _infallible = write!(
            text,
            "\nHost {}\n  HostName {}\n",
            names(node),
            node.address()
        );
    }
    let names: Vec<_> = record.nodes.iter().map(names).collect();
    let _infallible = write!(
        text,
        "\nHost {}\n  User {ADMIN}\n  IdentityFile {}\n  IdentitiesOnly yes\n  UserKnownHostsFile {}\n  StrictHostKeyChecking yes\n  ServerAliveInterval {}\n  ServerAliveCountMax {}\n  LogLevel ERROR\n",
        names.join(" "),
        quote::ssh(&folder.join("id_rsa")),
        quote::ssh(&folder.join("known_hosts")),
        ALIVE.0,
        ALIVE.1,
    );
    if let Some(command) = proxy::command(record) {
        let _infallible = writeln!(text, "  ProxyCommand {command}");
    }
    sealed(&record.spec.name, "ssh -F ssh_config NODE", &text)
}

/// Each node's host keys under its name and its address, sshd(8).
pub(super) fn known_hosts(record: &ClusterRecord, secrets: &Secrets) -> String {
    let mut text = String::new();
    for node in &record.nodes {
        let Some(keys) = secrets.hosts.get(&node.name) else {
            continue;
        };
        for (_, key) in keys.all() {
            let mut words = key.public.split_whitespace();
            let (Some(kind), Some(blob)) = (words.next(), words.next()) else {
                continue;
            };
            let _infallible = writeln!(text, "{},{} {kind} {blob}", node.name, node.address());
        }
    }
    sealed(&record.spec.name, "the nodes' host keys", &text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::record;

    #[test]
    fn a_connection_to_a_vanished_node_ends_by_itself() {
        let config = config(&record(), Path::new("/x"));
        assert!(config.contains("  ServerAliveInterval 15\n  ServerAliveCountMax 8\n"));
    }

    #[test]
    fn every_host_key_that_a_node_may_offer_is_known() {
        let mut secrets = crate::samples::secrets();
        for keys in secrets.hosts.values_mut() {
            keys.ecdsa = Some(crate::node::ecdsa_key("x").unwrap());
        }
        let known = known_hosts(&record(), &secrets);
        let of_master = known.lines().filter(|l| l.starts_with("master0,"));
        assert_eq!(of_master.count(), 3, "{known}");
        assert!(known.contains(" ecdsa-sha2-nistp256 "));
    }
}
