//! Every table and every JSON shape that kvmc prints, compared with the agreed snapshots.
//!
//! After an intended change, write the snapshots again and read their diff:
//!
//!     INSTA_UPDATE=always cargo test --workspace --bins every_table_and_every_json

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use kvmc_images::{Architecture, Boot, Guest, Origin};

use super::doctor::doctor_text;
use super::forward::forwards_text;
use super::image::{catalogue_text, image_text, images_text};
use super::json_text;
use super::settings::settings_text;
use super::status::text as status_text;
use super::up::plan_text;
use crate::hint::command;
use crate::ids::now;
use crate::model::{
    Accelerator, CatalogueEntry, Cause, ClusterStatus, EndStatus, Event, EventKind, Finding,
    FirewallStatus, ForwardReport, FrozenReport, ImageDetail, ImageReport, MachineStatus,
    NetworkStatus, NicStatus, NodeStatus, PlanReport, RestoredStatus, SCHEMA, Verdict,
    VitalsStatus,
};
use crate::spec::{Settings, parse_file};

fn ready(name: &str, host: u8) -> NodeStatus {
    let address = [192, 168, 80, host].into();
    let mac = format!("52:54:00:00:00:{host:02x}");
    NodeStatus {
        name: name.to_owned(),
        role: Some("masters".to_owned()),
        state: "ready".to_owned(),
        pid: Some(4711),
        machine: Some(MachineStatus {
            address,
            mac: mac.clone(),
            vcpus: 2,
            ram: 2 << 30,
            disk: 20 << 30,
            nics: vec![NicStatus {
                network: "main".to_owned(),
                address,
                mac,
                address6: "fd80::2".parse().ok(),
                tap: format!("k80-{name}"),
            }],
        }),
        paused: None,
        vitals: VitalsStatus {
            steal: Some(0.25),
            clock_drift: Some(-1.5),
            clock_drift_error: Some(0.25),
            load: Some(0.5),
        },
        last_end: None,
    }
}

/// A cluster with one ready and one ended node; `time` is when the keeper repaired the rules.
fn cluster(time: u64) -> ClusterStatus {
    let ended = NodeStatus {
        state: "stopped (the guest's kernel panicked)".to_owned(),
        pid: None,
        vitals: VitalsStatus::default(),
        last_end: Some(EndStatus {
            cause: Cause::Panicked,
            what: Cause::Panicked.to_string(),
            time: 1000.5,
        }),
        ..ready("master1", 3)
    };
    ClusterStatus {
        schema: SCHEMA,
        cluster: "k80".to_owned(),
        phase: "up".to_owned(),
        accelerator: Some(Accelerator::Tcg {
            why: "as asked".to_owned(),
            said: String::new(),
        }),
        bridge: Some("k80".to_owned()),
        subnet: "192.168.80.0/24".parse().ok(),
        image: Some("0123456789abcdef".to_owned()),
        keeper: true,
        networks: vec![NetworkStatus {
            name: "main".to_owned(),
            bridge: "k80".to_owned(),
            subnet: "192.168.80.0/24".parse().unwrap(),
            gateway: [192, 168, 80, 1].into(),
            prefix6: "fd80::/64".parse().ok(),
            gateway6: "fd80::1".parse().ok(),
            isolated: false,
            mtu: 1500,
        }],
        firewall: Some(FirewallStatus {
            missing: vec!["NAT rules (nft table inet kvmc_k80)".to_owned()],
            obstacles: vec!["ufw drops forwarded packets".to_owned()],
            among_others: vec!["DOCKER-USER of iptables (nft)".to_owned()],
            restored: Some(RestoredStatus {
                time,
                times: 2,
                what: vec!["net.ipv4.ip_forward".to_owned()],
            }),
        }),
        forwards: vec!["8080:master0:80".to_owned()],
        nodes: vec![ready("master0", 2), ended],
        bridges: Vec::new(),
        doubts: vec![format!(
            "the bridge k80 is missing or changed; {} makes it again",
            command("k80", "up")
        )],
    }
}

/// The traces of a cluster whose record is missing.
fn without_record() -> ClusterStatus {
    ClusterStatus {
        phase: "unknown".to_owned(),
        accelerator: None,
        bridge: None,
        subnet: None,
        image: None,
        networks: Vec::new(),
        firewall: None,
        forwards: Vec::new(),
        nodes: vec![NodeStatus {
            role: None,
            state: "running".to_owned(),
            machine: None,
            vitals: VitalsStatus::default(),
            ..ready("master0", 2)
        }],
        bridges: vec!["k80".to_owned()],
        doubts: vec![format!(
            "its record is missing; {} removes the remains",
            command("k80", "down")
        )],
        ..cluster(0)
    }
}

