//! Samples of what `ls`, `events` and `df` print, for the snapshots of [`super::shape_tests`].

use jiff::tz::TimeZone;

use super::clusters::clusters_text;
use super::disk_usage::disk_usage_text;
use super::events::{event_json, event_text};
use super::json_text;
use super::timeline::timeline_text;
use super::timeline_svg::timeline_svg;
use crate::hint::command;
use crate::model::{
    ClusterList, ClusterRow, DiskKind, DiskRow, DiskUsage, Event, EventKind, EventLine, EventTold,
    NodeState, Prune, SCHEMA, Timeline,
};

fn clusters() -> ClusterList {
    let whole = ClusterRow {
        cluster: "k80".to_owned(),
        phase: "up".to_owned(),
        running: 6,
        nodes: Some(7),
        bridge: Some("k80".to_owned()),
        subnet: "192.168.80.0/24".parse().ok(),
        ram: Some(14 << 30),
        // A time to come has age 0 s.
        created: Some(4e9),
        project: Some("/home/a/project".into()),
        fork_of: None,
        why: None,
    };
    let damaged = ClusterRow {
        cluster: "lab".to_owned(),
        phase: "damaged".to_owned(),
        running: 1,
        why: Some(format!(
            "cluster.json is damaged; {} removes it",
            command("lab", "down")
        )),
        ..ClusterRow::default()
    };
    ClusterList {
        schema: SCHEMA,
        clusters: vec![whole, damaged],
        hint: None,
    }
}

/// One line of each kind.
fn events() -> Vec<EventLine> {
    let state = |name: &str, state: &str| NodeState {
        name: name.to_owned(),
        state: state.to_owned(),
    };
    let event = |number, node: &str, event, note: &str| Event {
        event,
        node: node.to_owned(),
        note: note.to_owned(),
        number,
        time: 1000.5,
    };
    let nodes = vec![
        state("master0", "ready"),
        state("worker0", "running (lease)"),
    ];
    let told = [
        EventTold::State { number: 6, nodes },
        EventTold::Event(event(7, "worker0", EventKind::Ready, "")),
        EventTold::Missed { from: 8, to: 11 },
        EventTold::Event(event(12, "", EventKind::Resolvers, "192.0.2.53")),
        EventTold::Event(event(13, "master0", EventKind::GivenUp, "it ended 5 times")),
    ];
    told.map(EventLine::from).into()
}

fn disk() -> DiskUsage {
    let row = |kind, name: &str, allocated, shared, prune| DiskRow {
        kind,
        name: name.to_owned(),
        allocated,
        shared,
        used_by: Vec::new(),
        prune,
    };
    let image = DiskRow {
        used_by: vec!["cluster k80".to_owned()],
        ..row(
            DiskKind::Image,
            "debian-13-amd64",
            700 << 20,
            0,
            Prune::Never,
        )
    };
    let rows = vec![
        image,
        row(DiskKind::Image, "old", 600 << 20, 0, Prune::Yes),
        row(
            DiskKind::Frozen,
            "89abcdef-1",
            120 << 20,
            700 << 20,
            Prune::All,
        ),
        row(
            DiskKind::Node,
            "k80/master0",
            14 << 20,
            820 << 20,
            Prune::Never,
        ),
        row(DiskKind::Snapshot, "k80/before", 4 << 20, 0, Prune::Never),
        row(DiskKind::Cluster, "k80", 1 << 20, 0, Prune::Never),
    ];
    DiskUsage {
        schema: SCHEMA,
        total: rows.iter().map(|r| r.allocated).sum(),
        rows,
        prune: 600 << 20,
        prune_all: 720 << 20,
    }
}

/// A start of two nodes, one of which ended.
fn start() -> Timeline {
    let event = |time, node: &str, event| Event {
        event,
        node: node.to_owned(),
        note: String::new(),
        number: 1,
        time,
    };
    let events = [
        event(1000.0, "master0", EventKind::Started),
        event(1000.25, "master0", EventKind::Woken),
        event(1000.5, "worker0", EventKind::Started),
        event(1001.0, "master0", EventKind::Identity),
        event(1001.5, "master0", EventKind::Lease),
        event(1002.5, "master0", EventKind::Ssh),
        event(1003.0, "master0", EventKind::Ready),
        event(1002.0, "worker0", EventKind::Woken),
        event(1004.0, "worker0", EventKind::Ended),
    ];
    Timeline::of("k80", events.into_iter(), |_| true).unwrap()
}

/// Each sample by the name of its snapshot.
pub(super) fn all() -> Vec<(&'static str, String)> {
    let mut all = super::explain::samples();
    all.extend([
        ("ls", clusters_text(&clusters())),
        ("timeline", timeline_text(&start(), &TimeZone::UTC)),
        ("timeline-json", json_text(&start()).unwrap()),
        ("timeline-svg", timeline_svg(&start())),
        ("df", disk_usage_text(&disk())),
        ("df-json", json_text(&disk()).unwrap()),
        (
            "events",
            events()
                .iter()
                .map(|e| event_text(e, &TimeZone::UTC))
                .collect(),
        ),
        (
            "events-json",
            events().iter().map(|e| event_json(e).unwrap()).collect(),
        ),
        ("ls-json", json_text(&clusters()).unwrap()),
    ]);
    all
}
