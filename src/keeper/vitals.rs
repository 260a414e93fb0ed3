//! Measures at an interval how well the guests keep up, so that `status` need not wait. Agents are asked less often,
//! because each answer costs an emulated guest time.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kvmc_images::agent::{Adjust, Info, InfoAnswer, Request};
use kvmc_qmp::{Client, ExecuteError};
use serde_json::Value;

use super::status::Status;
use crate::model::{Board, Vitals};
use crate::node::{Usage, VcpuWaits};

/// Interval between two measurements. The steal is a share of it.
const EVERY: Duration = Duration::from_secs(10);

/// Longest time that a guest may take to answer. A missing answer is a finding in itself.
const ANSWER: Duration = Duration::from_secs(1);

/// Most attempts to set a guest's clock, and the interval between two.
const TRIES: u32 = 10;
const BETWEEN: Duration = Duration::from_secs(2);
/// Drift in seconds that is not corrected.
const GOOD_ENOUGH: f64 = 0.02;

/// Keeps the steal on the board up to date. `pid` looks up a node.
pub(super) async fn keep_up(status: Status, pid: impl Fn(&str) -> Option<i32>) {
    let turns = |board: &Board| -> BTreeMap<String, VcpuWaits> {
        let of = |name: &String| Some((name.clone(), VcpuWaits::of(pid(name)?)?));
        board.keys().filter_map(of).collect()
    };
    let uses = |board: &Board| -> BTreeMap<String, Usage> {
        let of = |name: &String| Some((name.clone(), Usage::of(pid(name)?)?));
        board.keys().filter_map(of).collect()
    };
    let mut before = turns(&status.board());
    let mut used = uses(&status.board());
    loop {
        tokio::time::sleep(EVERY).await;
        let board = status.board();
        let now = turns(&board);
        let steal = now
            .iter()
            .filter_map(|(name, now)| Some((name.clone(), now.steal_since(before.get(name)?))));
        status.set_steal(&steal.collect());
        before = now;
        let now = uses(&board);
        let cpu = now
            .iter()
            .filter_map(|(name, now)| Some((name.clone(), now.busy_since(used.get(name)?)?)));
        status.set_cpu(&cpu.collect());
        used = now;
    }
}

/// Corrects a guest's clock by its drift. The time that a woken guest got with its identity is late by the guest's
/// waiting time on a busy host, at worst by seconds. An adjustment is right however late it arrives.
pub(super) async fn correct_clock(agent: Client) {
    for _ in 0..TRIES {
        // Not while the guest starts, because each question delays it.
        tokio::time::sleep(BETWEEN).await;
        // A guest that gets too little CPU to answer in time is asked again.
        if let Some(Answer { vitals, .. }) = one(&agent, ANSWER).await {
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

/// An agent's answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    pub(super) vitals: Vitals,
    /// A kernel in the guest's /boot that the host does not boot.
    pub(super) kernel: Option<String>,
    /// Changes when sshd or its host keys do; `None` from an older agent, or if nothing listens.
    pub(super) sshd: Option<String>,
}

/// Asks an agent, which has this long to answer.
pub(super) async fn one(agent: &Client, time: Duration) -> Option<Answer> {
    let asked = host_time();
    let answer = agent
        .request(Info::NAME, Info {}.arguments(), time)
        .await
        .ok()?;
    judge(answer, asked, host_time())
}

/// The guest read its clock at some time between the question and the answer.
fn judge(answer: Value, asked: f64, answered: f64) -> Option<Answer> {
    let InfoAnswer {
        time,
        load,
        kernel,
        sshd,
        ..
    } = serde_json::from_value(answer).ok()?;
    let vitals = Vitals {
        drift: time - f64::midpoint(asked, answered),
        error: (answered - asked) / 2.0,
        load: load.first().copied().unwrap_or_default(),
    };
    Some(Answer {
        vitals,
        kernel: kernel.filter(|k| is_release(k)),
        sshd,
    })
}

/// Whether a guest's word can be a kernel's release, which is shown.
fn is_release(word: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-+._~".contains(c);
    (1..=64).contains(&word.len()) && word.chars().all(fits)
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
        let Answer {
            vitals,
            kernel,
            sshd,
        } = judge(answer, 1000.0, 1001.0).unwrap();
        assert_eq!(kernel, None);
        assert_eq!(sshd, None, "an older agent");
        assert!((vitals.drift - 10.0).abs() < 1e-9);
        assert!((vitals.error - 0.5).abs() < 1e-9);
        assert!((vitals.load - 0.25).abs() < 1e-9);
        assert_eq!(judge(json!({ "load": [] }), 0.0, 1.0), None);
        assert_eq!(judge(json!({ "time": "x" }), 0.0, 1.0), None);
    }

    #[test]
    fn a_kernel_that_does_not_boot_is_told_and_no_other_word() {
        let kernel = |word: &str| {
            let answer = json!({ "time": 1.0, "load": [], "kernel": word });
            judge(answer, 0.0, 1.0).unwrap().kernel
        };
        let release = "6.12.50+deb13-cloud-amd64";
        assert_eq!(kernel(release).as_deref(), Some(release));
        for word in ["", "a b", "\u{1b}[31m", &"9".repeat(65)] {
            assert_eq!(kernel(word), None, "{word}");
        }
    }

    /// A compromised guest may answer anything.
    #[test]
    fn fuzz_info() {
        kvmc_fuzz::run("info", |bytes| {
            let Ok(answer) = serde_json::from_slice::<Value>(bytes) else {
                return "no JSON".to_owned();
            };
            let vitals = judge(answer, 1000.0, 1001.0);
            let vitals = vitals.map(|answer| answer.vitals);
            let step = vitals.as_ref().and_then(correction).map(f64::is_finite);
            assert_ne!(step, Some(false), "{vitals:?}");
            format!("{} {step:?}", vitals.is_some())
        });
    }
}
