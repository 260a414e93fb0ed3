//! The guest agent, with the messages of images/guest/messages.json, and the console.
//!
//! It refuses a command, argument, answer or event that the table does not list.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kvmc_images::agent::{
    Adjust, AllReady, Event, Identity, Info, Ping, PowerMode, Request, Restored, Settle, Shutdown,
    Table,
};
use serde_json::{Value, json};

use crate::args::{mac, unsafe_fd};
use crate::guest::Guest;

pub(crate) fn serve(guest: &Arc<Guest>) {
    if let Some(fd) = guest.args.sockets.get("console") {
        let (socket, guest) = (UnixListener::from(unsafe_fd(*fd)), Arc::clone(guest));
        std::thread::spawn(move || {
            while let Ok((stream, _)) = socket.accept() {
                *guest.console.lock().unwrap() = stream.try_clone().ok();
                // As a login does, it shows what is typed.
                let mut bytes = [0; 256];
                while let Ok(n @ 1..) = (&stream).read(&mut bytes) {
                    let _gone = (&stream).write_all(&bytes[..n]);
                }
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

/// Handles a line from the host. A guest that is not up, or does not run, drops it. QEMU would keep it for
/// later.
fn hear(guest: &Arc<Guest>, line: &str) {
    let is_up = guest.look(|i| i.state == "running" && (i.agent || i.woken));
    let Ok(request) = serde_json::from_str::<Value>(line) else {
        return;
    };
    if !is_up {
        return;
    }
    let id = &request["id"];
    let name = request["execute"].as_str().unwrap_or_default();
    match answer(guest, name, &request["arguments"]) {
        Ok(value) => guest.say(&json!({ "id": id, "return": value })),
        Err(desc) => {
            // By the names of Python's exceptions.
            let class = if guest.script.is("inhibited") {
                "PermissionError"
            } else {
                "ValueError"
            };
            guest.say(&json!({ "id": id, "error": { "class": class, "desc": desc } }));
        }
    }
}

fn answer(guest: &Arc<Guest>, name: &str, arguments: &Value) -> Result<Value, String> {
    let table = Table::built_in();
    table
        .check_command(name, arguments)
        .map_err(|e| e.to_string())?;
    let answer = execute(guest, &table, name, arguments)?;
    table.check_answer(name, &answer).unwrap();
    Ok(answer)
}

/// An event with its data, as the agent sends it.
///
/// # Panics
/// The table has no such event.
pub(crate) fn event_message(event: &Event, more: &Value) -> Value {
    let mut message = event.message();
    for (key, value) in more.as_object().into_iter().flatten() {
        message["data"][key] = value.clone();
    }
    Table::built_in()
        .check_event(event.name(), &message["data"])
        .unwrap();
    message
}

fn execute(
    guest: &Arc<Guest>,
    table: &Table,
    name: &str,
    arguments: &Value,
) -> Result<Value, String> {
    match name {
        Ping::NAME => {
            let configured = guest.look(|i| i.identified);
            Ok(json!({ "version": table.version, "configured": configured }))
        }
        Identity::NAME => {
            // A new keeper sends the identity to a guest that was ready for the previous keeper.
            let address = guest.look(|i| i.address.clone());
            let grows = !guest.script.is("no-growth");
            guest.change(|i| {
                i.identified = true;
                // A disk that was never resized has the size that it was made with.
                let asked = arguments["disk"].as_u64().unwrap_or(0);
                if grows {
                    i.root = if i.disk == 0 {
                        asked
                    } else {
                        asked.min(i.disk)
                    };
                }
                if let Some(address) = arguments["mac"].as_str() {
                    i.mac = mac(address);
                }
            });
            let is_ready = address.is_some() && arguments["woken"] != true;
            let mut answer =
                json!({ "ready": is_ready, "address": address, "random": "00".repeat(32) });
            if !guest.script.is("old-agent") {
                answer["version"] = json!(table.version);
            }
            Ok(answer)
        }
        Settle::NAME => {
            guest.change(|i| i.identified = false);
            Ok(json!({}))
        }
        Info::NAME => {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            let root = guest.look(|i| i.root);
            let kernel = guest.script.get("kernel");
            let sshd = guest.script.get("sshd-mark");
            let sshd = sshd.unwrap_or_else(|| "1".to_owned());
            let (time, load) = (now.as_secs_f64(), [0, 0, 0]);
            Ok(json!({ "time": time, "load": load, "disk": root, "kernel": kernel, "sshd": sshd }))
        }
        AllReady::NAME | Adjust::NAME => Ok(json!({})),
        Restored::NAME => Ok(json!({ "ready": guest.look(|i| i.address.is_some()) })),
        Shutdown::NAME => {
            if guest.script.is("deaf") {
                return Ok(json!({}));
            }
            if guest.script.is("inhibited") {
                return Err("an inhibitor blocks it".to_owned());
            }
            let reboot = json!(PowerMode::Reboot);
            let (guest, reboot) = (Arc::clone(guest), arguments["mode"] == reboot);
            std::thread::spawn(move || {
                if let Some(unit) = guest.script.get("kills") {
                    guest.say(&Event::Killed(unit).message());
                }
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
