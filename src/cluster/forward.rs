//! Forwards of a cluster: looked at before they are made, added and removed while it runs.

use anyhow::{Result, bail};

use crate::failpoint::failpoint;
use crate::keeper::{Keeper, Request};
use crate::network::{self, rules};
use crate::spec::Forward;
use crate::state::{ClusterDir, ClusterRecord, Phase};

/// Adds forwards to a cluster, at once if it runs.
///
/// # Errors
/// A port that another forward or program has, a node that is not there, or what keeps it from being
/// made; nothing has changed then.
pub(crate) async fn add(
    record: &mut ClusterRecord,
    forwards: &[Forward],
    dir: &ClusterDir,
) -> Result<()> {
    let before = record.forwards.clone();
    let mut all = before.clone();
    for forward in forwards {
        record.node(&forward.node)?;
        if record.network.isolated && !forward.is_on_loopback() {
            bail!(
                "forward {forward}: the network is isolated, and nothing outside may reach its nodes; forward it on 127.0.0.1 alone"
            );
        }
        match all.iter().find(|f| f.collides(forward)) {
            Some(there) if there == forward => {}
            Some(there) => bail!(
                "forward {forward}: there is {there}; `kvmc forward rm {}` first",
                there.host_side()
            ),
            None => all.push(forward.clone()),
        }
    }
    if record.phase != Phase::Stopped {
        network::check_ports(&all, &before, record, dir)?;
    }
    change(record, all, dir).await
}

/// Removes forwards of a cluster, named whole or by the host's side.
///
/// # Errors
/// One that is not there, or what keeps it from being removed; nothing has changed then.
pub(crate) async fn remove(
    record: &mut ClusterRecord,
    names: &[String],
    dir: &ClusterDir,
) -> Result<()> {
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
    rules::table(record, &record.network).apply()?;
    failpoint!("forward.rules");
    let keeper = Keeper::of(dir, &record.spec.name);
    keeper.ensure().await?;
    keeper.ask(&Request::Forward).await?;
    failpoint!("forward.keeper");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::record;
    use super::*;

    /// A cluster that is stopped changes in its record alone.
    fn stopped() -> (ClusterRecord, tempfile::TempDir, ClusterDir) {
        let folder = tempfile::tempdir().unwrap();
        let state =
            |name: &str| (name == "KVMC_STATE_DIR").then(|| folder.path().display().to_string());
        let dir = crate::state::State::locate(state, true)
            .unwrap()
            .cluster("k80");
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
        add(&mut record, &two, &dir).await.unwrap();
        add(&mut record, &two, &dir).await.unwrap();
        let kept = ClusterRecord::load(&dir).unwrap().unwrap();
        assert_eq!(kept.forwards, two);
        for (bad, expected) in [
            (
                "8080:master0:80",
                "there is 8080:lbl0:80; `kvmc forward rm 8080` first",
            ),
            ("127.0.0.1:53:lbl0:53/udp", "there is 53:lbl0:53/udp"),
            ("81:lbl7:80", "no node `lbl7`"),
        ] {
            let error = add(&mut record, &parsed(&[bad]), &dir).await.unwrap_err();
            assert!(error.to_string().contains(expected), "{bad}: {error}");
        }
        let error = remove(&mut record, &["53".to_owned()], &dir).await;
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("no forward `53`; there are: 8080, 53/udp"),
            "{error}"
        );
        let names = ["53/udp".to_owned(), "8080:lbl0:80/tcp".to_owned()];
        remove(&mut record, &names, &dir).await.unwrap();
        assert!(
            ClusterRecord::load(&dir)
                .unwrap()
                .unwrap()
                .forwards
                .is_empty()
        );
    }

    #[tokio::test]
    async fn an_isolated_network_is_forwarded_to_on_loopback_alone() {
        let (mut record, _folder, dir) = stopped();
        record.network.isolated = true;
        let error = add(&mut record, &parsed(&["80:lbl0:80"]), &dir).await;
        assert!(error.unwrap_err().to_string().contains("127.0.0.1 alone"));
        let fine = parsed(&["127.0.0.1:80:lbl0:80"]);
        add(&mut record, &fine, &dir).await.unwrap();
    }
}
