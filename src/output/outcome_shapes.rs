//! Samples of what verbs print as JSON when they are done, for the snapshots of [`super::shape_tests`].

use std::path::Path;
use std::time::Duration;

use super::support::version_text;
use super::{json_text, outcome_text};
use crate::model::{
    CopyReport, DownReport, Fault, FaultStatus, ForwardChange, ForwardReport, Found, ImageExport,
    ImagePruning, ImageRemoval, NodeFailure, NodeStop, QemuVersion, SCHEMA, SeenFault, StopReport,
    SupportReport, UpOutcome, UpReport, VersionReport,
};
use crate::spec::{Settings, parse_file};

pub(super) fn up() -> UpReport {
    let fault = Fault::Ssh {
        address: [192, 168, 80, 4].into(),
        refused: true,
    };
    let fault = FaultStatus {
        what: fault.to_string(),
        cure: "`systemctl start ssh` there starts it".to_owned(),
        seen: SeenFault {
            fault,
            since: 1000.5,
        },
    };
    UpReport {
        cluster: "k80".to_owned(),
        nodes: 3,
        first: "master0".to_owned(),
        outcome: UpOutcome::Done {
            started: vec!["master0".to_owned()],
            failed: vec![NodeFailure {
                node: "worker0".to_owned(),
                why: "QEMU ended: exit status: 1".to_owned(),
            }],
            removed: vec!["worker1".to_owned()],
        },
        pending: vec!["lbl0".to_owned()],
        waiting: Vec::new(),
        project: "/project".into(),
        instead: None,
        faults: vec![("master0".to_owned(), fault)],
        took: Duration::from_millis(1500),
    }
}

fn stop() -> StopReport {
    let clean = NodeStop::Clean(Duration::from_millis(2500));
    let forced = NodeStop::Forced("the guest did not power off".to_owned());
    StopReport {
        cluster: "k80".to_owned(),
        was_stopped: false,
        nodes: vec![
            ("master0".to_owned(), clean),
            ("worker0".to_owned(), forced),
            ("lbl0".to_owned(), NodeStop::WasStopped),
        ],
        errors: Vec::new(),
        kept: None,
    }
}

fn version() -> VersionReport {
    VersionReport {
        schema: SCHEMA,
        version: "0.1.0".to_owned(),
        commit: Some("0123456789ab".to_owned()),
        qemu: Some(QemuVersion {
            version: "7.2.22".to_owned(),
            path: "/usr/bin/qemu-system-x86_64".into(),
        }),
    }
}

/// What verbs about copies, forwards and images print.
fn small() -> Vec<(&'static str, String)> {
    let copies = CopyReport {
        number: 2,
        failed: vec![NodeFailure {
            node: "worker0".to_owned(),
            why: "write remote: Failure".to_owned(),
        }],
    };
    let forward = ForwardReport {
        protocol: "tcp",
        address: None,
        port: 8080,
        node: "master0".to_owned(),
        node_port: 80,
        target: "192.168.80.2:80".to_owned(),
        text: "8080:master0:80".to_owned(),
    };
    let export = ImageExport {
        image: "0123456789abcdef".to_owned(),
        file: "image.zst".into(),
        size: 4096,
    };
    let removed = ImageRemoval {
        removed: "0123456789abcdef".to_owned(),
    };
    let image = super::image_shapes::pulled();
    vec![
        ("cp-json", outcome_text(&copies).unwrap()),
        (
            "forward-add-json",
            outcome_text(&ForwardChange::added(vec![forward])).unwrap(),
        ),
        ("image-build-json", outcome_text(&image).unwrap()),
        ("image-export-json", outcome_text(&export).unwrap()),
        ("image-rm-json", outcome_text(&removed).unwrap()),
        (
            "image-prune-json",
            outcome_text(&ImagePruning { freed: 4096 }).unwrap(),
        ),
    ]
}

/// Each sample by the name of its snapshot.
pub(super) fn all() -> Vec<(&'static str, String)> {
    let recorded = UpReport {
        outcome: UpOutcome::Recorded {
            removed: vec!["worker1".to_owned()],
            later: Vec::new(),
        },
        ..up()
    };
    let down = DownReport {
        cluster: "k80".to_owned(),
        found: Found::Leftovers(vec!["rules".to_owned()]),
        killed: 2,
        errors: Vec::new(),
        kept: vec!["the file inventory was changed".to_owned()],
    };
    let support = SupportReport {
        schema: SCHEMA,
        file: "kvmc-support.tar.gz".into(),
        size: 4096,
        files: vec!["versions.txt".to_owned()],
    };
    // This host's architecture must not show in the snapshot.
    let file = parse_file(Path::new("kvmc.toml"), "architecture = 'amd64'").unwrap();
    let settings = super::settings::listed(&Settings::resolve([file]));
    let larger = vec![
        ("up-json", outcome_text(&up()).unwrap()),
        ("up-recorded-json", outcome_text(&recorded).unwrap()),
        ("stop-json", outcome_text(&stop()).unwrap()),
        ("down-json", outcome_text(&down).unwrap()),
        ("support-json", json_text(&support).unwrap()),
        ("version", version_text(&version())),
        ("version-json", json_text(&version()).unwrap()),
        ("config-json", json_text(&settings).unwrap()),
    ];
    larger.into_iter().chain(small()).collect()
}
