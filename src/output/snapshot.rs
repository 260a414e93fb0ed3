//! Snapshots.

use std::time::Duration;

use anyhow::Result;

use super::{data, json, outcome, table, talk};
use crate::hint::command;
use crate::ids::age;
use crate::model::{
    Change, Exported, NodeDiff, RolledBack, Saved, SnapshotDiff, SnapshotList, SnapshotRow, Tried,
    ended_sessions,
};
use crate::spec::approximate;

/// Files of a node that `try` names.
const FEW: usize = 3;

/// Prints a cluster's snapshots, the oldest first.
///
/// # Errors
/// Fails if JSON cannot represent a value.
pub(crate) fn snapshots(list: &SnapshotList, as_json: bool) -> Result<()> {
    if as_json {
        return json(list);
    }
    data(&text(list));
    if list.snapshots.is_empty() && list.damaged.is_empty() {
        let save = command(&list.cluster, "snapshot save");
        let cluster = &list.cluster;
        talk(&format!(
            "cluster `{cluster}` has no snapshot\n  hint: {save} saves one"
        ));
    }
    for damaged in &list.damaged {
        talk(&format!("warning: a snapshot cannot be read: {damaged}"));
    }
    Ok(())
}

pub(super) fn text(list: &SnapshotList) -> String {
    if list.snapshots.is_empty() {
        return String::new();
    }
    let rows: Vec<_> = list.snapshots.iter().map(row).collect();
    table(
        &["SNAPSHOT", "AGE", "SIZE", "NODES", "PARENT", "NOTE"],
        &rows,
    )
}

fn row(snapshot: &SnapshotRow) -> Vec<String> {
    let name = match snapshot.current {
        true => format!("{} *", snapshot.name),
        false => snapshot.name.clone(),
    };
    vec![
        name,
        age(snapshot.time),
        approximate(snapshot.size),
        snapshot.nodes.len().to_string(),
        snapshot.parent.clone().unwrap_or_else(|| "-".to_owned()),
        snapshot.note.clone(),
    ]
}

/// Prints what nodes have written to their disks since a snapshot.
///
/// # Errors
/// Fails if JSON cannot represent a value.
pub(crate) fn snapshot_diff(diff: &SnapshotDiff, as_json: bool) -> Result<()> {
    if as_json {
        return json(diff);
    }
    data(&diff_text(diff));
    if diff.running {
        let sync = command(&diff.cluster, "exec -- sync");
        talk("the nodes run, so what they have not written to their disks yet does not count");
        talk(&format!("  hint: {sync} makes them write it now"));
    }
    Ok(())
}