fn image(id: &str, origin: Origin) -> ImageReport {
    ImageReport {
        id: id.to_owned(),
        name: "debian-13-amd64".to_owned(),
        tags: vec!["base".to_owned()],
        architecture: Architecture::Amd64,
        boot: Boot::Direct,
        guest: Guest::Agent,
        origin,
        parent: None,
        created: 1000,
        virtual_size: 3 << 30,
        size: 700 << 20,
        outdated: true,
        digest: "sha256:00ff".to_owned(),
        used_by: vec!["k80".to_owned()],
        frozen: vec![FrozenReport {
            id: "89abcdef".to_owned(),
            size: 120 << 20,
            clusters: vec!["k80".to_owned()],
            shape: "2G of RAM, 2 vcpus".to_owned(),
        }],
    }
}

fn pulled() -> ImageReport {
    ImageReport {
        tags: Vec::new(),
        boot: Boot::Uefi,
        guest: Guest::CloudInit,
        parent: Some("0123456789abcdef".to_owned()),
        outdated: false,
        used_by: Vec::new(),
        frozen: Vec::new(),
        ..image(
            "fedcba9876543210",
            Origin::Pulled {
                url: "https://images.example/debian.qcow2".to_owned(),
                checksum: None,
                keyring: None,
            },
        )
    }
}

fn finding(check: &str, verdict: Verdict, what: &str) -> Finding {
    Finding {
        check: check.to_owned(),
        verdict,
        what: what.to_owned(),
    }
}

fn json(value: &impl serde::Serialize) -> String {
    json_text(value).unwrap()
}

/// Everything that is printed, by the name of its snapshot.
fn all() -> Vec<(&'static str, String)> {
    let images = [
        image(
            "0123456789abcdef",
            Origin::Committed {
                node: "k80/master0".to_owned(),
            },
        ),
        pulled(),
    ];
    let detail = ImageDetail {
        image: pulled(),
        directory: "/var/lib/kvmc/images/fedcba9876543210".to_owned(),
        verified: true,
    };
    let catalogue = [CatalogueEntry {
        name: "debian-13".to_owned(),
        about: "Debian 13, generic cloud image".to_owned(),
        urls: BTreeMap::from([(
            "amd64".to_owned(),
            "https://images.example/debian-13.qcow2".to_owned(),
        )]),
    }];
    let forward = |address: Option<[u8; 4]>| ForwardReport {
        protocol: "tcp",
        address: address.map(Into::into),
        port: 8080,
        node: "master0".to_owned(),
        node_port: 80,
        target: "192.168.80.2:80".to_owned(),
        text: "8080:master0:80".to_owned(),
    };
    let forwards = [forward(None), forward(Some([127, 0, 0, 1]))];
    let findings = [
        finding(
            "KVM",
            Verdict::Slow,
            "/dev/kvm is not there; nodes are emulated",
        ),
        finding("QEMU", Verdict::Ok, "7.2.0"),
        finding("cluster far", Verdict::Remains, "a QEMU of master0"),
    ];
    let plan = PlanReport {
        cluster: "k80".to_owned(),
        steps: vec![
            "write the record".to_owned(),
            "make the bridge k80".to_owned(),
        ],
    };
    let event = Event {
        event: EventKind::GivenUp,
        node: "master0".to_owned(),
        note: "it ended 5 times in a minute".to_owned(),
        number: 7,
        time: 1000.5,
    };
    // This host's architecture must not show in the snapshot.
    let file = parse_file(Path::new("kvmc.toml"), "architecture = 'amd64'").unwrap();
    // A time in the future shows as 0 s ago.
    let later = now() as u64 + 1000;
    vec![
        ("status", status_text(&cluster(later))),
        ("status-json", json(&cluster(1000))),
        ("status-without-record", status_text(&without_record())),
        ("status-without-record-json", json(&without_record())),
        ("image-ls", images_text(&images)),
        ("image-ls-json", json(&images)),
        ("image-ls-catalogue", catalogue_text(&catalogue)),
        ("image-ls-catalogue-json", json(&catalogue)),
        ("image-inspect", image_text(&detail)),
        ("image-inspect-json", json(&detail.image)),
        ("forward-ls", forwards_text(&forwards)),
        ("forward-ls-json", json(&forwards)),
        ("doctor", doctor_text(&findings)),
        ("config", settings_text(&Settings::resolve([file]))),
        ("up-dry-run", plan_text(&plan)),
        ("event", json(&event)),
    ]
}

#[test]
fn every_table_and_every_json_shape_matches_its_snapshot() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let all = all();
    settings.bind(|| {
        for (name, text) in &all {
            insta::assert_snapshot!(*name, text);
        }
    });
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/output/snapshots");
    let kept: BTreeSet<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".snap"))
        .collect();
    let wanted: BTreeSet<_> = all.iter().map(|(name, _)| format!("{name}.snap")).collect();
    assert_eq!(kept, wanted, "snapshots of output that no longer exists");
}
