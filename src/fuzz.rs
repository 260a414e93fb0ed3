//! The parsers of outside data, which tests/fuzz drives. Whatever a file, a line or a guest contains, they return a
//! value or an error.

use std::path::Path;

use kvmc_fuzz::run;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::convert::{from_libvirt, from_vagrant};
use crate::engine::local::last_event;
use crate::host::killed;
use crate::keeper::{Answer, Line, Pause, Request};
use crate::network::accepts::FirewallLog;
use crate::node::{Ended, Evidence};
use crate::node::{Identity, Secrets};
use crate::snapshot::{Delta, Machine, Manifest, compose, parse};
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
fn fuzz_foreign_files() {
    let told = |carried: anyhow::Result<crate::convert::Carried>| match carried {
        Ok(carried) => {
            let text = crate::spec::commented(&carried.live);
            let layer = parse_file(Path::new("kvmc.toml"), &text).unwrap();
            check(&Settings::resolve([layer])).unwrap();
            text
        }
        Err(e) => format!("{e:#}"),
    };
    run("libvirt", |bytes| {
        told(from_libvirt(&String::from_utf8_lossy(bytes), "network.xml"))
    });
    run("vagrant", |bytes| {
        told(from_vagrant(&String::from_utf8_lossy(bytes), "Vagrantfile"))
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

/// Requests of programs to `serve`: whatever they are, no word of theirs becomes a flag.
#[test]
fn fuzz_programs() {
    run("program", crate::api::understood);
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

/// QEMU's state of a machine, which a guest that has compromised its QEMU writes.
#[test]
fn fuzz_streams() {
    // Without what the error quotes, which would make each input a new outcome.
    let kind = |e: anyhow::Error| e.root_cause().to_string().chars().take(20).collect();
    run("stream", |bytes| {
        let stream = match parse(bytes) {
            Ok(stream) => stream,
            Err(e) => return kind(e),
        };
        let ram = stream.blocks.iter().find(|b| b.name == "ram0");
        let Some(ram) = ram.map(|block| block.size) else {
            return format!("{} blocks without ram0", stream.blocks.len());
        };
        let machine = Machine::woken(bytes, ram).unwrap();
        let devices = b"QEVM\0\0\0\x03\x04\0\0\0\0\0\0\0";
        let mut out = Vec::new();
        match compose(&mut out, &machine, Some(bytes), devices, &Delta::default()) {
            Ok(()) => {
                let again = parse(&out).unwrap();
                assert_eq!(again.blocks.len(), stream.blocks.len());
                format!("ok, {}", again.blocks.len())
            }
            Err(e) => kind(e),
        }
    });
    run("manifest", |bytes| {
        if let Ok(manifest) = serde_json::from_slice::<Manifest>(bytes) {
            let fits = manifest.nodes.iter();
            let fits = fits.map(|(name, part)| (name.clone(), part.fits.clone()));
            let fits = fits.collect();
            let checked = manifest.check(&fits).map_err(|e| e.to_string());
            return format!(
                "{checked:?} {} {}",
                manifest.size(),
                round_trip::<Manifest>(bytes)
            );
        }
        round_trip::<Manifest>(bytes)
    });
}
