//! A sample cluster for unit tests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::image::Pick;
use crate::model::{Accelerator, Progress, Stage};
use crate::network::all_networks;
use crate::node::identity::HostKeys;
use crate::node::{KeyPair, Secrets};
use crate::plan::{Design, compose};
use crate::spec::{ClusterSpec, MAIN, Settings, check, parse_file};
use crate::state::{ClusterRecord, HostRecord, NetworkRecord, State};

/// The record of a new default cluster.
pub(crate) fn record() -> ClusterRecord {
    record_of(check(&Settings::resolve([])).unwrap()).unwrap()
}

/// The record of a new cluster from the text of a `kvmc.toml`.
pub(crate) fn record_of_file(text: &str) -> ClusterRecord {
    let layer = parse_file(Path::new("kvmc.toml"), text).unwrap();
    record_of(check(&Settings::resolve([layer])).unwrap()).unwrap()
}

/// The record of a new cluster from a specification.
pub(crate) fn record_of(spec: ClusterSpec) -> anyhow::Result<ClusterRecord> {
    let network = NetworkRecord {
        name: MAIN.to_owned(),
        bridge: spec.bridge.clone(),
        mac: "52:54:00:00:00:01".parse().unwrap(),
        subnet: spec.subnet,
        gateway: "192.168.80.1".parse().unwrap(),
        mtu: 1500,
        lldp: false,
        isolated: false,
        prefix6: None,
        table: "kvmc_k80".to_owned(),
        dns: Vec::new(),
    };
    let accelerator = Accelerator::Tcg {
        why: "test".to_owned(),
        said: String::new(),
    };
    let dir = State::at(Path::new("/s")).cluster("k80");
    compose(Design {
        picks: &picks(&spec),
        accelerator,
        project: "/project".into(),
        host: HostRecord::default(),
        networks: all_networks(network, &spec, &dir),
        dir: Path::new("/s"),
        existing: &[],
        resting: &[],
        in_use: &BTreeSet::new(),
        spec,
    })
}

/// The record of a cluster that is to follow another specification.
///
/// # Errors
/// Fails as [`compose`] does.
pub(crate) fn record_after(
    first: &ClusterRecord,
    spec: ClusterSpec,
) -> anyhow::Result<ClusterRecord> {
    compose(Design {
        picks: &picks(&spec),
        spec,
        accelerator: first.accelerator.clone(),
        project: first.project.clone(),
        host: first.host.clone(),
        networks: first.networks().cloned().collect(),
        dir: Path::new("/s"),
        existing: &first.nodes,
        resting: &first.resting,
        in_use: &BTreeSet::new(),
    })
}

/// What [`Silent`] hears, it forgets.
#[derive(Debug)]
pub(crate) struct Silent;

impl Progress for Silent {
    fn say(&self, _: &str) {}
    fn stage(&self, _: &str, _: Stage, _: &str) {}
    fn transfer(&self, _: &str, _: u64, _: Option<u64>) {}
    fn end(&self) {}
}

/// An image for every role.
pub(crate) fn picks(spec: &ClusterSpec) -> BTreeMap<String, Pick> {
    let pick = Pick {
        id: "0".repeat(32),
        guest: kvmc_images::Guest::Agent,
        virtual_size: 1 << 30,
    };
    let roles = spec.roles.iter();
    roles.map(|r| (r.name.clone(), pick.clone())).collect()
}

/// Secrets of the default cluster.
pub(crate) fn secrets() -> Secrets {
    let key = |text: &str| KeyPair {
        private: format!("private {text}\n"),
        public: format!("ssh-rsa {text} admin@k80 (kvmc)\n"),
    };
    let keys = || HostKeys {
        ed25519: key("a"),
        rsa: key("b"),
        ecdsa: None,
    };
    Secrets {
        password: "secret".to_owned(),
        password_hash: "$6$x".to_owned(),
        admin: key("k"),
        hosts: record()
            .nodes
            .iter()
            .map(|n| (n.name.clone(), keys()))
            .collect(),
    }
}
