//! Real QEMUs in their worlds, without a guest. They need `qemu-system-x86_64` and root.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kvmc_images::{Architecture, qcow2};
use kvmc_qmp::{Client, Events};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::seen;
use crate::host::qemu_program;
use crate::ids::UIDS;
use crate::node::cmdline::{Accel, CommandLine, Machine, Memory, Smp};
use crate::node::process::{Passed, Running, Start, spawn};
use crate::node::{Credentials, close_world, create_log, savestate};

const RAM: u64 = 64 << 20;
const UUID: &str = "12345678-1234-4234-8234-123456789abc";

/// A QEMU, which ends with this value.
struct Qemu {
    running: Running,
    qmp: Client,
    events: Events,
    dir: TempDir,
}

impl Drop for Qemu {
    fn drop(&mut self) {
        self.running.kill();
    }
}

impl Qemu {
    /// Starts one as nodes are started, with these arguments besides.
    async fn start(mut passed: Passed, memory: Option<(OwnedFd, bool)>, more: &[String]) -> Self {
        let dir = TempDir::new().unwrap();
        let mut line = CommandLine::new("kvmc-test", UUID);
        line.add(&Machine {
            kind: Architecture::Amd64.platform().qemu.machine,
            has_backend: memory.is_some(),
            has_pflash: false,
        });
        let is_woken = memory.as_ref().is_some_and(|(_, share)| !share);
        if let Some((fd, share)) = memory {
            line.add_memory_backend(passed.pass(fd), RAM, share);
        }
        line.add(&Accel::Tcg { tb_size: 16 });
        line.add(&Smp { cpus: 2 });
        line.add(&Memory { size: RAM >> 20 });
        let socket = dir.path().join("qmp.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        line.add_monitor(passed.pass(listener));
        let disk = dir.path().join("disk.qcow2");
        qcow2::create_empty(&disk, 1 << 30).unwrap();
        let disk = File::options().read(true).write(true).open(&disk).unwrap();
        line.add_disk(&[passed.pass(disk)], true);
        line.add_rng();
        line.add_panic_notifier();
        if is_woken {
            line.await_state();
        }
        let mut args = line.build();
        args.extend_from_slice(more);
        let log = dir.path().join("log");
        let uid = *UIDS.start();
        let running = spawn(Start {
            program: &qemu_program(Architecture::Amd64),
            args: &args,
            passed,
            who: Credentials {
                uid,
                gid: uid,
                dies_with_us: true,
            },
            folder: dir.path(),
            log: create_log(&log).unwrap(),
            mark: UUID,
        });
        let connected = Client::connect_qmp(&socket, None, Duration::from_secs(30)).await;
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        let (qmp, events) = connected.unwrap_or_else(|e| panic!("{e}: {said}"));
        Self {
            running: running.unwrap(),
            qmp,
            events,
            dir,
        }
    }

    async fn ask(&self, name: &str, arguments: Value) -> Value {
        let answer = self.qmp.request(name, arguments, Duration::from_secs(30));
        answer.await.unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    fn proc(&self, file: &str) -> PathBuf {
        Path::new("/proc")
            .join(self.running.identity.pid.to_string())
            .join(file)
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.proc(file)).unwrap()
    }

    /// The places where something is mounted in its root.
    fn mounts(&self) -> Vec<String> {
        let text = self.read("mountinfo");
        let points = text
            .lines()
            .map(|l| l.split(' ').nth(4).unwrap().to_owned());
        points.filter(|p| p != "/").collect()
    }

    fn close(&self) {
        let handle = self.running.identity.open().unwrap();
        close_world(&self.running.identity, &handle).unwrap();
    }

    async fn until(&mut self, event: &str) -> Value {
        let awaited = async {
            loop {
                let seen = self.events.next().await.unwrap();
                if seen.name == event {
                    return seen.data;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), awaited)
            .await
            .unwrap()
    }
}

#[tokio::test]
#[ignore = "starts QEMU; tests/run does"]
async fn p37_a_real_qemu_starts_resets_and_ends_in_an_empty_root() {
    let dir = TempDir::new().unwrap();
    let kernel = dir.path().join("kernel");
    std::fs::write(&kernel, vec![7; 100_000]).unwrap();
    // A user of its own, who reads it by its descriptor only.
    let mut passed = Passed::default();
    std::fs::set_permissions(&kernel, std::os::unix::fs::PermissionsExt::from_mode(0o444)).unwrap();
    let fd = passed.pass(File::open(&kernel).unwrap());
    // QEMU opens a kernel in this way too.
    let config = format!("name=opt/kvmc,file=/proc/self/fd/{fd}");
    let mut qemu = Qemu::start(passed, None, &["-fw_cfg".to_owned(), config]).await;
    assert_eq!(qemu.running.layers.lacking(), Vec::<String>::new());
    let before = qemu.mounts();
    assert!(
        before.iter().any(|p| p == "/usr/lib" || p == "/lib"),
        "{before:?}"
    );
    for place in ["/etc", "/var", "/root", "/home", "/run", "/tmp", "/sys"] {
        assert!(!before.iter().any(|p| p == place), "{before:?}");
    }
    qemu.close();
    assert_eq!(qemu.mounts(), Vec::<String>::new());
    // Once more, as a new keeper does.
    qemu.close();
    assert!(seen(qemu.running.identity.pid).is_empty());
    let status = qemu.read("status");
    for line in [
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        // QEMU's own, and kvmc's.
        "Seccomp_filters:\t2",
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "Groups:\t ",
    ] {
        assert!(status.lines().any(|l| l == line), "no `{line}` in {status}");
    }
    // Its memory is left out of core dumps.
    let maps = qemu.read("smaps");
    let ram = maps.split("VmFlags:").filter(|m| m.contains("65536 kB"));
    let ram = ram.count();
    let flags = maps
        .lines()
        .filter(|l| l.starts_with("VmFlags:") && l.contains(" dd"))
        .count();
    assert!(ram > 0 && flags > 0, "{ram} {flags}: {maps}");
    qemu.ask("cont", json!({})).await;
    qemu.ask("system_reset", json!({})).await;
    qemu.until("RESET").await;
    let resized = json!({ "node-name": "disk0", "size": 2_u64 << 30 });
    qemu.ask("block_resize", resized).await;
    // It runs as number 1 of its namespace, to which only a signal with a handler comes.
    let handle = qemu.running.identity.open().unwrap();
    handle.signal(Signal::SIGTERM).unwrap();
    let why = qemu.until("SHUTDOWN").await;
    assert_eq!(why["reason"], "host-signal");
    assert!(handle.has_ended(Duration::from_secs(10)));
    assert!(qemu.dir.path().join("disk.qcow2").exists());
}

#[tokio::test]
#[ignore = "starts QEMU; tests/run does"]
async fn p37_a_real_qemu_is_frozen_and_woken_in_an_empty_root() {
    let memory = File::from(memfd_create(c"kvmc-ram", MFdFlags::MFD_CLOEXEC).unwrap());
    memory.set_len(RAM).unwrap();
    let share = || Some((OwnedFd::from(memory.try_clone().unwrap()), true));
    let frozen = Qemu::start(Passed::default(), share(), &[]).await;
    frozen.close();
    let state = frozen.dir.path().join("state");
    savestate::save(&frozen.qmp, &state).await.unwrap();
    frozen.qmp.quit().await.unwrap();
    let own = Some((OwnedFd::from(memory.try_clone().unwrap()), false));
    let woken = Qemu::start(Passed::default(), own, &[]).await;
    woken.close();
    savestate::load(&woken.qmp, &state).await.unwrap();
    woken.ask("cont", json!({})).await;
    assert_eq!(
        woken.ask("query-status", json!({})).await["status"],
        "running"
    );
    assert!(woken.mounts().is_empty());
}
