//! Every table and every JSON shape that kvmc prints, compared with the agreed snapshots.
//!
//! After an intended change, write the snapshots again and read their diff:
//!
//!     INSTA_UPDATE=always cargo test --workspace --bins every_table_and_every_json

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use kvmc_images::Origin;

use super::doctor::doctor_text;
use super::forward::forwards_text;
use super::image::{catalogue_text, image_text, images_text};
use super::image_shapes::{image, pulled};
use super::json_text;
use super::plan::plan_text;
use super::settings::settings_text;
use super::status::text as status_text;
use super::up::steps_text;
use crate::hint::command;
use crate::ids::now;
use crate::model::{
    Accelerator, CatalogueEntry, Cause, ClusterStatus, DoctorReport, Effect, EndStatus, Event,
    EventKind, Fault, FaultStatus, Finding, FirewallStatus, ForwardReport, ImageDetail,
    MachineStatus, NetworkStatus, NicStatus, NodeChange, NodeStatus, PlanReport, RestoredStatus,
    SCHEMA, SeenFault, SettingChange, TieKind, TieStatus, UsageStatus, Verdict, VitalsStatus,
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
            disks: vec![1 << 30],
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
        usage: UsageStatus {
            uptime: Some(7300.0),
            cpu: Some(0.125),
            cpu_seconds: Some(95.5),
            rss: Some(310 << 20),
            pss: Some(190 << 20),
            shared: Some(180 << 20),
            private: Some(130 << 20),
            grown: Some(1200 << 20),
        },
        last_end: None,
        faults: Vec::new(),
    }
}

/// A node that was ready and whose sshd is stopped.
fn unreachable() -> NodeStatus {
    let fault = Fault::Ssh {
        address: [192, 168, 80, 4].into(),
        refused: true,
    };
    NodeStatus {
        state: "not ready: no sshd".to_owned(),
        faults: vec![FaultStatus {
            what: fault.to_string(),
            cure: "`systemctl start ssh` there starts it".to_owned(),
            seen: SeenFault {
                fault,
                since: 1000.5,
            },
        }],
        ..ready("master2", 4)
    }
}

/// A cluster with one ready, one ended and one unreachable node; `time` is when the keeper repaired the rules.
fn cluster(time: u64) -> ClusterStatus {
    let ended = NodeStatus {
        state: "stopped (the guest's kernel panicked)".to_owned(),
        pid: None,
        vitals: VitalsStatus::default(),
        usage: UsageStatus::default(),
        last_end: Some(EndStatus {
            cause: Cause::Panicked,
            what: Cause::Panicked.to_string(),
            time: 1000.5,
        }),
        ..ready("master1", 3)
    };
    ClusterStatus {
        schema: SCHEMA,
        snapshot: None,
        fork_of: None,
        suspended: false,
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
        links_restored: Some(RestoredStatus {
            time,
            times: 1,
            what: vec!["the port k80-master0 of k80".to_owned()],
        }),
        forwards: vec!["8080:master0:80".to_owned()],
        ties: vec![TieStatus {
            kind: TieKind::Share,
            node: "worker0".to_owned(),
            path: "src".to_owned(),
            folder: "/home/me/src".to_owned(),
            read_only: false,
            state: "attached".to_owned(),
        }],
        nodes: vec![ready("master0", 2), ended, unreachable()],
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
        links_restored: None,
        forwards: Vec::new(),
        ties: Vec::new(),
        nodes: vec![NodeStatus {
            role: None,
            state: "running".to_owned(),
            machine: None,
            vitals: VitalsStatus::default(),
            usage: UsageStatus::default(),
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

fn finding(check: &str, verdict: Verdict, what: &str) -> Finding {
    Finding {
        check: check.to_owned(),
        verdict,
        what: what.to_owned(),
        cure: (verdict == Verdict::Missing).then(|| "install it".to_owned()),
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
        finding(
            "nft",
            Verdict::Missing,
            "the program `nft` is not installed",
        ),
        finding("cluster far", Verdict::Remains, "a QEMU of master0"),
    ];
    let plan = PlanReport {
        schema: SCHEMA,
        cluster: "k80".to_owned(),
        is_new: false,
        settings: vec![SettingChange {
            key: "master_ram".to_owned(),
            before: Some("2G".to_owned()),
            after: Some("1G".to_owned()),
            source: Some("kvmc.toml:3".to_owned()),
            effect: Effect::NextStart,
        }],
        nodes: [
            (
                "worker2",
                "192.168.80.7",
                vec![Effect::RemovesNode, Effect::LosesData],
            ),
            ("master0", "disk 4G -> 6G", vec![Effect::Live]),
            (
                "lbl1",
                "192.168.80.9, 1 vcpu, 2G RAM, 4G disk",
                vec![Effect::NewNode],
            ),
        ]
        .map(|(node, what, effects)| NodeChange {
            node: node.to_owned(),
            what: what.to_owned(),
            effects,
        })
        .to_vec(),
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
        ("status", status_text(&cluster(later), false)),
        ("status-wide", status_text(&cluster(later), true)),
        ("status-json", json(&cluster(1000))),
        (
            "status-without-record",
            status_text(&without_record(), false),
        ),
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
        (
            "doctor-json",
            json(&DoctorReport {
                schema: SCHEMA,
                findings: findings.to_vec(),
            }),
        ),
        ("config", settings_text(&Settings::resolve([file]))),
        ("up-dry-run", steps_text(&plan)),
        ("plan", plan_text(&plan, false)),
        (
            "plan-in-colour",
            plan_text(&plan, true).replace('\u{1b}', "ESC"),
        ),
        ("plan-json", json(&plan)),
        ("event", json(&event)),
    ]
}

#[test]
fn every_table_and_every_json_shape_matches_its_snapshot() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let mut all = all();
    all.extend(super::seeing_shapes::all());
    all.extend(super::outcome_shapes::all());
    all.extend(super::snapshot_shapes::all());
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
