//! `status`: derived from what is seen; nothing that is broken makes it fail.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use kvmc_netns::Links;
use serde_json::{Value, json};

use super::{Scene, firewall, vitals};
use crate::cluster::{self, traces};
use crate::ids::now;
use crate::keeper::{Keeper, Request};
use crate::model::{Board, Cause, Stage};
use crate::node::Ended;
use crate::node::{Identity, vcpus};
use crate::output;
use crate::state::{ClusterDir, ClusterRecord, Found, Lock, NodeRecord, read_json};

/// A keeper that hangs must not make `status` hang.
const KEEPER: Duration = Duration::from_millis(1500);

struct Row {
    state: String,
    pid: Option<i32>,
    /// How it last ended, or rebooted; of a node that runs, how it did before.
    last: Option<Ended>,
    /// Why it stands still.
    paused: Option<String>,
}

pub(super) async fn run(scene: &Scene, as_json: bool) -> Result<ExitCode> {
    let name = scene.name()?;
    let dir = scene.state.cluster(&name);
    let links = Links::open()?;
    let mut doubts = Vec::new();
    let record = match Found::look(&dir) {
        Found::Whole(record) => record,
        Found::Copy(copy, error) => {
            doubts.push(format!(
                "{error:#}; shown from its last good copy, which `kvmc doctor --fix` puts back"
            ));
            copy
        }
        Found::Unreadable(error) | Found::Newer(error) => {
            return without_record(scene, &name, Some(error), as_json, &links).await;
        }
        Found::Nothing => return without_record(scene, &name, None, as_json, &links).await,
    };
    // While a verb is at work on them there is nothing to say of them yet.
    let firewalls = match Lock::holder(&dir) {
        Some(_) => None,
        None => firewall::look(&record, &links).await,
    };
    let rules = firewalls
        .as_ref()
        .map(|seen| firewall::View::of(seen, &dir));
    doubts.extend(cluster::doubts(&record, &scene.state, &dir, &links, firewalls).await);
    let keeper = Keeper::of(&dir, &name);
    let board = tokio::time::timeout(KEEPER, keeper.ask(&Request::Board)).await;
    let board = board.ok().and_then(Result::ok);
    let steal_of = |n: &NodeRecord| board.as_ref()?.get(&n.name)?.steal;
    let vitals_of = |n: &NodeRecord| board.as_ref()?.get(&n.name)?.vitals;
    let rows: Vec<_> = record
        .nodes
        .iter()
        .map(|n| (n, look(&dir, n, board.as_ref())))
        .collect();
    if as_json {
        let nodes: Vec<_> = rows
            .iter()
            .map(|(n, row)| {
                json!({
                    "name": n.name, "role": n.role, "state": row.state, "address": n.address,
                    "mac": n.mac, "vcpus": vcpus(n.vcpus, &record.accelerator), "ram": n.ram,
                    "disk": n.disk, "pid": row.pid, "nics": nics(&record, n),
                    "paused": row.paused,
                    "vitals": vitals::as_json(steal_of(n), vitals_of(n)),
                    "last_end": row.last.as_ref().map(|l| json!({
                        "time": l.time, "cause": l.cause, "what": l.cause.to_string(),
                    })),
                })
            })
            .collect();
        let whole = json!({
            "cluster": name, "phase": record.phase, "accelerator": record.accelerator,
            "bridge": record.network.bridge, "subnet": record.network.subnet,
            "image": record.image, "keeper": board.is_some(), "networks": networks(&record),
            "firewall": rules.as_ref().map(firewall::View::as_json),
            "forwards": record.forwards, "nodes": nodes, "doubts": doubts,
        });
        output::data(&format!("{whole:#}\n"));
        return Ok(ExitCode::SUCCESS);
    }
    let keeper = if board.is_some() {
        "running"
    } else {
        "not running"
    };
    output::talk(&format!(
        "cluster {name} on {} ({}), {}, keeper {keeper}",
        record.network.bridge,
        record.network.subnet,
        record.accelerator.name()
    ));
    for line in rules.iter().flat_map(|rules| rules.lines(&ago)) {
        output::talk(&line);
    }
    for doubt in &doubts {
        output::talk(&format!("  {doubt}"));
    }
    // What gets in the way of a guest's own timeouts, see docs/EMULATION.md.
    let is_emulated = !record.accelerator.is_kvm();
    let table: Vec<_> = rows
        .iter()
        .map(|(n, row)| {
            let vcpus = vcpus(n.vcpus, &record.accelerator).to_string();
            let mut cells = vec![
                n.name.clone(),
                row.state.clone(),
                n.address.to_string(),
                vcpus,
                n.ram.to_string(),
                n.disk.to_string(),
            ];
            if is_emulated {
                cells.extend(vitals::cells(steal_of(n), vitals_of(n)));
            }
            cells
        })
        .collect();
    let mut headings = vec!["NODE", "STATE", "ADDRESS", "VCPUS", "RAM", "DISK"];
    if is_emulated {
        headings.extend(["STEAL", "DRIFT"]);
    }
    output::data(&output::table(&headings, &table));
    Ok(ExitCode::SUCCESS)
}

