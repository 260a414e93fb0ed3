//! Watches the firewall for changes by other programs while the cluster runs, restores kvmc's rules and reports that.

use std::time::Duration;

use anyhow::{Context, Result};
use kvmc_netns::Links;
use kvmc_netns::firewall::Changes;
use kvmc_netns::outside::{outside, run_outside};
use tokio::time::{Instant, sleep, timeout};

use super::status::Status;
use crate::model::EventKind;
use crate::network::{self, NetworkState, Repair, RulesMark};
use crate::state::{ClusterDir, ClusterRecord, Phase};

/// A reload makes many changes. It counts as over after this long without a change, or after [`LONGEST`].
const QUIET: Duration = Duration::from_millis(150);
const LONGEST: Duration = Duration::from_secs(2);
/// The legacy iptables and the host's sysctls announce no changes. They are checked at this interval, at the cost of
/// reading a few small files.
const GLANCE: Duration = Duration::from_secs(10);
/// Interval at which all rules are read without a change notice.
const LOOK: Duration = Duration::from_secs(300);
/// After a look at the rules, the next one waits this many times as long as the look took, up to [`REST`], because
/// some hosts change their rules all the time.
const SHARE: u32 = 10;
const REST: Duration = Duration::from_secs(3);
/// Time between two repairs. It doubles up to [`TRUCE`] while another program keeps undoing them.
const PAUSE: Duration = Duration::from_secs(1);
const TRUCE: Duration = Duration::from_secs(60);

/// Watches the rules until the keeper ends.
pub(super) async fn watch(dir: ClusterDir, cluster: String, status: Status) {
    let changes = match Changes::listen() {
        Ok(changes) => Some(changes),
        Err(e) => {
            let note = format!(
                "the kernel's change notices are not available, so the rules are checked every {} s: {e}",
                GLANCE.as_secs()
            );
            status.event("", EventKind::Firewall, &note);
            None
        }
    };
    // A fork's rules outside are changed there.
    let outer = outside().and_then(|_| run_outside(Changes::listen).ok()?.ok());
    let links = Links::open().ok();
    let mut last = Last::default();
    let mut glanced = None;
    let mut looked: Option<Instant> = None;
    loop {
        let heard = wait(changes.as_ref(), outer.as_ref()).await;
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
            Ok(Some((mark, seen, repair))) => {
                status.set_rules_in_order(mark.filter(|_| seen.is_in_order() && repair.is_empty()));
                for note in notes(&repair) {
                    status.event("", EventKind::Firewall, &note);
                }
                last.tell(
                    &status,
                    seen.obstacles.iter().map(ToString::to_string).collect(),
                );
                // The next loop checks the repair.
                glanced = glance.filter(|_| repair.is_empty());
                last.pause(!repair.is_empty())
            }
            // There is no cluster, or it is being removed.
            Ok(None) => {
                glanced = None;
                status.set_rules_in_order(None);
                Duration::ZERO
            }
            Err(e) => {
                status.set_rules_in_order(None);
                last.tell(&status, vec![format!("rules cannot be restored: {e:#}")]);
                glanced = None;
                last.pause(true)
            }
        };
        looked = Some(Instant::now());
        sleep(pause.max((began.elapsed() * SHARE).min(REST))).await;
    }
}

/// The events of a repair.
fn notes(repair: &Repair) -> Vec<String> {
    [
        (
            &repair.restored,
            "restored rules that another program had removed",
        ),
        (&repair.added, "added rules that a changed firewall needs"),
    ]
    .into_iter()
    .filter(|(what, _)| !what.is_empty())
    .map(|(what, why)| format!("{why}: {}", what.join(", ")))
    .collect()
}

/// Waits for a change of the rules and its end, which returns true, or for the next check, which returns false.
async fn wait(changes: Option<&Changes>, outer: Option<&Changes>) -> bool {
    let Some(changes) = changes else {
        sleep(GLANCE).await;
        return true;
    };
    let next = || async {
        match outer {
            Some(outer) => tokio::select! {
                changed = changes.next() => changed,
                changed = outer.next() => changed,
            },
            None => changes.next().await,
        }
    };
    match timeout(GLANCE, next()).await {
        Ok(Ok(())) => {
            let began = Instant::now();
            while began.elapsed() < LONGEST && matches!(timeout(QUIET, next()).await, Ok(Ok(()))) {}
            true
        }
        // Wait, to avoid a tight loop.
        Ok(Err(_)) => {
            sleep(GLANCE).await;
            true
        }
        Err(_) => false,
    }
}

/// Looks at the rules and repairs them. Returns the marks from before the look, what it saw, and the repair.
async fn look_and_restore(
    dir: &ClusterDir,
    cluster: &str,
) -> Result<Option<(Option<RulesMark>, NetworkState, Repair)>> {
    let Some(record) = ClusterRecord::load(dir)? else {
        return Ok(None);
    };
    if record.spec.name != cluster || !matches!(record.phase, Phase::Starting | Phase::Up) {
        return Ok(None);
    }
    let links = Links::open()?;
    // A change after this makes other marks.
    let mark = RulesMark::read(&record, &links).await.ok();
    let seen = network::look(&record, &links).await?;
    let restored_outside = network::outlet::restore(&record, dir).await?;
    let dir = dir.clone();
    // nft and firewall-cmd take time, and nodes ask for leases meanwhile.
    let task = tokio::task::spawn_blocking(move || {
        // A verb may have changed the forwards since the look, and made its rules itself.
        if !seen.missing().is_empty() && ClusterRecord::load(&dir)?.as_ref() != Some(&record) {
            return Ok(None);
        }
        let mut repair = network::restore(&record, &dir, &seen)?;
        repair.restored.extend(restored_outside);
        anyhow::Ok(Some((mark, seen, repair)))
    });
    task.await.context("a task of the keeper panicked")?
}

/// The problems last reported and the current pause.
#[derive(Debug, Default)]
struct Last {
    pause: Option<Duration>,
    told: Vec<String>,
}

impl Last {
    /// How long to leave the rules alone, after a repair or without one.
    fn pause(&mut self, repaired: bool) -> Duration {
        let pause = match (repaired, self.pause) {
            (false, _) => None,
            (true, None) => Some(PAUSE),
            (true, Some(before)) => Some((before * 2).min(TRUCE)),
        };
        self.pause = pause;
        pause.unwrap_or_default()
    }

    /// Logs each problem once, as long as it stays.
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
    fn repairs_become_rarer_while_another_program_undoes_them() {
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
