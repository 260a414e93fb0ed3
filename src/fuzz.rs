//! The parsers of outside data, which tests/fuzz drives. Whatever a file, a line or a guest contains, they return a
//! value or an error.

use std::path::Path;

use kvmc_fuzz::run;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::engine::local::last_event;
use crate::host::killed;
use crate::keeper::{Answer, Line, Pause, Request};
use crate::network::accepts::FirewallLog;
use crate::node::{Ended, Evidence};
use crate::node::{Identity, Secrets};
use crate::spec::{Settings, check, parse_file};
use crate::state::{ClusterRecord, State, Written};

/// A value that is written and read again must be the same.
pub(crate) fn round_trip<T: DeserializeOwned + Serialize>(bytes: &[u8]) -> String {
    match serde_json::from_slice::<T>(bytes) {
        Ok(value) => {
            let text = serde_json::to_vec(&value).unwrap();
            let again: T = serde_json::from_slice(&text).unwrap();
            assert_eq!(text, serde_json::to_vec(&again).unwrap());
            "ok".to_owned()
        }
        Err(e) => e.to_string(),
    }
}

#[test]
fn fuzz_state() {
    run("record", |bytes| {
        if let Ok(mut record) = serde_json::from_slice::<ClusterRecord>(bytes) {
            record.notice_reboot("another");
            for node in &record.nodes {
                let _any_image = node.base.image();
                let _as_many_as_there_are = record.nics(node).count();
            }
        }
        round_trip::<ClusterRecord>(bytes)
    });
    run("files", round_trip::<Written>);
    run("firewall", round_trip::<FirewallLog>);
    run("identity", round_trip::<Identity>);
    run("secrets", round_trip::<Secrets>);
    run("ended", |bytes| {
        let words = serde_json::from_slice::<Ended>(bytes).map(|e| e.cause.to_string());
        format!("{}{words:?}", round_trip::<Ended>(bytes))
    });
}

#[test]
fn fuzz_config() {
    run("config", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        match parse_file(Path::new("kvmc.toml"), &text) {
            Ok(layer) => match check(&Settings::resolve([layer])) {
                Ok(_) => "ok".to_owned(),
                Err(e) => e.to_string(),
            },
            Err(e) => e.to_string(),
        }
    });
}

#[test]
fn fuzz_keeper_lines() {
    run("request", round_trip::<Line<Request>>);
    run("answer", round_trip::<Line<Answer>>);
}

/// QEMU's events, as far as kvmc reads them. A guest may have compromised its QEMU.
#[test]
fn fuzz_qmp_events() {
    run("event", |bytes| {
        let Ok(line) = serde_json::from_slice::<Value>(bytes) else {
            return "no JSON".to_owned();
        };
        let data = line.get("data").unwrap_or(&Value::Null);
        let event = line
            .get("event")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let mut evidence = Evidence::default();
        evidence.note_event(event, data);
        let pause = Pause::of_event(data, Path::new("/")).map(|p| p.to_string());
        format!("{} {pause:?}", evidence.judge())
    });
}

#[test]
fn fuzz_kernel_log() {
    run("kmsg", |bytes| {
        format!("{:?}", killed(&String::from_utf8_lossy(bytes)))
    });
}

#[test]
fn fuzz_events() {
    run("events", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        format!("{:?}", last_event(&text, "master0"))
    });
}

/// A link's alias, which anybody can set.
#[test]
fn fuzz_marks() {
    let state = State::locate(|n| (n == "KVMC_STATE_DIR").then(|| "/s".to_owned()), true).unwrap();
    run("mark", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        format!("{:?}", state.marked(&text))
    });
}
