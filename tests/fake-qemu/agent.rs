//! The guest agent of images/guest/agent.py, and the console beside it.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::args::{mac, unsafe_fd};
use crate::guest::Guest;

pub(crate) fn serve(guest: &Arc<Guest>) {
    if let Some(fd) = guest.args.sockets.get("console") {
        let (socket, guest) = (UnixListener::from(unsafe_fd(*fd)), Arc::clone(guest));
        std::thread::spawn(move || {
            while let Ok((stream, _)) = socket.accept() {
                *guest.console.lock().unwrap() = Some(stream);
            }
        });
    }
    if let Some(fd) = guest.args.sockets.get("agent") {
        let (socket, guest) = (UnixListener::from(unsafe_fd(*fd)), Arc::clone(guest));
        std::thread::spawn(move || {
            while let Ok((stream, _)) = socket.accept() {
                *guest.host.lock().unwrap() = stream.try_clone().ok();
                for line in BufReader::new(&stream).lines().map_while(Result::ok) {
                    hear(&guest, &line);
                }
                *guest.host.lock().unwrap() = None;
            }
        });
    }
}

/// A guest that is not up, or does not run, hears nothing: QEMU keeps it for later, and so does nobody
/// here.
fn hear(guest: &Arc<Guest>, line: &str) {
    let is_up = guest.look(|i| i.state == "running" && (i.agent || i.woken));
    let Ok(request) = serde_json::from_str::<Value>(line) else {
        return;
    };
    if !is_up {
        return;
    }
    let id = &request["id"];
    match execute(
        guest,
        request["execute"].as_str().unwrap_or_default(),
        &request["arguments"],
    ) {
        Ok(value) => guest.say(&json!({ "id": id, "return": value })),
        Err(desc) => {
            guest.say(&json!({ "id": id, "error": { "class": "ValueError", "desc": desc } }));
        }
    }
}

fn execute(guest: &Arc<Guest>, name: &str, arguments: &Value) -> Result<Value, String> {
    match name {
        "ping" => Ok(json!({ "version": "1", "configured": guest.look(|i| i.identified) })),
        "identity" => {
            // A keeper that is new introduces itself to a guest that was ready for the one before.
            let address = guest.look(|i| i.address.clone());
            guest.change(|i| {
                i.identified = true;
                if let Some(address) = arguments["mac"].as_str() {
                    i.mac = mac(address);
                }
            });
            let is_ready = address.is_some() && arguments["woken"] != true;
            Ok(json!({ "ready": is_ready, "address": address, "random": "00".repeat(32) }))
        }
        "settle" => {
            guest.change(|i| i.identified = false);
            Ok(json!({}))
        }
        "info" => {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            Ok(json!({ "time": now.as_secs_f64(), "load": [0, 0, 0], "disk": 0 }))
        }
        "adjust" => Ok(json!({})),
        "shutdown" => {
            if guest.script.is("deaf") {
                return Ok(json!({}));
            }
            let (guest, reboot) = (Arc::clone(guest), arguments["mode"] == "reboot");
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(20));
                if reboot {
                    guest.reset();
                } else {
                    guest.end("guest-shutdown", true, 0);
                }
            });
            Ok(json!({}))
        }
        other => Err(format!("no command {other}")),
    }
}
