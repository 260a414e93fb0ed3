//! The status of one node.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::engine::local::faults;
use crate::ids::ago;
use crate::model::{
    Board, Cause, EndStatus, MachineStatus, NicStatus, NodeStatus, NodeView, Stage, UsageStatus,
    VitalsStatus,
};
use crate::node::{Ended, Identity, Usage, machine_of, vcpus};
use crate::spec::Bytes;
use crate::state::{ClusterDir, ClusterRecord, NodeRecord, read_json};

/// Derives a node's status from its files and the keeper's view.
pub(in crate::engine::local) fn look(
    record: &ClusterRecord,
    node: &NodeRecord,
    dir: &ClusterDir,
    board: Option<&Board>,
) -> NodeStatus {
    let cluster = dir;
    let dir = cluster.node(&node.name);
    let last = Ended::last(&dir);
    let view = board.and_then(|b| b.get(&node.name));
    let (state, pid) = match read_json::<Identity>(&dir.process()) {
        Ok(None) if record.stopped.contains(&node.name) => ("stopped (by name)".to_owned(), None),
        Ok(None) => ("stopped".to_owned(), None),
        Err(e) => (format!("unknown ({e:#})"), None),
        Ok(Some(identity)) if identity.open().is_none() => {
            let (cause, time) = Ended::of(&dir, &identity);
            let ended = view.filter(|v| v.stage == Stage::Ended);
            let words = why(&cause, ended.map(|v| &*v.note));
            let ago = time.map_or_else(String::new, |time| format!("{}: ", ago(time)));
            (format!("stopped ({ago}{words})"), None)
        }
        Ok(Some(identity)) => (running(view, last.as_ref()), Some(identity.pid)),
    };
    NodeStatus {
        name: node.name.clone(),
        role: Some(node.role.clone()),
        state,
        pid,
        machine: Some(machine(record, node, pid)),
        paused: pid.and(view).and_then(|v| v.paused.clone()),
        vitals: vitals(view),
        usage: usage(pid, pid.and(view), &dir.images_of(node, 0)),
        last_end: last.map(|last| EndStatus {
            time: last.time,
            what: last.cause.to_string(),
            cause: last.cause,
        }),
        faults: view.map_or_else(Vec::new, |view| faults::of(record, cluster, node, view)),
    }
}

/// The machine that runs, or the one that the next start makes.
fn machine(record: &ClusterRecord, node: &NodeRecord, pid: Option<i32>) -> MachineStatus {
    let next = (vcpus(node.vcpus, &record.accelerator), node.ram.as_mib());
    let (vcpus, ram) = pid.and_then(machine_of).unwrap_or(next);
    let mac = node.nics.first().map(|nic| nic.mac.to_string());
    MachineStatus {
        address: node.address(),
        mac: mac.unwrap_or_default(),
        vcpus,
        ram: Bytes::mib(ram).0,
        disk: node.disk.0,
        disks: node.disks.iter().map(|d| d.0).collect(),
        nics: record
            .nics(node)
            .map(|(network, nic)| NicStatus {
                network: network.name.clone(),
                address: nic.address,
                mac: nic.mac.to_string(),
                address6: network.address6(nic.mac),
                tap: nic.tap.clone(),
            })
            .collect(),
    }
}

/// The state of a node whose QEMU runs.
fn running(view: Option<&NodeView>, last: Option<&Ended>) -> String {
    let Some(view) = view else {
        return "running".to_owned();
    };
    let state = match (&view.paused, view.stage) {
        (Some(why), _) => format!("paused: {why}"),
        (None, Stage::Ready) => ready(view),
        (None, stage) => format!("running ({})", stage.name()),
    };
    if !view.note.is_empty() {
        return format!("{state}, {}", view.note);
    }
    match last.filter(|l| l.cause != Cause::Quit) {
        // The node has restarted since, which the user should know.
        Some(last) => format!("{state} ({}: {})", ago(last.time), last.cause),
        None => state,
    }
}

/// The state of a node that became ready: whether it still is.
fn ready(view: &NodeView) -> String {
    let in_the_way = view.faults.iter().filter(|f| f.fault.is_in_the_way());
    let mut words: Vec<_> = in_the_way.map(|f| f.fault.short()).collect();
    words.dedup();
    match words.is_empty() {
        true => "ready".to_owned(),
        false => format!("not ready: {}", words.join(", ")),
    }
}

fn vitals(view: Option<&NodeView>) -> VitalsStatus {
    let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
    let vitals = view.and_then(|v| v.vitals);
    VitalsStatus {
        steal: view.and_then(|v| v.steal).map(rounded),
        clock_drift: vitals.map(|v| rounded(v.drift)),
        clock_drift_error: vitals.map(|v| rounded(v.error)),
        load: vitals.map(|v| v.load),
    }
}

fn usage(pid: Option<i32>, view: Option<&NodeView>, images: &[PathBuf]) -> UsageStatus {
    let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
    let used = pid.and_then(Usage::of);
    UsageStatus {
        uptime: used.map(|u| rounded(u.uptime)),
        cpu: view.and_then(|v| v.cpu).map(rounded),
        cpu_seconds: used.map(|u| u.cpu),
        rss: used.map(|u| u.rss),
        grown: grown(images),
        ..UsageStatus::default()
    }
}

/// Bytes that a disk's own images take on the host's disk.
fn grown(images: &[PathBuf]) -> Option<u64> {
    let each = images.iter().map(|image| {
        let meta = std::fs::metadata(image).ok()?;
        Some(meta.blocks() * 512)
    });
    each.sum()
}

/// Why a node has ended. The keeper may know more than the file, such as that it will restart the node or cannot; it
/// may know less of a node that ended before the keeper started.
fn why(written: &Cause, keeper: Option<&str>) -> String {
    let least = Cause::Vanished.to_string();
    match keeper.filter(|note| !note.is_empty() && *note != least) {
        Some(note) => note.to_owned(),
        None => written.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keeper_without_a_cause_does_not_hide_the_recorded_cause() {
        let failed = Cause::Failed {
            status: 3,
            words: "no".to_owned(),
        };
        let vanished = Cause::Vanished.to_string();
        for keeper in [None, Some(""), Some(&*vanished)] {
            assert_eq!(why(&failed, keeper), failed.to_string());
        }
        assert_eq!(why(&failed, Some("it starts again")), "it starts again");
        assert_eq!(why(&Cause::Vanished, Some(&vanished)), vanished);
    }
}
