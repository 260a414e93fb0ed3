//! Composed streams on real QEMUs, with guests of a few instructions. They need `qemu-system-x86_64`.
//!
//! The guest counts. It keeps the number in 128 pages, checks that all of them hold it, and prints it.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use kvmc_images::Architecture;
use kvmc_qmp::Client;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::warm::Memory;

const RAM: u64 = 64 << 20;

/// ```text
/// start:  counter = 0; fill(); loop { check(); counter += 1; fill(); print(counter); wait() }
/// fill:   the counter to offset 16 of each page from 0x10000 to 0x90000
/// check:  prints B for ever if one of them has another number
/// print:  8 hexadecimal digits and a line feed to COM1
/// ```
const COUNTER: &str = "fa31c08ed88ed0bc007066c706007e0000000066ba00000000e86a00bb00108ec32666a11000663b06007e753e81c3\
    000181fb009072e866ff06007ee84700668b0e007ebe080066c1c10488c8240f04303c3976020427e81d004e75eab00ae81500b9c800e680e2\
    fcebb1b042e80700b00ae80200ebf450bafd03eca82074fb58baf803eec366a1007ebb00108ec32666a3100081c3000181fb009072efc3";

/// A QEMU, which ends with this value.
struct Qemu {
    child: Child,
    qmp: Client,
    output: PathBuf,
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _has_ended = self.child.kill();
        let _status = self.child.wait();
    }
}

enum Pages<'a> {
    Own,
    /// Those of a frozen machine, and whether QEMU may write them.
    Frozen(&'a File, bool),
}

