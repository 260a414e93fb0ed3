//! Measures at an interval how well the guests keep up, so that `status` need not wait. Agents are asked less often,
//! because each answer costs an emulated guest time.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kvmc_images::agent::{Adjust, Info, InfoAnswer, Request};
use kvmc_qmp::{Client, ExecuteError};
use serde_json::Value;

use super::status::Status;
use crate::model::{Board, Stage, Vitals};
use crate::node::VcpuWaits;

/// Interval between two measurements. The steal is a share of it.
const EVERY: Duration = Duration::from_secs(10);
/// Measurements between two questions to the agents.
const ASK_EACH: u32 = 3;

/// Longest time that a guest may take to answer. A missing answer is a finding in itself.
const ANSWER: Duration = Duration::from_secs(1);

/// Most attempts to set a guest's clock, and the interval between two.
const TRIES: u32 = 10;
const BETWEEN: Duration = Duration::from_secs(2);
/// Drift in seconds that is not corrected.
const GOOD_ENOUGH: f64 = 0.02;

/// Keeps the steal and the vitals on the board up to date. `pid` and `agent` look up a node.
pub(super) async fn keep_up(
    status: Status,
    pid: impl Fn(&str) -> Option<i32>,
    agent: impl Fn(&str) -> Option<Client>,
) {
    let turns = |board: &Board| -> BTreeMap<String, VcpuWaits> {
        let of = |name: &String| Some((name.clone(), VcpuWaits::of(pid(name)?)?));
        board.keys().filter_map(of).collect()
    };
    let mut before = turns(&status.board());
    for look in 1_u32.. {
        tokio::time::sleep(EVERY).await;
        let board = status.board();
        let now = turns(&board);
        let steal = now
            .iter()
            .filter_map(|(name, now)| Some((name.clone(), now.steal_since(before.get(name)?))));
        status.set_steal(&steal.collect());
        before = now;
        if look % ASK_EACH == 1 {
            status.set_vitals(&ask(&board, &agent).await);
        }
    }
}

/// The vitals of each node whose agent answers.
async fn ask(board: &Board, agent: impl Fn(&str) -> Option<Client>) -> BTreeMap<String, Vitals> {
    let asked: Vec<_> = board
        .iter()
        .filter(|(_, view)| (Stage::Ready..Stage::Ended).contains(&view.stage))
        .filter(|(_, view)| view.paused.is_none())
        .filter_map(|(name, _)| Some((name.clone(), agent(name)?)))
        .map(|(name, agent)| (name, tokio::spawn(one(agent))))
        .collect();
    let mut vitals = BTreeMap::new();
    for (name, task) in asked {
        if let Ok(Some(answer)) = task.await {
            vitals.insert(name, answer);
        }
    }
    vitals
}

/// Corrects a guest's clock by its drift. The time that a woken guest got with its identity is late by the guest's
/// waiting time on a busy host, at worst by seconds. An adjustment is right however late it arrives.
pub(super) async fn correct_clock(agent: Client) {
    for _ in 0..TRIES {
        // Not while the guest starts, because each question delays it.
        tokio::time::sleep(BETWEEN).await;
        // A guest that gets too little CPU to answer in time is asked again.
        if let Some(vitals) = one(agent.clone()).await {
            match correction(&vitals) {
                Some(seconds) => {
                    let arguments = Adjust { seconds }.arguments();
                    let adjusted = agent.request(Adjust::NAME, arguments, ANSWER).await;
                    // An older agent does not know this request. A slow agent carries it out before it answers the
                    // next question.
                    if let Err(ExecuteError::Refused { .. }) = adjusted {
                        return;
                    }
                }
                None if vitals.error < GOOD_ENOUGH => return,
                None => {}
            }
        }
    }
}

/// Seconds to add to the guest's clock, or `None` if the drift is within the measurement's error.
fn correction(vitals: &Vitals) -> Option<f64> {
    (vitals.drift.abs() > vitals.error.max(GOOD_ENOUGH)).then_some(-vitals.drift)
}

async fn one(agent: Client) -> Option<Vitals> {
    let asked = host_time();
    let answer = agent
        .request(Info::NAME, Info {}.arguments(), ANSWER)
        .await
        .ok()?;
    judge(answer, asked, host_time())
}

/// The guest read its clock at some time between the question and the answer.
fn judge(answer: Value, asked: f64, answered: f64) -> Option<Vitals> {
    let InfoAnswer { time, load } = serde_json::from_value(answer).ok()?;
    Some(Vitals {
        drift: time - f64::midpoint(asked, answered),
        error: (answered - asked) / 2.0,
        load: load.first().copied().unwrap_or_default(),
    })
}

fn host_time() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |d| d.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_clock_is_corrected_by_its_certain_drift() {
        let vitals = |drift, error| Vitals {
            drift,
            error,
            load: 0.0,
        };
        assert_eq!(correction(&vitals(-3.0, 0.5)), Some(3.0));
        assert_eq!(correction(&vitals(0.4, 0.1)), Some(-0.4));
        assert_eq!(correction(&vitals(0.4, 0.5)), None);
        assert_eq!(correction(&vitals(0.01, 0.001)), None);
    }

    #[test]
    fn the_drift_is_measured_from_the_middle_of_the_question() {
        let answer = json!({ "time": 1010.5, "load": [0.25, 0.1, 0.0], "disk": 1 });
        let vitals = judge(answer, 1000.0, 1001.0).unwrap();
        assert!((vitals.drift - 10.0).abs() < 1e-9);
        assert!((vitals.error - 0.5).abs() < 1e-9);
        assert!((vitals.load - 0.25).abs() < 1e-9);
        assert_eq!(judge(json!({ "load": [] }), 0.0, 1.0), None);
        assert_eq!(judge(json!({ "time": "x" }), 0.0, 1.0), None);
    }

    /// A compromised guest may answer anything.
    #[test]
    fn fuzz_info() {
        kvmc_fuzz::run("info", |bytes| {
            let Ok(answer) = serde_json::from_slice::<Value>(bytes) else {
                return "no JSON".to_owned();
            };
            let vitals = judge(answer, 1000.0, 1001.0);
            let step = vitals.as_ref().and_then(correction).map(f64::is_finite);
            assert_ne!(step, Some(false), "{vitals:?}");
            format!("{} {step:?}", vitals.is_some())
        });
    }
}
