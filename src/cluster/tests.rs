//! A cluster for unit tests.

use crate::model::Accelerator;
use crate::node::KeyPair;
use crate::node::Secrets;
use crate::node::identity::HostKeys;
use crate::spec::{ClusterSpec, Key, Layer, MAIN, Settings, Source, check};
use crate::state::{ClusterRecord, NetworkRecord, State};

pub(crate) fn record() -> ClusterRecord {
    record_of(check(&Settings::resolve([])).unwrap()).unwrap()
}

/// The record of a new cluster of this spec.
pub(crate) fn record_of(spec: ClusterSpec) -> anyhow::Result<ClusterRecord> {
    let network = NetworkRecord {
        name: MAIN.to_owned(),
        bridge: spec.bridge.clone(),
        mac: "52:54:00:00:00:01".parse().unwrap(),
        subnet: spec.subnet,
        gateway: "192.168.80.1".parse().unwrap(),
        mtu: 1500,
        isolated: false,
        prefix6: None,
        table: "kvmc_k80".to_owned(),
        dns: Vec::new(),
        forwarding_was_off: false,
        namespace: 0,
        resolved: false,
        boot_id: String::new(),
    };
    let accelerator = Accelerator::Tcg {
        why: "test".to_owned(),
        said: String::new(),
    };
    let root = |n: &str| (n == "KVMC_STATE_DIR").then(|| "/s".to_owned());
    let dir = State::locate(root, true).unwrap().cluster("k80");
    let networks = crate::network::beside(network, &spec, &dir);
    super::record::compose(
        spec,
        &picks(),
        accelerator,
        "/project".into(),
        networks,
        std::path::Path::new("/s"),
        &[],
    )
}

fn picks() -> std::collections::BTreeMap<crate::spec::Role, crate::image::Pick> {
    let pick = crate::image::Pick {
        id: "0".repeat(32),
        guest: kvmc_images::Guest::Agent,
    };
    crate::spec::Role::ALL.map(|r| (r, pick.clone())).into()
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
        &picks(),
        first.accelerator.clone(),
        first.project.clone(),
        first.networks().cloned().collect(),
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

fn spec_with(networks: &str) -> ClusterSpec {
    let source = Source::Flag("--network");
    let layer = Layer::from([(Key::Networks, (networks.to_owned(), source))]);
    check(&Settings::resolve([layer])).unwrap()
}

/// A record with a network more, of IPv6.
fn with_storage() -> ClusterRecord {
    record_of(spec_with("name=storage,subnet=10.81.0.0/24,ipv6")).unwrap()
}

#[test]
fn a_bridge_with_a_taps_name_is_refused() {
    let spec = spec_with("name=a,subnet=10.81.0.0/24,bridge=k80-master0");
    let error = record_of(spec).unwrap_err().to_string();
    assert!(error.contains("k80-master0 of network a"), "{error}");
}

#[test]
fn a_node_has_a_card_in_each_network_and_no_two_share_anything() {
    let record = with_storage();
    let mut seen = std::collections::HashSet::new();
    for network in record.networks() {
        assert!(network.bridge.len() <= 15 && seen.insert(network.bridge.clone()));
        assert!(seen.insert(network.mac.to_string()) && seen.insert(network.table.clone()));
    }
    for node in &record.nodes {
        assert_eq!(record.nics(node).count(), 2);
        for (network, nic) in record.nics(node) {
            assert!(network.subnet.contains(nic.address));
            assert!(nic.tap.len() <= 15, "{}", nic.tap);
            for thing in [nic.address.to_string(), nic.mac.to_string(), nic.tap] {
                assert!(seen.insert(thing.clone()), "{thing} twice");
            }
        }
    }
    let storage = &record.more_networks[0];
    assert_eq!(storage.bridge, "k80--storage");
    let lbl0 = record.node("lbl0").unwrap();
    assert_eq!(lbl0.more_nics[0].address.to_string(), "10.81.0.8");
    let address = storage.address6(lbl0.more_nics[0].mac).unwrap();
    assert!(storage.prefix6.unwrap().contains(address));
    assert_ne!(Some(address), storage.gateway6());
    assert_eq!(record.network.address6(lbl0.mac), None);
}

#[test]
fn an_interface_id_is_made_of_the_mac_as_rfc_4291_shows_it() {
    let mut network = record().network;
    network.prefix6 = Some("fd00:1:2:3::/64".parse().unwrap());
    let address = network.address6("34:56:78:9a:bc:de".parse().unwrap());
    assert_eq!(
        address.unwrap().to_string(),
        "fd00:1:2:3:3656:78ff:fe9a:bcde"
    );
    assert_eq!(network.gateway6().unwrap().to_string(), "fd00:1:2:3::1");
}

#[test]
fn a_record_of_before_is_one_of_one_network() {
    let record = record();
    let mut json = serde_json::to_value(&record).unwrap();
    let network = json
        .pointer_mut("/network")
        .unwrap()
        .as_object_mut()
        .unwrap();
    network.remove("name");
    network.remove("isolated");
    let spec = json.pointer_mut("/spec").unwrap().as_object_mut().unwrap();
    for key in ["isolated", "ipv6", "networks", "forwards"] {
        spec.remove(key);
    }
    assert!(json.get("more_networks").is_none());
    assert_eq!(
        serde_json::from_value::<ClusterRecord>(json).unwrap(),
        record
    );
}