impl Qemu {
    async fn start(dir: &Path, name: &str, ram: Pages<'_>, waits: bool) -> Self {
        let disk = dir.join("disk");
        let mut sector: Vec<u8> = (0..COUNTER.len() / 2)
            .map(|i| u8::from_str_radix(&COUNTER[2 * i..2 * i + 2], 16).unwrap())
            .collect();
        sector.resize(1 << 20, 0);
        sector[510..512].copy_from_slice(&[0x55, 0xaa]);
        std::fs::write(&disk, sector).unwrap();
        let socket = dir.join(format!("{name}.sock"));
        let output = dir.join(format!("{name}.out"));
        let mut machine = Architecture::Amd64.platform().qemu.machine.to_owned();
        let mut args: Vec<String> = Vec::new();
        let mut add = |more: &[&str]| args.extend(more.iter().map(|a| (*a).to_owned()));
        if let Pages::Frozen(file, share) = ram {
            let (me, fd) = (std::process::id(), file.as_raw_fd());
            let share = if share { "on" } else { "off" };
            machine.push_str(",memory-backend=ram0");
            add(&[
                "-object",
                &format!(
                    "memory-backend-file,id=ram0,size={RAM},mem-path=/proc/{me}/fd/{fd},share={share}"
                ),
            ]);
        }
        add(&[
            "-machine",
            &machine,
            "-accel",
            "tcg",
            "-S",
            "-nodefaults",
            "-display",
            "none",
        ]);
        add(&["-no-user-config", "-m", "size=64M", "-smp", "cpus=2"]);
        add(&["-serial", &format!("file:{}", output.display())]);
        add(&[
            "-qmp",
            &format!("unix:{},server=on,wait=off", socket.display()),
        ]);
        add(&[
            "-blockdev",
            &format!("file,filename={},node-name=f,read-only=on", disk.display()),
        ]);
        add(&["-blockdev", "raw,file=f,node-name=d,read-only=on"]);
        add(&["-device", "virtio-blk-pci,drive=d,bootindex=0"]);
        add(&[
            "-object",
            "rng-builtin,id=r",
            "-device",
            "virtio-rng-pci,rng=r",
        ]);
        add(&[
            "-device",
            "virtio-serial-pci",
            "-device",
            "vmgenid,guid=auto",
        ]);
        if waits {
            add(&["-incoming", "defer"]);
        }
        #[expect(clippy::disallowed_methods, reason = "a QEMU to test with")]
        let child = std::process::Command::new("qemu-system-x86_64")
            .args(&args)
            .spawn()
            .unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        let qmp = loop {
            match Client::connect_qmp(&socket, None, Duration::from_secs(20)).await {
                Ok((qmp, _)) => break qmp,
                Err(e) => assert!(Instant::now() < until, "{e}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        Self { child, qmp, output }
    }

    async fn ask(&self, name: &str, arguments: Value) -> Value {
        let answer = self.qmp.request(name, arguments, Duration::from_secs(30));
        answer.await.unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    async fn migrated(&self) {
        for _ in 0..2000 {
            let answer = self.ask("query-migrate", json!({})).await;
            match answer["status"].as_str() {
                Some("completed") => return,
                Some("failed") => panic!("{answer}"),
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
        panic!("the migration does not end");
    }

    fn ram(&self) -> Ram {
        Ram::find(i32::try_from(self.child.id()).unwrap(), RAM).unwrap()
    }

    /// What the guest has counted.
    fn counted(&self) -> Vec<u64> {
        let text = std::fs::read(&self.output).unwrap();
        let text = String::from_utf8_lossy(&text);
        let (whole, _) = text.rsplit_once('\n').unwrap_or_default();
        assert!(!whole.lines().any(|l| l == "B"), "the guest's pages differ");
        let lines = whole.lines().filter(|l| l.len() == 8);
        lines
            .filter_map(|l| u64::from_str_radix(l, 16).ok())
            .collect()
    }

    async fn count_to(&self, more: usize) {
        let until = Instant::now() + Duration::from_secs(60);
        while self.counted().len() < more {
            assert!(Instant::now() < until, "the guest does not count");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Stops the guest, and returns the state of its devices and its pages.
    async fn save(&self, dir: &Path) -> (Vec<u8>, Delta) {
        let ram = self.ram();
        let copy = ram.reserve().unwrap();
        self.ask("stop", json!({})).await;
        let path = dir.join("devices");
        self.ask(
            "xen-save-devices-state",
            json!({ "filename": path, "live": false }),
        )
        .await;
        let delta = copy.take(&ram).unwrap();
        (std::fs::read(path).unwrap(), delta)
    }

    async fn load(&self, stream: &Path) {
        self.ask("migrate-set-parameters", json!({ "announce-rounds": 0 }))
            .await;
        let file = feed(stream, 2 * RAM).unwrap();
        self.qmp.pass_fd("st", file.into()).await.unwrap();
        self.ask("migrate-incoming", json!({ "uri": "fd:st" }))
            .await;
        self.migrated().await;
    }

    async fn go_on(&self) {
        self.ask("cont", json!({})).await;
    }
}

/// Starts a guest, stops it after a while and returns its memory and state, as a frozen machine has them.
async fn freeze(dir: &Path) -> (File, Vec<u8>) {
    let memory = Memory::new(RAM).unwrap();
    let file = memory.share().unwrap();
    let qemu = Qemu::start(dir, "freeze", Pages::Frozen(&file, true), false).await;
    qemu.go_on().await;
    qemu.count_to(20).await;
    qemu.ask("stop", json!({})).await;
    let state = dir.join("state");
    crate::node::savestate::save(&qemu.qmp, &state)
        .await
        .unwrap();
    drop(qemu);
    memory.seal().unwrap();
    (file, std::fs::read(state).unwrap())
}

fn is_sequence(counted: &[u64]) -> bool {
    counted.windows(2).all(|w| w[1] == w[0] + 1)
}

#[tokio::test]
#[ignore = "starts QEMU; tests/run does"]
async fn a_woken_guest_goes_on_from_a_composed_stream() {
    let dir = TempDir::new().unwrap();
    let (memory, state) = freeze(dir.path()).await;
    let woken = Qemu::start(dir.path(), "woken", Pages::Frozen(&memory, false), true).await;
    crate::node::savestate::load(&woken.qmp, &dir.path().join("state"))
        .await
        .unwrap();
    woken.go_on().await;
    woken.count_to(50).await;
    let (devices, mut delta) = woken.save(dir.path()).await;
    let last = *woken.counted().last().unwrap();
    let all = delta.len();
    let equal = delta.drop_equal(Some(&memory)).unwrap();
    println!(
        "woken: {all} pages, {equal} equal, {} bytes of devices",
        devices.len()
    );
    assert!(delta.len() >= 128, "the guest wrote 128 pages");
    let machine = Machine::woken(&state, RAM).unwrap();
    let path = dir.path().join("stream");
    let stored = pack(&path, |out| {
        compose(out, &machine, Some(&state), &devices, &delta)
    });
    println!("{stored:?}");
    verify(&path, &stored.unwrap().digest).unwrap();
    // Two of them, since a stream can be used any number of times.
    for name in ["again", "another"] {
        let again = Qemu::start(dir.path(), name, Pages::Frozen(&memory, false), true).await;
        again.load(&path).await;
        again.go_on().await;
        again.count_to(50).await;
        let counted = again.counted();
        assert!(
            counted[0] == last + 1 || counted[0] == last + 2,
            "{last} {counted:?}"
        );
        assert!(is_sequence(&counted), "{counted:?}");
    }
}

#[tokio::test]
#[ignore = "starts QEMU; tests/run does"]
async fn a_booted_guest_goes_on_from_a_composed_stream() {
    let dir = TempDir::new().unwrap();
    let booted = Qemu::start(dir.path(), "booted", Pages::Own, false).await;
    booted.go_on().await;
    booted.count_to(50).await;
    let (devices, mut delta) = booted.save(dir.path()).await;
    let last = *booted.counted().last().unwrap();
    let all = delta.len();
    let zero = delta.drop_equal(None).unwrap();
    println!(
        "booted: {all} pages, {zero} of zeros, {} bytes of devices",
        devices.len()
    );
    let kind = booted
        .ask("qom-get", json!({ "path": "/machine", "property": "type" }))
        .await;
    let kind = kind.as_str().unwrap().strip_suffix("-machine").unwrap();
    let machine = Machine::booted(Architecture::Amd64, kind, RAM).unwrap();
    let path = dir.path().join("stream");
    write(&path, |out| compose(out, &machine, None, &devices, &delta)).unwrap();
    let again = Qemu::start(dir.path(), "again", Pages::Own, true).await;
    again.load(&path).await;
    again.go_on().await;
    again.count_to(50).await;
    let counted = again.counted();
    assert!(
        counted[0] == last + 1 || counted[0] == last + 2,
        "{last} {counted:?}"
    );
    assert!(is_sequence(&counted), "{counted:?}");
}
