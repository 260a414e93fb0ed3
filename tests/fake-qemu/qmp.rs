//! The monitor. It serves one client at a time, like QEMU's chardev.

use std::collections::HashMap;
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde_json::{Value, json};

use crate::args::unsafe_fd;
use crate::guest::Guest;

const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "kvmc's fake"}, "capabilities": ["oob"]}}"#;

pub(crate) fn serve(guest: &Arc<Guest>) -> ! {
    let Some(fd) = guest.args.sockets.get("qmp") else {
        eprintln!("qemu-system-x86_64: no monitor");
        std::process::exit(1);
    };
    let socket = UnixListener::from(unsafe_fd(*fd));
    let mut fds = HashMap::new();
    loop {
        let (stream, _) = socket.accept().unwrap();
        std::thread::sleep(guest.script.time("greet-after", 0));
        *guest.monitor.lock().unwrap() = stream.try_clone().ok();
        guest.line(GREETING);
        attend(guest, &stream, &mut fds);
        *guest.monitor.lock().unwrap() = None;
    }
}

fn attend(guest: &Arc<Guest>, stream: &UnixStream, fds: &mut HashMap<String, OwnedFd>) {
    let mut received = Vec::new();
    let mut passed = Vec::new();
    loop {
        let Some(chunk) = receive(stream, &mut passed) else {
            return;
        };
        received.extend(chunk);
        while let Some(end) = received.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = received.drain(..=end).collect();
            let Ok(request) = serde_json::from_slice::<Value>(&line) else {
                guest.line(r#"{"error": {"class": "GenericError", "desc": "JSON parse error"}}"#);
                continue;
            };
            let name = request["execute"].as_str().unwrap_or_default();
            let answer = execute(guest, name, &request["arguments"], &mut passed, fds);
            let id = &request["id"];
            let answer = match answer {
                Ok(value) => json!({ "return": value, "id": id }),
                Err((class, desc)) => {
                    json!({ "error": { "class": class, "desc": desc }, "id": id })
                }
            };
            if name == "quit" {
                guest.event(
                    "SHUTDOWN",
                    &json!({ "guest": false, "reason": "host-qmp-quit" }),
                );
                guest.line(&answer.to_string());
                std::process::exit(0);
            }
            guest.line(&answer.to_string());
        }
    }
}

fn receive(stream: &UnixStream, passed: &mut Vec<OwnedFd>) -> Option<Vec<u8>> {
    let mut buffer = [0; 4096];
    let mut control = nix::cmsg_space!([std::os::fd::RawFd; 8]);
    let length = {
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let message = recvmsg::<()>(
            stream.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::MSG_CMSG_CLOEXEC,
        )
        .ok()?;
        for each in message.cmsgs().ok()? {
            if let ControlMessageOwned::ScmRights(fds) = each {
                passed.extend(fds.into_iter().map(unsafe_fd));
            }
        }
        message.bytes
    };
    (length > 0).then(|| buffer[..length].to_vec())
}

