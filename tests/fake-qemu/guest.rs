//! The machine: its run state and its changes.

use std::io::Write;
use std::mem::ManuallyDrop;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use kvmc_images::agent::{Event, Table};
use nix::sys::signal::{SigSet, Signal};
use serde_json::{Value, json};

use crate::agent::event_message;
use crate::args::{Args, unsafe_fd};
use crate::blocks::Blocks;
use crate::script::Script;

/// The first bytes of each migration stream.
const HEADER: &[u8] = b"QEVM\0\0\0\x03";
/// What comes before the knowledge of a saved guest.
const KNOWN: &[u8] = b"kvmc's fake knows ";
/// The first bytes of a frozen guest's memory.
const MARK: &str = "kvmc's fake memory ";

#[derive(Debug, Default)]
pub(crate) struct Inside {
    /// QAPI's `RunState`.
    pub(crate) state: &'static str,
    /// Counts the boots.
    pub(crate) boot: u64,
    /// The agent of this boot runs.
    pub(crate) agent: bool,
    /// The guest woke; its agent says hello some time later.
    pub(crate) woken: bool,
    pub(crate) identified: bool,
    pub(crate) link_up: bool,
    pub(crate) address: Option<String>,
    pub(crate) mac: [u8; 6],
    pub(crate) migration: &'static str,
    /// Bytes of the disk as it was last resized, and of the root file system.
    pub(crate) disk: u64,
    pub(crate) root: u64,
    /// What a test told it, and a restored guest knows again.
    pub(crate) word: String,
}

pub(crate) struct Guest {
    pub(crate) args: Args,
    pub(crate) script: Script,
    inside: Mutex<Inside>,
    changed: Condvar,
    /// The client that gets events.
    pub(crate) monitor: Mutex<Option<UnixStream>>,
    /// The host's end of the agent's port. Without one, messages are lost, as with virtio-serial.
    pub(crate) host: Mutex<Option<UnixStream>>,
    pub(crate) console: Mutex<Option<UnixStream>>,
    pub(crate) blocks: Mutex<Blocks>,
}

impl Guest {
    pub(crate) fn new(args: Args, script: Script) -> Self {
        let inside = Inside {
            state: if args.incoming {
                "inmigrate"
            } else {
                "prelaunch"
            },
            migration: "none",
            link_up: true,
            mac: args.mac.unwrap_or_default(),
            ..Inside::default()
        };
        // One thread takes SIGTERM. All others inherit its blocking.
        let mut set = SigSet::empty();
        set.add(Signal::SIGTERM);
        set.thread_block().unwrap();
        let blocks = Mutex::new(Blocks::new(&args.drives));
        Self {
            args,
            script,
            blocks,
            inside: Mutex::new(inside),
            changed: Condvar::new(),
            monitor: Mutex::default(),
            host: Mutex::default(),
            console: Mutex::default(),
        }
    }

