//! Converts records of earlier formats to the current one. Nothing on disk changes until the next write.

use anyhow::{Result, bail};
use serde_json::Value;

use super::format1::Record1;
use super::record::ClusterRecord;

/// Reads a record of the current or an earlier format.
///
/// # Errors
/// Fails if a field is missing or has another type, or if the format is unknown.
pub(super) fn read(value: Value, format: u64) -> Result<ClusterRecord> {
    match format {
        2 => {
            let record: ClusterRecord = serde_json::from_value(value)?;
            check(&record)?;
            Ok(record)
        }
        1 => serde_json::from_value::<Record1>(value)?.migrate(),
        _ => bail!("unknown format {format}; no version of kvmc writes it"),
    }
}

/// Checks what the types do not express.
fn check(record: &ClusterRecord) -> Result<()> {
    let main = &record.main().name;
    match record
        .nodes
        .iter()
        .find(|n| n.nics.first().is_none_or(|nic| nic.network != *main))
    {
        None => Ok(()),
        Some(node) => bail!("{} has no NIC in the network {main}", node.name),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::record::Base;
    use super::*;
    use crate::spec::Restart;

    /// A cluster of format 1 with every field that it can have.
    fn full() -> Value {
        json!({
            "format": 1, "generation": 7, "phase": "up", "image": "aa",
            "accelerator": { "kind": "kvm" }, "project": "/p",
            "spec": {
                "name": "lab", "architecture": "amd64", "accel": "auto",
                "masters": { "count": 1, "ram": 1_073_741_824_u64, "restart": "always" },
                "workers": { "count": 1, "ram": 2_147_483_648_u64 },
                "load_balancers": { "count": 0, "ram": 2_147_483_648_u64 },
                "vcpus": 2, "disk": 4_294_967_296_u64,
                "subnet": "10.1.0.0/24", "bridge": "lab0", "ipv6": true,
                "networks": [{ "name": "st", "subnet": "10.2.0.0/24" }],
                "image": {
                    "name": "debian-13", "roles": { "worker": "built-in" },
                    "suite": "trixie", "mirror": null, "packages": ["vim"],
                    "user_data": "/u",
                },
            },
            "network": {
                "bridge": "lab0", "mac": "52:54:00:00:00:01", "subnet": "10.1.0.0/24",
                "gateway": "10.1.0.1", "mtu": 1400, "table": "kvmc_lab0", "dns": ["10.1.0.1"],
                "forwarding_was_off": true, "namespace": 9, "boot_id": "b", "resolved": true,
                "prefix6": "fd00::/64",
            },
            "more_networks": [{
                "name": "st", "bridge": "lab0--st", "mac": "52:54:00:00:00:02",
                "subnet": "10.2.0.0/24", "gateway": "10.2.0.1", "mtu": 1400,
                "table": "kvmc_st", "dns": [], "forwarding_was_off": false, "namespace": 9,
            }],
            "forwards": ["80:worker0:80"],
            "nodes": [
                {
                    "name": "master0", "role": "master", "address": "10.1.0.2",
                    "mac": "52:54:00:00:00:03", "uuid": "u", "machine_id": "m", "uid": 1,
                    "tap": "t", "vcpus": 2, "ram": 1_073_741_824_u64,
                    "disk": 4_294_967_296_u64, "frozen": "f-1",
                    "more_nics": [{ "address": "10.2.0.2", "mac": "52:54:00:00:00:04", "tap": "t1" }],
                },
                {
                    "name": "worker0", "role": "worker", "address": "10.1.0.3",
                    "mac": "52:54:00:00:00:05", "uuid": "v", "machine_id": "n", "uid": 2,
                    "tap": "t2", "vcpus": 2, "ram": 2_147_483_648_u64,
                    "disk": 4_294_967_296_u64, "image": "bb", "seeded": true,
                },
            ],
        })
    }

    #[test]
    fn p8_a_record_of_format_1_is_converted_without_loss() {
        let record = read(full(), 1).unwrap();
        assert_eq!((record.format, record.generation), (2, 7));
        assert_eq!(
            (record.host.namespace, record.host.boot_id.as_str()),
            (9, "b")
        );
        assert!(record.host.forwarding_was_off && record.host.resolved);
        let names: Vec<_> = record.networks().map(|n| n.name.as_str()).collect();
        assert_eq!(names, ["main", "st"]);
        let role = |name: &str| record.spec.role(name).unwrap().clone();
        assert_eq!(role("masters").restart, Restart::Always);
        assert_eq!(
            (
                role("masters").image.as_str(),
                role("workers").image.as_str()
            ),
            ("debian-13", "built-in")
        );
        assert_eq!(role("workers").user_data, Some("/u".into()));
        assert_eq!(
            (role("load_balancers").count, role("workers").vcpus),
            (0, 2)
        );
        assert_eq!(record.spec.template.packages, ["vim"]);
        let master = record.node("master0").unwrap();
        let frozen = Base::Frozen {
            frozen: "f-1".to_owned(),
            image: "aa".to_owned(),
        };
        assert_eq!((&master.base, master.role.as_str()), (&frozen, "masters"));
        assert_eq!(master.nic("st").unwrap().tap, "t1");
        let worker = record.node("worker0").unwrap();
        assert_eq!((worker.base.image(), worker.seeded), ("bb", true));
        assert_eq!(worker.nics.len(), 1);
        // The converted record is written and read again without a change.
        let again = read(serde_json::to_value(&record).unwrap(), 2).unwrap();
        assert_eq!(again, record);
    }

    #[test]
    fn an_unknown_format_and_a_node_without_a_network_are_damage() {
        assert!(
            read(full(), 0)
                .unwrap_err()
                .to_string()
                .contains("format 0")
        );
        let mut value = serde_json::to_value(read(full(), 1).unwrap()).unwrap();
        value["nodes"][0]["nics"] = json!([]);
        let error = read(value, 2).unwrap_err().to_string();
        assert_eq!(error, "master0 has no NIC in the network main");
    }
}