fn execute(
    guest: &Arc<Guest>,
    name: &str,
    arguments: &Value,
    passed: &mut Vec<OwnedFd>,
    fds: &mut HashMap<String, OwnedFd>,
) -> Result<Value, (&'static str, String)> {
    let generic = |desc: String| ("GenericError", desc);
    if guest.script.get("refuse").as_deref() == Some(name) {
        return Err(generic(format!("the test refuses {name}")));
    }
    let text = |key: &str| arguments[key].as_str().unwrap_or_default().to_owned();
    let mut by_uri = || {
        let uri = text("uri");
        let name = uri.strip_prefix("fd:").unwrap_or_default();
        fds.remove(name)
            .ok_or_else(|| generic(format!("File descriptor named '{name}' has not been found")))
    };
    let mut blocks = guest.blocks.lock().unwrap();
    if matches!(
        name,
        "stop" | "cont" | "xen-save-devices-state" | "blockdev-snapshot" | "migrate-incoming"
    ) {
        guest.script.note(name);
        std::thread::sleep(guest.script.time(&format!("{name}-takes"), 0));
    }
    match name {
        "add-fd" => {
            let fd = passed
                .pop()
                .ok_or_else(|| generic("No file descriptor supplied via SCM_RIGHTS".to_owned()))?;
            Ok(json!({ "fdset-id": blocks.add_fd(fd), "fd": 0 }))
        }
        "remove-fd" => {
            let set = arguments["fdset-id"].as_u64().unwrap_or(0);
            blocks.remove_fd(set).map(|()| json!({})).map_err(generic)
        }
        "blockdev-add" => blocks.add(arguments).map(|()| json!({})).map_err(generic),
        "blockdev-del" => {
            let deleted = blocks.delete(&text("node-name"));
            deleted.map(|()| json!({})).map_err(generic)
        }
        "blockdev-snapshot" => {
            let taken = blocks.snapshot(&text("node"), &text("overlay"));
            taken.map(|()| json!({})).map_err(generic)
        }
        "query-block" => Ok(blocks.query()),
        "qom-get" => Ok(json!("pc-q35-7.2-machine")),
        "xen-save-devices-state" => {
            let saved = blocks.file(&text("filename")).and_then(|f| guest.save(f));
            saved.map(|()| json!({})).map_err(generic)
        }
        "block_resize" => {
            let size = arguments["size"].as_u64().unwrap_or(0);
            let resized = guest.args.resize_disk(size);
            resized.map_err(|e| generic(e.to_string()))?;
            guest.change(|i| i.disk = size);
            Ok(json!({}))
        }
        "qmp_capabilities" | "migrate-set-capabilities" | "quit" | "migrate-set-parameters" => {
            Ok(json!({}))
        }
        "query-status" => {
            let state = guest.look(|i| i.state);
            Ok(json!({ "status": state, "running": state == "running", "singlestep": false }))
        }
        "query-chardev" => {
            let is_open = !guest.script.is("agent-closed");
            Ok(json!([
                { "label": "agent", "frontend-open": is_open, "filename": "unix:" },
                { "label": "qmp", "frontend-open": true, "filename": "unix:" },
            ]))
        }
        "query-migrate" => Ok(json!({ "status": guest.look(|i| i.migration) })),
        "query-version" => {
            Ok(json!({ "qemu": { "major": 7, "minor": 2, "micro": 22 }, "package": "kvmc's fake" }))
        }
        "cont" => {
            if guest.look(|i| i.state == "inmigrate") {
                return Err(generic(
                    "Resetting the Virtual Machine is required".to_owned(),
                ));
            }
            guest.run();
            Ok(json!({}))
        }
        "stop" => {
            guest.change(|i| i.state = "paused");
            guest.event("STOP", &json!({}));
            Ok(json!({}))
        }
        "getfd" => {
            let fd = passed
                .pop()
                .ok_or_else(|| generic("No file descriptor supplied via SCM_RIGHTS".to_owned()))?;
            fds.insert(text("fdname"), fd);
            Ok(json!({}))
        }
        "migrate" => guest.freeze(by_uri()?).map(|()| json!({})).map_err(generic),
        "migrate-incoming" => guest.thaw(by_uri()?).map(|()| json!({})).map_err(generic),
        "set_link" => {
            guest.change(|i| i.link_up = arguments["up"] == true);
            Ok(json!({}))
        }
        "system_powerdown" => {
            // Debian's template has no logind, so the button alone has no effect.
            guest.event("POWERDOWN", &json!({}));
            Ok(json!({}))
        }
        "system_reset" => {
            std::thread::sleep(Duration::from_millis(1));
            guest.reset();
            Ok(json!({}))
        }
        _ => Err((
            "CommandNotFound",
            format!("The command {name} has not been found"),
        )),
    }
}
