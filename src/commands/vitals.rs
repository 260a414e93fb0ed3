//! How well a cluster's nodes keep up with their host, for `status`.

use serde_json::{Value, json};

use crate::model::Vitals;

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