    pub(crate) fn look<T>(&self, look: impl FnOnce(&Inside) -> T) -> T {
        look(&self.inside.lock().unwrap())
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Inside)) {
        change(&mut self.inside.lock().unwrap());
        self.changed.notify_all();
    }

    /// Waits until the condition holds, or a time-out.
    pub(crate) fn wait(&self, until: impl Fn(&Inside) -> bool) {
        let inside = self.inside.lock().unwrap();
        let _timed_out = self
            .changed
            .wait_timeout_while(inside, Duration::from_millis(200), |i| !until(i));
    }

    pub(crate) fn event(&self, name: &str, data: &Value) {
        self.line(&json!({ "timestamp": { "seconds": 0, "microseconds": 0 }, "event": name, "data": data }).to_string());
    }

    /// Sends a line on QMP, if a client is connected.
    pub(crate) fn line(&self, line: &str) {
        if self.script.is("mute") {
            return;
        }
        if let Some(stream) = &mut *self.monitor.lock().unwrap() {
            let _gone = stream.write_all(format!("{line}\r\n").as_bytes());
        }
    }

    /// Sends a line of the agent, if the host is connected.
    pub(crate) fn say(&self, message: &Value) {
        if self.script.is("no-agent") {
            return;
        }
        if let Some(stream) = &mut *self.host.lock().unwrap() {
            let _gone = stream.write_all(format!("{message}\n").as_bytes());
        }
    }

    pub(crate) fn write_console(&self, text: &str) {
        if let Some(stream) = &mut *self.console.lock().unwrap() {
            let _gone = stream.write_all(text.as_bytes());
        }
    }

    /// `cont`
    pub(crate) fn run(self: &Arc<Self>) {
        let first = self.look(|i| i.state == "prelaunch");
        self.change(|i| i.state = "running");
        self.event("RESUME", &json!({}));
        let word = self.look(|i| i.word.clone());
        if !word.is_empty() {
            self.write_console(&format!("the guest knows {word}\r\n"));
        }
        if first {
            self.boot();
        }
    }

    fn boot(self: &Arc<Self>) {
        let mut boot = 0;
        self.change(|i| {
            i.boot += 1;
            i.agent = false;
            i.identified = false;
            i.woken = false;
            i.address = None;
            boot = i.boot;
        });
        // On a busy host the fake may see a connection late. QEMU sees it before `cont`.
        let mut tries = 25;
        while tries > 0 && self.console.lock().unwrap().is_none() {
            tries -= 1;
            std::thread::sleep(Duration::from_millis(20));
        }
        self.write_console("Linux version 0.0 (the tests' fake)\r\n");
        let guest = Arc::clone(self);
        std::thread::spawn(move || {
            std::thread::sleep(guest.script.time("boot", 30));
            guest.change(|i| i.agent |= i.boot == boot);
            if guest.args.node == "prepare" {
                // As images/guest/prepare does, for an image that the test calls fit.
                let verdict = if guest.script.is("fit") {
                    Event::Prepared
                } else {
                    Event::Unfit(Some("there is no system in it".to_owned()))
                };
                guest.say(&event_message(&verdict, &json!({})));
                std::thread::sleep(Duration::from_millis(50));
                guest.end("guest-shutdown", true, 0);
            } else if guest.args.has_seed {
                // This guest has no agent, and takes its name and keys from the seed.
                guest.change(|i| i.identified = i.boot == boot);
            } else if guest.look(|i| i.boot == boot) {
                guest.write_console("the agent is up\r\n");
                // On a busy host the fake may see a connection late. QEMU sees it before `cont`.
                let mut tries = 100;
                while tries > 0 && guest.host.lock().unwrap().is_none() {
                    tries -= 1;
                    std::thread::sleep(Duration::from_millis(20));
                }
                let version = Table::built_in().version;
                let data = json!({ "version": version, "configured": false });
                guest.say(&event_message(&Event::Hello, &data));
            }
        });
    }

    pub(crate) fn reset(self: &Arc<Self>) {
        if self.args.no_reboot {
            self.end("guest-reset", true, 0);
        }
        self.event("RESET", &json!({ "guest": true, "reason": "guest-reset" }));
        self.boot();
    }

    /// Sends SHUTDOWN and ends the fake.
    pub(crate) fn end(&self, reason: &str, guest: bool, code: i32) -> ! {
        self.event("SHUTDOWN", &json!({ "guest": guest, "reason": reason }));
        std::process::exit(code);
    }

    pub(crate) fn end_on_sigterm(self: &Arc<Self>) {
        let guest = Arc::clone(self);
        std::thread::spawn(move || {
            let mut set = SigSet::empty();
            set.add(Signal::SIGTERM);
            let _term = set.wait();
            guest.end("host-signal", false, 0);
        });
    }

    /// `migrate`: memory that is shared gets a mark, and the state says which.
    pub(crate) fn freeze(&self, state: OwnedFd) -> Result<(), String> {
        let (fd, true) = self.args.memory.ok_or("no memory backend")? else {
            return Err("the memory is not shared".to_owned());
        };
        // Its pid is 1 in its own namespace, as that of others is in theirs.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let mark = format!("{MARK}{}", now.unwrap_or_default().as_nanos());
        let memory = ManuallyDrop::new(std::fs::File::from(unsafe_fd(fd)));
        std::os::unix::fs::FileExt::write_all_at(&*memory, mark.as_bytes(), 4096)
            .map_err(|e| e.to_string())?;
        let mut file = std::fs::File::from(state);
        file.write_all(json!({ "memory": mark }).to_string().as_bytes())
            .map_err(|e| e.to_string())?;
        self.change(|i| {
            i.state = "postmigrate";
            i.migration = "completed";
        });
        Ok(())
    }

    /// `xen-save-devices-state`: what the guest knows, as the only device.
    pub(crate) fn save(&self, mut file: std::fs::File) -> Result<(), String> {
        let inside = self.look(|i| {
            json!({ "address": i.address, "mac": i.mac, "identified": i.identified, "word": i.word })
        });
        let inside = inside.to_string();
        let state = [
            HEADER,
            b"\x04\0\0\0\0\x04fake",
            KNOWN,
            inside.as_bytes(),
            b"\0",
        ];
        file.write_all(&state.concat()).map_err(|e| e.to_string())
    }

    /// A whole stream, which kvmc has composed.
    fn restore(&self, stream: &[u8]) -> Result<(), String> {
        let at = stream.windows(KNOWN.len()).position(|w| w == KNOWN);
        let known = at.ok_or("the stream has no devices")? + KNOWN.len();
        let known = serde_json::Deserializer::from_slice(&stream[known..])
            .into_iter::<Value>()
            .next();
        let known = known.ok_or("no state")?.map_err(|e| e.to_string())?;
        self.change(|i| {
            i.state = "paused";
            i.migration = "completed";
            i.agent = true;
            i.boot = 1;
            i.identified = known["identified"] == true;
            i.address = known["address"].as_str().map(str::to_owned);
            i.mac = serde_json::from_value(known["mac"].clone()).unwrap_or_default();
            i.word = known["word"].as_str().unwrap_or_default().to_owned();
        });
        Ok(())
    }

    /// `migrate-incoming`: the state must fit the memory.
    pub(crate) fn thaw(&self, state: OwnedFd) -> Result<(), String> {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::fs::File::from(state), &mut bytes)
            .map_err(|e| e.to_string())?;
        if bytes.starts_with(HEADER) {
            return self.restore(&bytes);
        }
        let text = String::from_utf8(bytes).map_err(|e| e.to_string())?;
        let value: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
        let mark = value["memory"].as_str().unwrap_or_default().as_bytes();
        let (fd, false) = self.args.memory.ok_or("no memory backend")? else {
            return Err("the memory is shared".to_owned());
        };
        let memory = ManuallyDrop::new(std::fs::File::from(unsafe_fd(fd)));
        let mut there = vec![0; mark.len()];
        std::os::unix::fs::FileExt::read_exact_at(&*memory, &mut there, 4096)
            .map_err(|e| e.to_string())?;
        if there != mark || mark.is_empty() {
            return Err("the state is of other memory".to_owned());
        }
        self.change(|i| {
            i.state = "paused";
            i.migration = "completed";
            i.woken = true;
            // The state of the frozen machine.
            i.link_up = false;
        });
        Ok(())
    }
}

