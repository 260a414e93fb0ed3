//! Forwards of a cluster: added and removed while it runs.

use anyhow::{Result, bail};

use super::Local;
use crate::failpoint::failpoint;
use crate::hint::{advise, command};
use crate::interrupt::Interrupt;
use crate::keeper::{Keeper, Request};
use crate::model::{ForwardReport, Interrupted};
use crate::network::{self, check_namespace, rules};
use crate::spec::Forward;
use crate::state::{ClusterDir, ClusterRecord, Lock, Phase};

/// All forwards of a cluster.
pub(super) fn list(record: &ClusterRecord) -> Vec<ForwardReport> {
    let forwards = record.forwards.iter();
    forwards.map(|forward| report(record, forward)).collect()
}

fn report(record: &ClusterRecord, forward: &Forward) -> ForwardReport {
    let address = record.node(&forward.node).map(|n| n.address().to_string());
    ForwardReport {
        protocol: forward.protocol.name(),
        address: forward.address,
        port: forward.port,
        node: forward.node.clone(),
        node_port: forward.node_port,
        target: format!("{}:{}", address.unwrap_or_default(), forward.node_port),
        text: forward.to_string(),
    }
}

/// See [`crate::engine::Forwarding::add_forwards`].
pub(super) async fn add(local: &Local, forwards: &[Forward]) -> Result<Vec<ForwardReport>> {
    let interrupt = Interrupt::listen()?;
    let (mut record, _lock) = take(local, "forward add").await?;
    let dir = local.dir();
    let made = add_to(&mut record, forwards, &dir);
    unless_interrupted(local, made, interrupt).await?;
    Ok(forwards.iter().map(|f| report(&record, f)).collect())
}

/// See [`crate::engine::Forwarding::remove_forwards`].
pub(super) async fn remove(local: &Local, names: &[String]) -> Result<()> {
    let interrupt = Interrupt::listen()?;
    let (mut record, _lock) = take(local, "forward rm").await?;
    let dir = local.dir();
    let removed = remove_from(&mut record, names, &dir);
    unless_interrupted(local, removed, interrupt).await
}

/// The cluster's record, under its lock.
async fn take(local: &Local, verb: &str) -> Result<(ClusterRecord, Lock)> {
    local.require()?;
    let lock = Lock::take(&local.dir(), verb, local.wait).await?;
    let Some(record) = local.load()? else {
        lock.abandon();
        bail!("cluster `{}` was removed in the meantime", local.cluster);
    };
    check_namespace(&record)?;
    Ok((record, lock))
}

async fn unless_interrupted(
    local: &Local,
    change: impl Future<Output = Result<()>>,
    mut interrupt: Interrupt,
) -> Result<()> {
    tokio::select! {
        biased;
        changed = change => changed,
        () = interrupt.wait() => {
            let (up, ls) = (local.command("up"), local.command("forward ls"));
            let now = format!("{up} completes what the forwards were to be, {ls} shows it");
            Err(Interrupted(now).into())
        }
    }
}

/// Adds forwards to a cluster, at once if it runs.
async fn add_to(record: &mut ClusterRecord, forwards: &[Forward], dir: &ClusterDir) -> Result<()> {
    let before = record.forwards.clone();
    let mut all = before.clone();
    for forward in forwards {
        record.node(&forward.node)?;
        if record.main().isolated && !forward.is_on_loopback() {
            bail!(
                "forward {forward}: the network is isolated, and nothing outside may reach its nodes; forward it on 127.0.0.1 alone"
            );
        }
        match all.iter().find(|f| f.collides(forward)) {
            Some(there) if there == forward => {}
            Some(there) => {
                let rm = format!("forward rm {}", there.host_side());
                return Err(advise(
                    anyhow::anyhow!("forward {forward}: the port leads elsewhere: {there}"),
                    format!("{} first", command(&record.spec.name, &rm)),
                ));
            }
            None => all.push(forward.clone()),
        }
    }
    if record.phase != Phase::Stopped {
        network::check_ports(&all, &before, record, dir)?;
    }
    change(record, all, dir).await
}

/// Removes forwards of a cluster, named whole or by the host's side.
async fn remove_from(record: &mut ClusterRecord, names: &[String], dir: &ClusterDir) -> Result<()> {
    let mut left = record.forwards.clone();
    for name in names {
        let plain = name.strip_suffix("/tcp").unwrap_or(name);
        let before = left.len();
        left.retain(|f| f.to_string() != plain && f.host_side() != plain);
        if left.len() == before {
            let there: Vec<_> = left.iter().map(Forward::host_side).collect();
            let there = if there.is_empty() {
                "none".to_owned()
            } else {
                there.join(", ")
            };
            bail!(
                "cluster `{}` has no forward `{name}`; there are: {there}",
                record.spec.name
            );
        }
    }
    change(record, left, dir).await
}

