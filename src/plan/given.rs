//! Checks the addresses that nodes were given against those that are taken.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use anyhow::{Result, bail};

use crate::spec::ClusterSpec;
use crate::state::NodeRecord;

/// Refuses an address that another node or somebody on the bridge has, and another address for a node than it has.
///
/// # Errors
/// Fails at the first such address.
pub(super) fn check(
    spec: &ClusterSpec,
    existing: &[NodeRecord],
    in_use: &BTreeSet<Ipv4Addr>,
) -> Result<()> {
    for (name, given) in spec.nodes.iter().filter_map(|(n, s)| Some((n, s.address?))) {
        match existing.iter().find(|n| n.name == *name) {
            Some(node) if node.address() == given => continue,
            Some(node) => bail!(
                "nodes.{name}.address: `{given}` is requested, but {name} has {}; a node keeps its address for life",
                node.address()
            ),
            None => {}
        }
        let has = |n: &&NodeRecord| n.nics.iter().any(|nic| nic.address == given);
        if let Some(other) = existing.iter().find(has) {
            bail!(
                "nodes.{name}.address: `{given}` is the address of {}",
                other.name
            );
        }
        if in_use.contains(&given) {
            bail!("nodes.{name}.address: another machine on the bridge answers for `{given}`");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::record_of_file;
    use crate::spec::NodeSpec;

    #[test]
    fn a_node_has_the_address_that_was_given_to_it_and_no_other_gets_it() {
        let record = record_of_file(
            "[nodes.worker0]\naddress = \"192.168.80.2\"\n[nodes.lbl0]\naddress = \"192.168.80.50\"\n",
        );
        let address = |n: &str| record.node(n).unwrap().address().to_string();
        assert_eq!(address("worker0"), "192.168.80.2");
        assert_eq!(address("master0"), "192.168.80.3");
        assert_eq!(address("lbl0"), "192.168.80.50");
        for (node, given, expected) in [
            ("master0", "192.168.80.9", "master0 has 192.168.80.3"),
            ("worker3", "192.168.80.50", "is the address of lbl0"),
        ] {
            let mut spec = record.spec.clone();
            spec.roles[1].count = 4;
            let address = Some(given.parse().unwrap());
            spec.nodes.insert(node.to_owned(), NodeSpec { address });
            let error = check(&spec, &record.nodes, &BTreeSet::new());
            let error = error.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let spec = &record.spec;
        assert!(check(spec, &record.nodes, &BTreeSet::new()).is_ok());
        let in_use = ["192.168.80.50".parse().unwrap()].into();
        let error = check(spec, &[], &in_use).unwrap_err().to_string();
        assert!(error.contains("another machine on the bridge"), "{error}");
    }
}
