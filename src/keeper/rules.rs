//! Rules that others flush or reload while the cluster runs: noticed, put back, and told of.

use std::time::Duration;

use anyhow::{Context, Result};
use kvmc_netns::Links;
use kvmc_netns::firewall::Changes;
use tokio::time::{Instant, sleep, timeout};

use super::status::Status;
use crate::model::EventKind;
use crate::network::{self, NetworkState};
use crate::state::{ClusterDir, ClusterRecord, Phase};

/// A reload is many changes: it is over when there was none for this long, or after [`LONGEST`].
const QUIET: Duration = Duration::from_millis(150);
const LONGEST: Duration = Duration::from_secs(2);
/// The legacy iptables and the host's switches tell nobody of a change: they are glanced at this often, at the cost of a
/// few small files.
const GLANCE: Duration = Duration::from_secs(10);
/// All rules are read unasked this often.
const LOOK: Duration = Duration::from_secs(300);
/// After a look, rules are left alone for so many times as long as it took, up to [`REST`]: some hosts change theirs
/// without end.
const SHARE: u32 = 10;
const REST: Duration = Duration::from_secs(3);
/// From one repair to the next, doubled up to [`TRUCE`] when somebody keeps undoing ours.
const PAUSE: Duration = Duration::from_secs(1);
const TRUCE: Duration = Duration::from_secs(60);

/// Watches for ever.
pub(super) async fn watch(dir: ClusterDir, cluster: String, status: Status) {
    let changes = match Changes::listen() {
        Ok(changes) => Some(changes),
        Err(e) => {
            let note = format!(
                "changes are not heard, only seen every {} s: {e}",
                GLANCE.as_secs()
            );
            status.event("", EventKind::Firewall, &note);
            None
        }
    };
    let links = Links::open().ok();
    let mut last = Last::default();
    let mut glanced = None;
    let mut looked: Option<Instant> = None;
    loop {
        let heard = wait(changes.as_ref()).await;
        let glance = match &links {
            Some(links) => network::glance(links).await.ok(),
            None => None,
        };
        let is_due = looked.is_none_or(|at| at.elapsed() >= LOOK);
        let is_as_before = glance.is_some() && glance == glanced;
        if !heard && !is_due && is_as_before {
            continue;
        }
        let began = Instant::now();
        let pause = match look_and_restore(&dir, &cluster).await {
            Ok(Some((seen, restored))) => {
                if !restored.is_empty() {
                    let note =
                        format!("lost to another program, put back: {}", restored.join(", "));
                    status.event("", EventKind::Firewall, &note);
                }
                last.tell(
                    &status,
                    seen.obstacles.iter().map(ToString::to_string).collect(),
                );
                // What was put back is looked at once more.
                glanced = glance.filter(|_| restored.is_empty());
                last.pause(!restored.is_empty())
            }
            // No cluster, or one that is being taken away.
            Ok(None) => {
                glanced = None;
                Duration::ZERO
            }
            Err(e) => {
                last.tell(&status, vec![format!("rules cannot be put back: {e:#}")]);
                glanced = None;
                last.pause(true)
            }
        };
        looked = Some(Instant::now());
        sleep(pause.max((began.elapsed() * SHARE).min(REST))).await;
    }
}

/// Until rules have changed and come to rest, which is true, or it is time to glance.
async fn wait(changes: Option<&Changes>) -> bool {
    let Some(changes) = changes else {
        sleep(GLANCE).await;
        return true;
    };
    match timeout(GLANCE, changes.next()).await {
        Ok(Ok(())) => {
            let began = Instant::now();
            while began.elapsed() < LONGEST
                && matches!(timeout(QUIET, changes.next()).await, Ok(Ok(())))
            {}
            true
        }
        // Rather late than in a tight loop.
        Ok(Err(_)) => {
            sleep(GLANCE).await;
            true
        }
        Err(_) => false,
    }
}

async fn look_and_restore(
    dir: &ClusterDir,
    cluster: &str,
) -> Result<Option<(NetworkState, Vec<String>)>> {
    let Some(record) = ClusterRecord::load(dir)? else {
        return Ok(None);
    };
    if record.spec.name != cluster || !matches!(record.phase, Phase::Starting | Phase::Up) {
        return Ok(None);
    }
    let seen = network::look(&record, &Links::open()?).await?;
    let dir = dir.clone();
    // nft and firewall-cmd take their time, and nodes ask for leases meanwhile.
    let task = tokio::task::spawn_blocking(move || {
        // What we went by may be of before a verb's change of forwards, which has made its rules itself.
        if !seen.missing().is_empty() && ClusterRecord::load(&dir)?.as_ref() != Some(&record) {
            return Ok(None);
        }
        let restored = network::restore(&record, &dir, &seen)?;
        anyhow::Ok(Some((seen, restored)))
    });
    task.await.context("a task of the keeper failed")?
}

/// What was there the last time.
#[derive(Debug, Default)]
struct Last {
    pause: Option<Duration>,
    told: Vec<String>,
}

impl Last {
    /// How long to leave the rules alone, after a repair and after none.
    fn pause(&mut self, repaired: bool) -> Duration {
        let pause = match (repaired, self.pause) {
            (false, _) => None,
            (true, None) => Some(PAUSE),
            (true, Some(before)) => Some((before * 2).min(TRUCE)),
        };
        self.pause = pause;
        pause.unwrap_or_default()
    }

    /// Into the event log, once for as long as it stays.
    fn tell(&mut self, status: &Status, now: Vec<String>) {
        for news in now.iter().filter(|n| !self.told.contains(n)) {
            status.event("", EventKind::Firewall, news);
        }
        self.told = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_keeps_undoing_ours_is_fought_ever_more_seldom() {
        let mut last = Last::default();
        assert_eq!(last.pause(true), PAUSE);
        assert_eq!(last.pause(true), PAUSE * 2);
        for _ in 0..20 {
            last.pause(true);
        }
        assert_eq!(last.pause(true), TRUCE);
        assert_eq!(last.pause(false), Duration::ZERO);
        assert_eq!(last.pause(true), PAUSE);
    }
}
