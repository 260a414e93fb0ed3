//! How well a cluster's nodes keep up with their host, for `status`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::keeper::{Board, Keeper, Request, Vitals};
use crate::node::{Identity, Turns};
use crate::state::{ClusterDir, ClusterRecord, read_json};

/// A keeper that hangs must not make `status` hang; each guest has a second to answer.
const KEEPER: Duration = Duration::from_millis(1500);
/// Time over which the vcpus' waits are counted: many turns of the host's scheduler.
const WINDOW: Duration = Duration::from_millis(300);

/// By node: the share of the time just now that its vcpus waited for a core of the host.
pub(super) type Steal = BTreeMap<String, f64>;

/// The board with vitals, and the steal meanwhile; no board when the keeper does not answer.
pub(super) async fn look(dir: &ClusterDir, record: &ClusterRecord) -> (Option<Board>, Steal) {
    let before = turns(dir, record);
    let keeper = Keeper::of(dir, &record.spec.name);
    let board = async {
        match tokio::time::timeout(KEEPER, keeper.ask(&Request::Vitals)).await {
            Ok(Ok(board)) => Some(board),
            // A keeper of before, which does not know the question.
            Ok(Err(_)) => tokio::time::timeout(KEEPER, keeper.ask(&Request::Board))
                .await
                .ok()?
                .ok(),
            Err(_) => None,
        }
    };
    let window = async {
        if !before.is_empty() {
            tokio::time::sleep(WINDOW).await;
        }
    };
    let (board, ()) = tokio::join!(board, window);
    let steal = turns(dir, record)
        .into_iter()
        .filter_map(|(name, now)| {
            let steal = now.steal_since(before.get(&name)?);
            Some((name, steal))
        })
        .collect();
    (board, steal)
}

fn turns(dir: &ClusterDir, record: &ClusterRecord) -> BTreeMap<String, Turns> {
    let of = |name: &str| {
        let identity = read_json::<Identity>(&dir.node(name).process()).ok()??;
        identity.open()?;
        Turns::of(identity.pid)
    };
    let nodes = record.nodes.iter();
    nodes
        .filter_map(|n| Some((n.name.clone(), of(&n.name)?)))
        .collect()
}

/// For `--json`: fractions and seconds, null where nothing is known.
pub(super) fn as_json(steal: Option<f64>, vitals: Option<Vitals>) -> Value {
    json!({
        "steal": steal.map(rounded),
        "clock_drift": vitals.map(|v| rounded(v.drift)),
        "clock_drift_error": vitals.map(|v| rounded(v.error)),
        "load": vitals.map(|v| v.load),
    })
}

/// Two cells for people.
pub(super) fn cells(steal: Option<f64>, vitals: Option<Vitals>) -> [String; 2] {
    let unknown = || "-".to_owned();
    let steal = steal.map_or_else(unknown, |s| format!("{:.0}%", s * 100.0));
    let drift = vitals.map_or_else(unknown, |v| {
        // What the asking itself could be is no drift.
        if v.drift.abs() <= v.error {
            format!("<{:.2} s", v.error.max(0.01))
        } else {
            format!("{:+.2} s", v.drift)
        }
    });
    [steal, drift]
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drift(drift: f64, error: f64) -> String {
        let vitals = Vitals {
            drift,
            error,
            load: 0.0,
        };
        let [_, cell] = cells(None, Some(vitals));
        cell
    }

    #[test]
    fn a_drift_within_the_error_of_asking_is_shown_as_a_bound() {
        assert_eq!(drift(0.004, 0.03), "<0.03 s");
        assert_eq!(drift(-0.004, 0.005), "<0.01 s");
        assert_eq!(drift(-2.5, 0.03), "-2.50 s");
        assert_eq!(drift(0.5, 0.03), "+0.50 s");
    }

    #[test]
    fn what_is_not_known_is_not_zero() {
        assert_eq!(cells(None, None), ["-", "-"]);
        assert_eq!(cells(Some(0.256), None)[0], "26%");
        assert_eq!(as_json(None, None)["steal"], Value::Null);
        assert_eq!(as_json(Some(0.25), None)["steal"], json!(0.25));
    }
}
