//! The closing messages of `up`, `start`, `scale` and `rm`, and the steps of `up --dry-run`.

use std::path::Path;

use super::{count, data, seconds, talk};
use crate::hint::command;
use crate::model::{Exit, FaultStatus, PlanReport, UpOutcome, UpReport};

/// Reports the outcome, and each failed node with its reason.
pub(crate) fn up(report: &UpReport) -> Exit {
    let exit = outcome(report);
    for (node, fault) in &report.faults {
        talk(&warning(node, fault));
    }
    exit
}

/// A fault of a node, with its cure as a hint.
fn warning(node: &str, fault: &FaultStatus) -> String {
    format!("warning: {node}: {}\n  hint: {}", fault.what, fault.cure)
}

/// Says before ssh starts why it will fail.
pub(crate) fn faults(node: &str, faults: &[FaultStatus]) {
    for fault in faults {
        talk(&warning(node, fault));
    }
}

fn outcome(report: &UpReport) -> Exit {
    let cluster = &report.cluster;
    let (started, failed) = match &report.outcome {
        UpOutcome::NothingToDo => {
            talk(&format!("cluster `{cluster}` is up; nothing to do"));
            say_place(report);
            return Exit::Done;
        }
        UpOutcome::Recorded { removed, later } => {
            talk(&recorded(cluster, removed, later));
            return Exit::Done;
        }
        UpOutcome::Done {
            started,
            failed,
            removed,
        } => {
            if !removed.is_empty() {
                talk(&format!("removed {}", removed.join(", ")));
            }
            (started, failed)
        }
    };
    for text in [pending(report), waiting(report)].into_iter().flatten() {
        talk(&text);
    }
    for failure in failed {
        talk(&format!("error: {}: {}", failure.node, failure.why));
    }
    if !failed.is_empty() {
        let (up, down) = (command(cluster, "up"), command(cluster, "down"));
        talk(&format!(
            "error: {}\n  hint: {up} tries again, {down} removes the cluster",
            not_ready(failed.len(), report.nodes)
        ));
        return Exit::SomeNodes;
    }
    if started.is_empty() {
        talk(&format!("cluster `{cluster}` {}", unstarted(report)));
        say_place(report);
        return Exit::Done;
    }
    talk(&format!(
        "cluster `{cluster}`: {} of {} started, all ready in {}",
        started.len(),
        count(report.nodes, "node"),
        seconds(report.took)
    ));
    let ssh = command(cluster, &format!("ssh {}", report.first));
    talk(&format!("  {}", ssh.trim_matches('`')));
    match &report.instead {
        Some(_) => say_place(report),
        None => talk(&format!("  ansible -i {} all -m ping", inventory(report))),
    }
    Exit::Done
}

/// What became of a cluster in which no node was started.
fn unstarted(report: &UpReport) -> String {
    let has_lost =
        matches!(&report.outcome, UpOutcome::Done { removed, .. } if !removed.is_empty());
    match has_lost {
        true => format!("has {} left", count(report.nodes, "node")),
        false => "is as requested; no node was started".to_owned(),
    }
}

fn not_ready(failed: usize, of: usize) -> String {
    let are = if failed == 1 { "is" } else { "are" };
    format!("{failed} of {} {are} not ready", count(of, "node"))
}

/// Says where the files for Ansible and ssh are, unless they are in this folder.
fn say_place(report: &UpReport) {
    let here = std::env::current_dir().ok();
    if let Some(text) = place(report, here.as_deref()) {
        talk(&text);
    }
}

fn place(report: &UpReport, here: Option<&Path>) -> Option<String> {
    let project = report.project.display();
    match &report.instead {
        Some(instead) => Some(format!(
            "the folder {project} is gone; inventory, ssh_config and keys are in {}\n  hint: {} puts them into this folder",
            instead.display(),
            command(&report.cluster, "up --files .")
        )),
        None if here == Some(&report.project) => None,
        None => Some(format!("inventory, ssh_config and keys are in {project}")),
    }
}

/// The inventory's path as a word of a shell, relative where it can be.
fn inventory(report: &UpReport) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let path = report.project.join("inventory");
    let text = path
        .strip_prefix(here)
        .unwrap_or(&path)
        .display()
        .to_string();
    shell_word(&text)
}

fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+@:,=".contains(c);
    match text.chars().all(is_plain) && !text.starts_with('-') {
        true => text.to_owned(),
        false if text.starts_with('-') => shell_word(&format!("./{text}")),
        false => format!("'{}'", text.replace('\'', r#"'"'"'"#)),
    }
}

/// What became of a stopped cluster.
fn recorded(cluster: &str, removed: &[String], later: &[String]) -> String {
    let start = command(cluster, "start");
    let mut parts = Vec::new();
    if !removed.is_empty() {
        parts.push(format!("removed {}", removed.join(", ")));
    }
    if !later.is_empty() {
        parts.push(format!("{start} makes {}", later.join(", ")));
    }
    match parts.is_empty() {
        true => format!("cluster `{cluster}` is stopped; nothing to do"),
        false => format!("cluster `{cluster}` is stopped; {}", parts.join("; ")),
    }
}

/// Names the nodes that still run with another machine.
fn pending(report: &UpReport) -> Option<String> {
    let nodes = &report.pending;
    let restart = command(&report.cluster, &format!("restart {}", nodes.join(" ")));
    (!nodes.is_empty()).then(|| {
        format!(
            "RAM and vcpus of {} change at the next start; {restart} restarts them",
            nodes.join(", ")
        )
    })
}

/// Names the settings that wait for the cluster's next start.
fn waiting(report: &UpReport) -> Option<String> {
    let keys = &report.waiting;
    let restart = command(&report.cluster, "restart");
    (!keys.is_empty()).then(|| {
        format!(
            "at the next start of the cluster these change: {}; {restart} restarts all nodes",
            keys.join(", ")
        )
    })
}

/// Prints the steps, one a line.
pub(crate) fn steps(report: &PlanReport) -> Exit {
    data(&steps_text(report));
    Exit::Done
}

pub(super) fn steps_text(report: &PlanReport) -> String {
    let lines = report.steps.iter().map(|step| format!("{step}\n"));
    lines.collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn where_the_files_are_is_said_from_another_folder_and_when_theirs_is_gone() {
        let mut report = UpReport {
            cluster: "k80".to_owned(),
            nodes: 1,
            first: "master0".to_owned(),
            outcome: UpOutcome::NothingToDo,
            project: "/p".into(),
            instead: None,
            pending: vec!["master0".to_owned(), "lbl0".to_owned()],
            waiting: vec!["network.mtu".to_owned()],
            faults: Vec::new(),
            took: Duration::ZERO,
        };
        let text = waiting(&report).unwrap();
        assert!(text.contains(" these change: network.mtu; `kvmc"), "{text}");
        let text = pending(&report).unwrap();
        assert!(
            text.starts_with("RAM and vcpus of master0, lbl0 change at the next start; `kvmc"),
            "{text}"
        );
        assert!(
            text.ends_with(" restart master0 lbl0` restarts them"),
            "{text}"
        );
        assert_eq!(place(&report, Some(Path::new("/p"))), None);
        assert_eq!(
            place(&report, Some(Path::new("/q"))).unwrap(),
            "inventory, ssh_config and keys are in /p"
        );
        report.instead = Some("/s".into());
        let text = place(&report, Some(Path::new("/p"))).unwrap();
        assert!(
            text.starts_with("the folder /p is gone; inventory, ssh_config and keys are in /s")
        );
        assert!(text.contains(" up --files .`"), "{text}");
    }

    #[test]
    fn a_stopped_cluster_says_what_it_lost_and_what_comes() {
        let names = |names: &[&str]| -> Vec<_> { names.iter().map(|n| (*n).to_owned()).collect() };
        let text = recorded("k80", &names(&["worker2"]), &names(&["lbl1", "lbl2"]));
        assert!(
            text.starts_with("cluster `k80` is stopped; removed worker2; `kvmc"),
            "{text}"
        );
        assert!(text.ends_with(" start` makes lbl1, lbl2"), "{text}");
        assert!(recorded("k80", &[], &[]).ends_with("nothing to do"));
    }

    #[test]
    fn one_node_is_no_plural() {
        assert_eq!(not_ready(1, 1), "1 of 1 node is not ready");
        assert_eq!(not_ready(2, 7), "2 of 7 nodes are not ready");
    }

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        assert_eq!(shell_word(".kvmc/inventory"), ".kvmc/inventory");
        assert_eq!(shell_word("/a b/it's"), r#"'/a b/it'"'"'s'"#);
        assert_eq!(shell_word("-a/inventory"), "./-a/inventory");
    }
}
