//! Samples of what verbs about snapshots, forks and folders print as JSON, for the snapshots of [`super::shape_tests`].

use std::time::Duration;

use super::outcome_shapes::up;
use super::{json_text, outcome_text};
use crate::model::{
    Change, DiskDiff, Exported, FileDiff, ForkReport, Forked, NodeDiff, NodeFailure, RolledBack,
    SCHEMA, Saved, SnapshotDiff, SnapshotList, SnapshotRemoval, SnapshotRow, TieKind, TieReport,
    TieStatus,
};

fn list() -> SnapshotList {
    SnapshotList {
        schema: SCHEMA,
        cluster: "k80".to_owned(),
        snapshots: vec![SnapshotRow {
            name: "s1".to_owned(),
            time: 1000.5,
            size: 64 << 20,
            nodes: vec!["master0".to_owned(), "worker0".to_owned()],
            note: "before the upgrade".to_owned(),
            parent: None,
            current: true,
        }],
        damaged: vec!["s2: snapshot.json is missing".to_owned()],
    }
}

fn diff() -> SnapshotDiff {
    let file = FileDiff {
        path: "/etc/hosts".to_owned(),
        change: Change::Changed,
    };
    let disk = |disk: &str, files, unread| DiskDiff {
        disk: disk.to_owned(),
        bytes: 8192,
        files,
        unread,
    };
    SnapshotDiff {
        schema: SCHEMA,
        cluster: "k80".to_owned(),
        snapshot: "s1".to_owned(),
        running: true,
        nodes: vec![NodeDiff {
            node: "master0".to_owned(),
            disks: vec![
                disk("disk", vec![file], None),
                disk("extra1", Vec::new(), Some("it has xfs".to_owned())),
            ],
        }],
    }
}

fn fork() -> ForkReport {
    ForkReport {
        forked: Forked {
            name: "x".to_owned(),
            of: "k80".to_owned(),
            snapshot: "fork-x".to_owned(),
            nodes: 3,
            paused: Some(Duration::from_millis(41)),
            took: Duration::from_millis(1500),
        },
        start: up(),
    }
}

fn tie(kind: TieKind) -> TieStatus {
    TieStatus {
        kind,
        node: "worker0".to_owned(),
        path: "/var/log".to_owned(),
        folder: "/home/me/logs".to_owned(),
        read_only: true,
        state: "attached".to_owned(),
    }
}

/// Each sample by the name of its snapshot.
pub(super) fn all() -> Vec<(&'static str, String)> {
    let saved = Saved {
        name: "s2".to_owned(),
        nodes: 3,
        size: 64 << 20,
        paused: Duration::from_millis(41),
        took: Duration::from_millis(800),
        removed: vec!["s1".to_owned()],
    };
    let back = RolledBack {
        name: "s2".to_owned(),
        nodes: 3,
        ahead: false,
        sessions: 2,
        untold: 1,
        down: Duration::from_millis(48),
        took: Duration::from_millis(95),
    };
    let exported = Exported {
        name: "s2".to_owned(),
        file: "s2.tar.zst".into(),
        size: 4096,
    };
    let removed = SnapshotRemoval {
        removed: vec!["s1".to_owned()],
    };
    let shared = TieReport {
        number: 2,
        made: vec![tie(TieKind::Share)],
        failed: vec![NodeFailure {
            node: "worker1".to_owned(),
            why: "the folder is not empty".to_owned(),
        }],
    };
    let ended = TieStatus {
        state: "ended".to_owned(),
        ..tie(TieKind::Mount)
    };
    vec![
        ("snapshot-ls-json", json_text(&list()).unwrap()),
        ("snapshot-diff-json", json_text(&diff()).unwrap()),
        ("snapshot-save-json", outcome_text(&saved).unwrap()),
        ("snapshot-rollback-json", outcome_text(&back).unwrap()),
        ("snapshot-export-json", outcome_text(&exported).unwrap()),
        ("snapshot-rm-json", outcome_text(&removed).unwrap()),
        ("fork-json", outcome_text(&fork()).unwrap()),
        ("share-json", outcome_text(&shared).unwrap()),
        ("umount-json", outcome_text(&ended).unwrap()),
    ]
}