/// Carries out the test's commands for the guest, each time they change.
pub(crate) fn obey(guest: &Arc<Guest>) {
    let guest = Arc::clone(guest);
    // The current command was for an earlier guest. Later ones are for this guest.
    let mut last = guest.script.act();
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_millis(20));
            let act = guest.script.act();
            if act == last {
                continue;
            }
            last.clone_from(&act);
            let act = act.unwrap_or_default();
            let (what, more) = act.split_once(' ').unwrap_or((&act, ""));
            match what {
                "poweroff" => guest.end("guest-shutdown", true, 0),
                "reboot" => guest.reset(),
                "panic" => {
                    guest.event("GUEST_PANICKED", &json!({ "action": "poweroff" }));
                    guest.end("guest-panic", true, 0);
                }
                "exit" => std::process::exit(more.parse().unwrap_or(1)),
                "event" => guest.line(more),
                "probe" => crate::probe::run(&guest.script, "probe"),
                "learn" => guest.change(|i| more.clone_into(&mut i.word)),
                "eat" => eat(more.parse().unwrap_or(0)),
                _ => {}
            }
        }
    });
}

/// Allocates that many MiB of memory and keeps it, until memory runs out.
fn eat(mebibytes: usize) {
    let mut all = Vec::new();
    for n in 0..mebibytes {
        all.push(vec![u8::try_from(n % 255).unwrap_or(0) | 1; 1 << 20]);
    }
    std::mem::forget(all);
}