pub(super) fn diff_text(diff: &SnapshotDiff) -> String {
    let disks = || {
        let nodes = diff.nodes.iter();
        nodes.flat_map(|node| node.disks.iter().map(|disk| (node.node.as_str(), disk)))
    };
    let rows: Vec<_> = disks()
        .map(|(node, disk)| {
            let files = match &disk.unread {
                Some(why) => format!("unknown: {why}"),
                None => disk.files.len().to_string(),
            };
            vec![node.to_owned(), disk.disk.clone(), bytes(disk.bytes), files]
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut text = table(&["NODE", "DISK", "CHANGED", "FILES"], &rows);
    let files: Vec<_> = disks()
        .flat_map(|(node, disk)| disk.files.iter().map(move |file| (node, file)))
        .map(|(node, file)| {
            // A guest chooses the names of its files.
            let path = file.path.escape_debug().to_string();
            vec![node.to_owned(), file.change.name().to_owned(), path]
        })
        .collect();
    if !files.is_empty() {
        text.push('\n');
        text.push_str(&table(&["NODE", "CHANGE", "FILE"], &files));
    }
    text
}

/// Also what is less than a MiB.
fn bytes(bytes: u64) -> String {
    match bytes >> 20 {
        0 => format!("{}K", bytes.div_ceil(1024)),
        _ => approximate(bytes),
    }
}

/// Tells of an exported snapshot.
pub(crate) fn exported(exported: &Exported) {
    talk(&format!(
        "exported {} to {}: {}",
        exported.name,
        exported.file.display(),
        approximate(exported.size)
    ));
    talk("the file has the memory of the nodes, with all keys and passwords in it");
}

/// Tells of an imported snapshot: its name, or with `as_json` everything.
///
/// # Errors
/// Fails if JSON cannot represent a value.
pub(crate) fn imported(imported: &Exported, as_json: bool) -> Result<()> {
    match as_json {
        true => outcome(true, imported)?,
        false => data(&format!("{}\n", imported.name)),
    }
    talk(&format!("imported {}", imported.name));
    Ok(())
}

/// Tells of a new snapshot: its name, or with `as_json` everything.
///
/// # Errors
/// Fails if JSON cannot represent a value.
pub(crate) fn saved(saved: &Saved, as_json: bool) -> Result<()> {
    match as_json {
        true => outcome(true, saved)?,
        false => data(&format!("{}\n", saved.name)),
    }
    talk(&format!(
        "saved {} as {}: {}, the guests stood still for {}, in {:.1} s",
        nodes(saved.nodes),
        saved.name,
        approximate(saved.size),
        moment(saved.paused),
        saved.took.as_secs_f64()
    ));
    if !saved.removed.is_empty() {
        talk(&format!("removed {}", saved.removed.join(", ")));
    }
    Ok(())
}

/// Tells of a suspended cluster.
pub(crate) fn suspended(saved: &Saved) {
    talk(&format!(
        "suspended {}: {}, in {:.1} s",
        nodes(saved.nodes),
        approximate(saved.size),
        saved.took.as_secs_f64()
    ));
}

/// Tells of a cluster that went back.
pub(crate) fn rolled_back(report: &RolledBack) {
    talk(&format!(
        "{} run from {} again, after {}, in {:.1} s",
        nodes(report.nodes),
        report.name,
        moment(report.down),
        report.took.as_secs_f64()
    ));
    if let Some(sessions) = ended_sessions(report.sessions, report.untold) {
        talk(&sessions);
    }
}

/// Tells what a tried command changed and took, and what became of the cluster.
pub(crate) fn tried(tried: &Tried) {
    talk(&tried_text(tried));
}

pub(super) fn tried_text(tried: &Tried) -> String {
    let saved = &tried.saved;
    let mut text = format!(
        "saving took {} (the guests stood still for {}), the command {}",
        moment(saved.took),
        moment(saved.paused),
        moment(tried.ran)
    );
    if let Some(ready) = tried.stood_by {
        text.push_str(&format!("; machines stood by after {}", moment(ready)));
    }
    match &tried.back {
        Some(back) => {
            let by = match back.ahead {
                true => " by the machines that stood by",
                false => "",
            };
            let (down, took) = (moment(back.down), moment(back.took));
            text.push_str(&format!(
                "\nall is undone{by}: the nodes ran again after {down}, the rollback took {took}"
            ));
            let sessions = ended_sessions(back.sessions, back.untold);
            text.extend(sessions.map(|line| format!("\n{line}")));
        }
        None => text.push_str("\nthe cluster goes on with what it did"),
    }
    let widest = tried.changed.iter().map(|n| n.node.len()).max();
    for node in &tried.changed {
        let what = written(node);
        text.push_str(&format!(
            "\n  {:<1$}  {what}",
            node.node,
            widest.unwrap_or(0)
        ));
    }
    text
}

/// What a node wrote, in short.
fn written(node: &NodeDiff) -> String {
    let all: u64 = node.disks.iter().map(|disk| disk.bytes).sum();
    if all == 0 {
        return "wrote nothing to its disks".to_owned();
    }
    let mut text = format!("wrote {}", bytes(all));
    let files: Vec<_> = node.disks.iter().flat_map(|disk| &disk.files).collect();
    let number = |change| files.iter().filter(|file| file.change == change).count();
    let counts = [Change::Added, Change::Changed, Change::Removed].map(|c| (number(c), c.name()));
    let counts = counts.iter().filter(|(number, _)| *number > 0);
    let counts: Vec<_> = counts.map(|(n, what)| format!("{n} {what}")).collect();
    if !counts.is_empty() {
        text.push_str(&format!("; files: {}", counts.join(", ")));
    }
    let few: Vec<_> = files
        .iter()
        .take(FEW)
        .map(|file| {
            // A guest chooses the names of its files.
            file.path.escape_debug().to_string()
        })
        .collect();
    match files.len() {
        0 => {}
        1..=FEW => text.push_str(&format!(" ({})", few.join(", "))),
        _ => text.push_str(&format!(" ({}, …)", few.join(", "))),
    }
    let unread = node.disks.iter().filter(|disk| disk.bytes > 0);
    for disk in unread {
        if let Some(why) = &disk.unread {
            text.push_str(&format!("; the files of {} are unknown: {why}", disk.disk));
        }
    }
    text
}

fn nodes(number: usize) -> String {
    match number {
        1 => "1 node".to_owned(),
        more => format!("{more} nodes"),
    }
}

/// A short time.
fn moment(time: Duration) -> String {
    match time.as_millis() {
        short @ ..1000 => format!("{short} ms"),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DiskDiff, FileDiff};

    fn node(name: &str, bytes: u64, files: &[(&str, Change)], unread: Option<&str>) -> NodeDiff {
        let files = files.iter().map(|(path, change)| FileDiff {
            path: (*path).to_owned(),
            change: *change,
        });
        NodeDiff {
            node: name.to_owned(),
            disks: vec![DiskDiff {
                disk: "disk".to_owned(),
                bytes,
                files: files.collect(),
                unread: unread.map(str::to_owned),
            }],
        }
    }

    fn sample() -> Tried {
        let many = [
            ("/etc/a", Change::Added),
            ("/etc/\u{1b}b", Change::Changed),
            ("/usr/bin/python3", Change::Removed),
            ("/usr/bin/x", Change::Removed),
        ];
        Tried {
            saved: Saved {
                name: "try-1".to_owned(),
                nodes: 3,
                size: 1 << 20,
                paused: Duration::from_millis(41),
                took: Duration::from_millis(800),
                removed: Vec::new(),
            },
            stood_by: Some(Duration::from_millis(1230)),
            ran: Duration::from_secs(75),
            back: Some(RolledBack {
                name: "try-1".to_owned(),
                nodes: 3,
                ahead: true,
                sessions: 1,
                untold: 1,
                down: Duration::from_millis(48),
                took: Duration::from_millis(95),
            }),
            changed: vec![
                node("master0", 3 << 20, &many, None),
                node("lbl0", 4096, &[("/etc/a", Change::Added)], None),
                node("w0", 0, &[], None),
                node("w1", 8192, &[], Some("it has no ext2, ext3 or ext4")),
            ],
        }
    }

    #[test]
    fn a_try_tells_what_it_took_and_what_each_node_wrote() {
        assert_eq!(
            tried_text(&sample()),
            "saving took 800 ms (the guests stood still for 41 ms), the command 75.0 s; machines stood by after 1.2 s
all is undone by the machines that stood by: the nodes ran again after 48 ms, the rollback took 95 ms
1 session of ssh has ended, without a terminal that tells so
  master0  wrote 3M; files: 1 added, 1 changed, 2 removed (/etc/a, /etc/\\u{1b}b, /usr/bin/python3, …)
  lbl0     wrote 4K; files: 1 added (/etc/a)
  w0       wrote nothing to its disks
  w1       wrote 8K; the files of disk are unknown: it has no ext2, ext3 or ext4"
        );
        let kept = Tried {
            stood_by: None,
            back: None,
            changed: Vec::new(),
            ..sample()
        };
        assert_eq!(
            tried_text(&kept),
            "saving took 800 ms (the guests stood still for 41 ms), the command 75.0 s\nthe cluster goes on with what it did"
        );
    }
}