/// What is seen of a cluster whose record is not.
async fn without_record(
    scene: &Scene,
    name: &str,
    error: Option<anyhow::Error>,
    as_json: bool,
    links: &Links,
) -> Result<ExitCode> {
    let dir = scene.state.cluster(name);
    let seen = traces(&scene.state, links).await;
    let seen = seen.unwrap_or_default().remove(name).unwrap_or_default();
    let holder = Lock::holder(&dir);
    if error.is_none() && seen.is_empty() && holder.is_none() {
        bail!("there is no cluster `{name}`; `kvmc up` makes it");
    }
    let why = match (&error, &holder) {
        (Some(error), _) => format!("{error:#}"),
        (None, Some(holder)) => format!("it has no record yet; at work on it: {holder}"),
        (None, None) => "its record is gone; `kvmc down` removes what is left of it".to_owned(),
    };
    if as_json {
        let nodes: Vec<_> = seen
            .qemus
            .iter()
            .map(|(node, i)| json!({ "name": node, "state": "running", "pid": i.pid }))
            .collect();
        let whole = json!({
            "cluster": name, "phase": "unknown", "keeper": !seen.keepers.is_empty(),
            "nodes": nodes, "bridges": seen.bridges, "doubts": [why],
        });
        output::data(&format!("{whole:#}\n"));
        return Ok(ExitCode::SUCCESS);
    }
    output::talk(&format!("cluster {name}: {why}"));
    if seen.is_empty() {
        output::talk("  nothing of it is seen on this host");
    } else {
        output::talk(&format!("  seen: {seen}"));
    }
    let rows: Vec<_> = seen
        .qemus
        .iter()
        .map(|(node, i)| vec![node.clone(), format!("running (pid {})", i.pid)])
        .collect();
    if !rows.is_empty() {
        output::data(&output::table(&["NODE", "STATE"], &rows));
    }
    Ok(ExitCode::SUCCESS)
}

fn networks(record: &ClusterRecord) -> Vec<Value> {
    record
        .networks()
        .map(|n| {
            json!({
                "name": n.name, "bridge": n.bridge, "subnet": n.subnet, "gateway": n.gateway,
                "prefix6": n.prefix6, "gateway6": n.gateway6(), "isolated": n.isolated, "mtu": n.mtu,
            })
        })
        .collect()
}

fn nics(record: &ClusterRecord, node: &NodeRecord) -> Vec<Value> {
    record
        .nics(node)
        .map(|(network, nic)| {
            json!({
                "network": network.name, "address": nic.address, "mac": nic.mac,
                "address6": network.address6(nic.mac), "tap": nic.tap,
            })
        })
        .collect()
}

fn look(dir: &ClusterDir, node: &NodeRecord, board: Option<&Board>) -> Row {
    let dir = dir.node(&node.name);
    let last = Ended::last(&dir);
    let row = |state: String, pid: Option<i32>, paused: Option<String>| Row {
        state,
        pid,
        last: last.clone(),
        paused,
    };
    let identity = match read_json::<Identity>(&dir.process()) {
        Ok(Some(identity)) => identity,
        Ok(None) => return row("stopped".to_owned(), None, None),
        Err(e) => return row(format!("unknown ({e:#})"), None, None),
    };
    let view = board.and_then(|b| b.get(&node.name));
    if identity.open().is_none() {
        let (cause, time) = Ended::of(&dir, &identity);
        let words = why(
            &cause,
            view.filter(|v| v.stage == Stage::Ended).map(|v| &*v.note),
        );
        return row(format!("stopped ({}{words})", ago(time)), None, None);
    }
    let Some(view) = view else {
        return row("running".to_owned(), Some(identity.pid), None);
    };
    let mut state = match (&view.paused, view.stage) {
        (Some(why), _) => format!("paused: {why}"),
        (None, Stage::Ready) => "ready".to_owned(),
        (None, stage) => format!("running ({})", stage.name()),
    };
    if !view.note.is_empty() {
        state = format!("{state}, {}", view.note);
    } else if let Some(last) = last.as_ref().filter(|l| l.cause != Cause::Quit) {
        // It came back from this: whoever looks wants to know that it was away.
        state = format!("{state} ({}{})", ago(Some(last.time)), last.cause);
    }
    row(state, Some(identity.pid), view.paused.clone())
}

/// Why a node has ended: the keeper may know more than what is written down, that it is to start again or why
/// it cannot; or less, of one that ended before it looked.
fn why(written: &Cause, keeper: Option<&str>) -> String {
    let least = Cause::Vanished.to_string();
    match keeper.filter(|note| !note.is_empty() && *note != least) {
        Some(note) => note.to_owned(),
        None => written.to_string(),
    }
}

/// How long ago a time was, in its largest unit, as the beginning of a sentence about it.
fn ago(time: Option<f64>) -> String {
    let Some(time) = time else {
        return String::new();
    };
    let seconds = Duration::try_from_secs_f64(now() - time).map_or(0, |d| d.as_secs());
    let (number, unit) = match seconds {
        0..60 => (seconds, "s"),
        60..3600 => (seconds / 60, "min"),
        3600..86400 => (seconds / 3600, "h"),
        _ => (seconds / 86400, "d"),
    };
    format!("{number} {unit} ago: ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keeper_that_saw_no_more_than_an_end_does_not_hide_what_its_parent_saw() {
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

    #[test]
    fn a_time_is_told_in_its_largest_unit() {
        assert_eq!(ago(None), "");
        assert_eq!(ago(Some(now() + 100.0)), "0 s ago: ");
        assert_eq!(ago(Some(now() - 30.0)), "30 s ago: ");
        assert_eq!(ago(Some(now() - 7300.0)), "2 h ago: ");
        assert_eq!(ago(Some(f64::NAN)), "0 s ago: ");
    }
}