/// The record first, then what it says; back to before when that fails. Killed in between, the cluster
/// is one that `up` has to see to.
async fn change(record: &mut ClusterRecord, to: Vec<Forward>, dir: &ClusterDir) -> Result<()> {
    if to == record.forwards {
        return Ok(());
    }
    let before = (record.forwards.clone(), record.phase);
    let is_running = record.phase != Phase::Stopped;
    if is_running {
        record.phase = Phase::Starting;
    }
    set(record, to);
    record.save(dir)?;
    if !is_running {
        return Ok(());
    }
    let made = async {
        failpoint!("forward.record");
        make(record, dir).await
    };
    let made = made.await;
    record.phase = before.1;
    let Err(error) = made else {
        return record.save(dir);
    };
    record.phase = Phase::Starting;
    set(record, before.0);
    record.save(dir)?;
    match make(record, dir).await {
        Ok(()) => {
            record.phase = before.1;
            record.save(dir)?;
            Err(error)
        }
        Err(e) => Err(error.context(format!("and it could not be taken back: {e:#}"))),
    }
}

/// The wish too, or the next start would bring back what was removed.
fn set(record: &mut ClusterRecord, to: Vec<Forward>) {
    record.spec.forwards.clone_from(&to);
    record.forwards = to;
}

async fn make(record: &ClusterRecord, dir: &ClusterDir) -> Result<()> {
    rules::table(record, record.main()).apply()?;
    failpoint!("forward.rules");
    let keeper = Keeper::of(dir, &record.spec.name);
    keeper.ensure().await?;
    keeper.ask(&Request::Forward).await?;
    failpoint!("forward.keeper");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::record;
    use crate::state::{Found, State};

    /// A cluster that is stopped changes in its record alone.
    fn stopped() -> (ClusterRecord, tempfile::TempDir, ClusterDir) {
        let folder = tempfile::tempdir().unwrap();
        let dir = State::at(folder.path()).cluster("k80");
        fs_err::create_dir_all(dir.path()).unwrap();
        let mut record = record();
        record.phase = Phase::Stopped;
        (record, folder, dir)
    }

    fn parsed(texts: &[&str]) -> Vec<Forward> {
        texts.iter().map(|t| t.parse().unwrap()).collect()
    }

    #[tokio::test]
    async fn forwards_come_and_go_by_name_and_are_kept() {
        let (mut record, _folder, dir) = stopped();
        let two = parsed(&["8080:lbl0:80", "53:lbl0:53/udp"]);
        add_to(&mut record, &two, &dir).await.unwrap();
        add_to(&mut record, &two, &dir).await.unwrap();
        let kept = Found::look(&dir).record().unwrap();
        assert_eq!(kept.forwards, two);
        for (bad, expected) in [
            ("8080:master0:80", "the port leads elsewhere: 8080:lbl0:80"),
            (
                "127.0.0.1:53:lbl0:53/udp",
                "the port leads elsewhere: 53:lbl0:53/udp",
            ),
            ("81:lbl7:80", "no node `lbl7`"),
        ] {
            let error = add_to(&mut record, &parsed(&[bad]), &dir)
                .await
                .unwrap_err();
            assert!(error.to_string().contains(expected), "{bad}: {error}");
        }
        let error = remove_from(&mut record, &["53".to_owned()], &dir).await;
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("no forward `53`; there are: 8080, 53/udp"),
            "{error}"
        );
        let names = ["53/udp".to_owned(), "8080:lbl0:80/tcp".to_owned()];
        remove_from(&mut record, &names, &dir).await.unwrap();
        assert!(Found::look(&dir).record().unwrap().forwards.is_empty());
    }

    #[tokio::test]
    async fn an_isolated_network_is_forwarded_to_on_loopback_alone() {
        let (mut record, _folder, dir) = stopped();
        record.networks.main_mut().isolated = true;
        let error = add_to(&mut record, &parsed(&["80:lbl0:80"]), &dir).await;
        assert!(error.unwrap_err().to_string().contains("127.0.0.1 alone"));
        let fine = parsed(&["127.0.0.1:80:lbl0:80"]);
        add_to(&mut record, &fine, &dir).await.unwrap();
    }
}
