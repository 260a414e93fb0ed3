//! How well the guests keep up: what their agents say when somebody asks for it. Nobody is asked
//! otherwise, since an emulated guest pays for each answer.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kvmc_qmp::Client;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::protocol::{Board, Stage};

/// Longest that a guest may take to answer; one that takes longer is told apart by that.
const ANSWER: Duration = Duration::from_secs(1);

/// A guest beside its host.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Vitals {
    /// Seconds that the guest's clock is ahead of the host's.
    pub(crate) drift: f64,
    /// The drift is known no better than this, in seconds: half the time that asking took.
    pub(crate) error: f64,
    /// The guest's load average over a minute.
    pub(crate) load: f64,
}

/// Fills in the vitals of each node whose agent answers; `agent` finds it.
pub(super) async fn ask(board: &mut Board, agent: impl Fn(&str) -> Option<Client>) {
    let asked: Vec<_> = board
        .iter()
        .filter(|(_, view)| (Stage::Identity..Stage::Ended).contains(&view.stage))
        .filter(|(_, view)| view.paused.is_none())
        .filter_map(|(name, _)| Some((name.clone(), agent(name)?)))
        .map(|(name, agent)| (name, tokio::spawn(one(agent))))
        .collect();
    for (name, task) in asked {
        if let (Ok(vitals), Some(view)) = (task.await, board.get_mut(&name)) {
            view.vitals = vitals;
        }
    }
}

async fn one(agent: Client) -> Option<Vitals> {
    let asked = host_time();
    let answer = agent.request("info", json!({}), ANSWER).await.ok()?;
    judge(&answer, asked, host_time())
}

/// The guest read its clock at some time between the question and the answer.
fn judge(answer: &Value, asked: f64, answered: f64) -> Option<Vitals> {
    let guest = answer.get("time")?.as_f64()?;
    let load = answer.get("load").and_then(|l| l.get(0)?.as_f64());
    Some(Vitals {
        drift: guest - f64::midpoint(asked, answered),
        error: (answered - asked) / 2.0,
        load: load.unwrap_or_default(),
    })
}

fn host_time() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |d| d.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drift_is_from_the_middle_of_the_asking() {
        let answer = json!({ "time": 1010.5, "load": [0.25, 0.1, 0.0], "disk": 1 });
        let vitals = judge(&answer, 1000.0, 1001.0).unwrap();
        assert!((vitals.drift - 10.0).abs() < 1e-9);
        assert!((vitals.error - 0.5).abs() < 1e-9);
        assert!((vitals.load - 0.25).abs() < 1e-9);
        assert_eq!(judge(&json!({ "load": [] }), 0.0, 1.0), None);
        assert_eq!(judge(&json!({ "time": "x" }), 0.0, 1.0), None);
    }
}
