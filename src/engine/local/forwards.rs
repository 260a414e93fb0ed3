//! Adds and removes forwards of a cluster, also while it runs.

use anyhow::{Result, bail};

use super::Local;
use crate::failpoint::failpoint;
use crate::hint::{add_hint, bail_with_hint, command};
use crate::interrupt::Interrupt;
use crate::keeper::{Keeper, Request};
use crate::model::{ForwardReport, Interrupted};
use crate::network::{self, check_namespace, rules};
use crate::spec::Forward;
use crate::state::{ClusterDir, ClusterRecord, Lock, Phase};
use crate::steps::scope;

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

/// The cluster's record, with its lock held.
async fn take(local: &Local, verb: &str) -> Result<(ClusterRecord, Lock)> {
    local.require()?;
    let lock = Lock::take(&local.dir(), verb, local.wait).await?;
    let Some(record) = local.load()? else {
        lock.abandon();
        bail!(
            "cluster `{}` was removed while this verb waited for it",
            local.cluster
        );
    };
    local.dir().check_entered(&record)?;
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
            let now = format!("{up} completes the change, {ls} shows the forwards");
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
            bail_with_hint!(
                "use the host address 127.0.0.1",
                "forward `{forward}`: the network is isolated, so only this host may reach its nodes"
            );
        }
        match all.iter().find(|f| f.collides(forward)) {
            Some(there) if there == forward => {}
            Some(there) => {
                let rm = format!("forward rm {}", there.host_side());
                return Err(add_hint(
                    anyhow::anyhow!("forward `{forward}`: the port has another forward: `{there}`"),
                    format!("{} removes that", command(&record.spec.name, &rm)),
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

/// Removes forwards of a cluster. A name is the whole forward or its host side.
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
                "cluster `{}` has no forward `{name}`; its forwards are: {there}",
                record.spec.name
            );
        }
    }
    change(record, left, dir).await
}

/// Writes the record, then applies it. If that fails, both go back to the forwards before. A kill in between leaves a
/// cluster that `up` completes.
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
        Err(e) => Err(error.context(format!("the change could not be undone: {e:#}"))),
    }
}

/// Changes the specification too. Otherwise the next start would restore removed forwards.
fn set(record: &mut ClusterRecord, to: Vec<Forward>) {
    record.spec.forwards.clone_from(&to);
    record.forwards = to;
}

async fn make(record: &ClusterRecord, dir: &ClusterDir) -> Result<()> {
    rules::table(record, record.main()).apply()?;
    network::outlet::apply_forwards(record)?;
    failpoint!("forward.rules");
    let keeper = Keeper::of(dir, &record.spec.name);
    if !keeper.is_running()
        && let Some(scope) = scope::look(dir)
    {
        let _goes_on_without = scope.enter(dir).await;
    }
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

    /// A stopped cluster, in which only the record changes.
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
    async fn forwards_are_added_and_removed_by_name_and_recorded() {
        let (mut record, _folder, dir) = stopped();
        let two = parsed(&["8080:lbl0:80", "53:lbl0:53/udp"]);
        add_to(&mut record, &two, &dir).await.unwrap();
        add_to(&mut record, &two, &dir).await.unwrap();
        let kept = Found::look(&dir).record().unwrap();
        assert_eq!(kept.forwards, two);
        for (bad, expected) in [
            (
                "8080:master0:80",
                "the port has another forward: `8080:lbl0:80`",
            ),
            (
                "127.0.0.1:53:lbl0:53/udp",
                "the port has another forward: `53:lbl0:53/udp`",
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
            error.contains("no forward `53`; its forwards are: 8080, 53/udp"),
            "{error}"
        );
        let names = ["53/udp".to_owned(), "8080:lbl0:80/tcp".to_owned()];
        remove_from(&mut record, &names, &dir).await.unwrap();
        assert!(Found::look(&dir).record().unwrap().forwards.is_empty());
    }

    #[tokio::test]
    async fn an_isolated_network_allows_forwards_on_loopback_only() {
        let (mut record, _folder, dir) = stopped();
        record.networks.main_mut().isolated = true;
        let error = add_to(&mut record, &parsed(&["80:lbl0:80"]), &dir).await;
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("the network is isolated")
        );
        let fine = parsed(&["127.0.0.1:80:lbl0:80"]);
        add_to(&mut record, &fine, &dir).await.unwrap();
    }
}
