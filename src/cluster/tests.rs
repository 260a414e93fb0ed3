//! A cluster for unit tests.

use crate::host::Accelerator;
use crate::node::KeyPair;
use crate::node::Secrets;
use crate::node::identity::HostKeys;
use crate::spec::{Settings, check};
use crate::state::{ClusterRecord, NetworkRecord};

pub(crate) fn record() -> ClusterRecord {
    let spec = check(&Settings::resolve([])).unwrap();
    let network = NetworkRecord {
        bridge: spec.bridge.clone(),
        mac: "52:54:00:00:00:01".parse().unwrap(),
        subnet: spec.subnet,
        gateway: "192.168.80.1".parse().unwrap(),
        mtu: 1500,
        table: "kvmc_k80".to_owned(),
        dns: Vec::new(),
        forwarding_was_off: false,
        namespace: 0,
        boot_id: String::new(),
    };
    let accelerator = Accelerator::Tcg {
        why: "test".to_owned(),
        said: String::new(),
    };
    super::record::compose(
        spec,
        "0".repeat(32),
        accelerator,
        "/project".into(),
        network,
        std::path::Path::new("/s"),
        &[],
    )
    .unwrap()
}

pub(crate) fn secrets() -> Secrets {
    let key = |text: &str| KeyPair {
        private: format!("private {text}\n"),
        public: format!("ssh-rsa {text} x (kvmc)\n"),
    };
    let hosts = record()
        .nodes
        .iter()
        .map(|n| {
            (
                n.name.clone(),
                HostKeys {
                    ed25519: key("a"),
                    rsa: key("b"),
                },
            )
        })
        .collect();
    Secrets {
        password: "secret".to_owned(),
        password_hash: "$6$x".to_owned(),
        admin: key("k"),
        hosts,
    }
}

#[test]
fn every_node_differs_from_every_other_in_all_that_must() {
    let record = record();
    for (i, a) in record.nodes.iter().enumerate() {
        for b in record.nodes.iter().skip(i + 1) {
            assert!(a.mac != b.mac && a.address != b.address && a.uuid != b.uuid);
            assert!(a.uid != b.uid && a.machine_id != b.machine_id && a.tap != b.tap);
        }
    }
}

#[test]
fn a_node_keeps_what_it_has_when_others_join() {
    let first = record();
    let mut spec = first.spec.clone();
    spec.masters.count += 1;
    let next = super::record::compose(
        spec,
        first.image.clone(),
        first.accelerator.clone(),
        first.project.clone(),
        first.network.clone(),
        std::path::Path::new("/s"),
        &first.nodes,
    )
    .unwrap();
    for node in &first.nodes {
        assert_eq!(next.node(&node.name).unwrap(), node);
    }
    assert_eq!(
        next.node("master3").unwrap().address.to_string(),
        "192.168.80.9"
    );
}
