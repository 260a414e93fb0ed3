//! A scripted QEMU for tests. It replaces `qemu-system-x86_64` in PATH, takes the same arguments and
//! descriptors, and boots, freezes and wakes in milliseconds.
//!
//! It imitates: the three passed sockets; QMP's greeting, negotiation, run states and events; descriptors by
//! `getfd`; a lock on the disk, so that one QEMU uses it; a guest agent with the protocol of
//! images/guest/agent; a guest that leases its address by DHCP over its tap and sends an ssh banner; a state
//! and memory that a freeze writes and a waking checks.
//!
//! It cannot show the work of a kernel or of QEMU's devices. It contains no Debian: it runs no commands, its
//! disk holds no data, an fsync has no effect, and it has no sandbox.
//!
//! A test controls it by the file `script` beside the program: lines of `KEY VALUE` for all nodes or
//! `NODE KEY VALUE` for one. The fake reads the file again each time it needs a key:
//!
//! | key | |
//! |---|---|
//! | `exit CODE WORDS` | ends at once and prints these words |
//! | `greet-after MS` | is silent on QMP until then |
//! | `boot MS` | from `cont` to the agent's hello (30) |
//! | `lease MS` | from the identity to the first DHCPDISCOVER (0) |
//! | `deaf yes` | ignores the power button and the agent's command to power off |
//! | `mute yes` | stops answering on QMP |
//! | `refuse COMMAND` | answers this QMP command with an error |
//! | `no-agent yes` | its agent sends nothing |
//! | `kernel RELEASE` | a kernel that is installed in it |
//! | `agent-closed yes` | no program of the guest has the agent's port open |
//! | `no-sshd yes` | nothing listens on port 22 |
//! | `host-key KIND BASE64` | its sshd answers a key exchange with this key, and otherwise closes after its banner |
//! | `echo yes` | what listens on port 22 returns what it gets, and keeps its connections |
//! | `sshd-mark TEXT` | what its agent says of its sshd (1) |
//! | `probe-at-start yes` | tries what a hostile QEMU would, and writes `start.NODE` (see `probe.rs`) |
//! | `probe-open`, `-pid`, `-tcp`, `-unix`, `-abstract` | what it tries, as `WORD=VALUE` |
//! | `COMMAND-takes MS` | a command of a snapshot takes so long (0) |
//!
//! A guest with a seed disk also has no agent: after its boot it leases its address by itself.
//!
//! It adds the commands of a snapshot to the file `order` beside it, each with its node.
//!
//! The file `do.NODE` beside it makes the guest act, each time the file changes: `poweroff`, `reboot`,
//! `panic`, `exit CODE`, `learn WORD` that a restored guest knows again, `eat MIB` of memory, `probe` what a hostile QEMU
//! would and write `probe.NODE`, or `event {JSON}` to send any line on QMP.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::exit,
    clippy::print_stderr,
    missing_docs,
    missing_debug_implementations,
    reason = "part of the tests: it may fall over, and its words are for a log"
)]

mod agent;
mod args;
mod blocks;
mod guest;
mod net;
mod probe;
mod qmp;
mod script;

use std::sync::Arc;

use guest::Guest;

fn main() {
    let all: Vec<String> = std::env::args().skip(1).collect();
    if all.iter().any(|a| a == "--version" || a == "-version") {
        println("QEMU emulator version 7.2.22 (kvmc's fake)");
        return;
    }
    let args = args::Args::parse(&all);
    if args.wants_kvm {
        eprintln!("qemu-system-x86_64: failed to initialize kvm: this is the tests' fake");
        std::process::exit(1);
    }
    let script = script::Script::new(&args.node);
    if all.iter().any(|a| a == "-probe") {
        // For a test that shows what it could do without its confinement.
        probe::run(&script, "probe");
        return;
    }
    if script.is("probe-at-start") {
        probe::run(&script, "start");
    }
    if let Some(words) = script.get("exit") {
        let (code, words) = words.split_once(' ').unwrap_or((&words, ""));
        eprintln!("{words}");
        std::process::exit(code.parse().unwrap_or(1));
    }
    args.lock_disk();
    args.map_memory();
    let guest = Arc::new(Guest::new(args, script));
    guest.end_on_sigterm();
    guest::obey(&guest);
    agent::serve(&guest);
    net::serve(&guest);
    qmp::serve(&guest);
}

fn println(text: &str) {
    use std::io::Write;
    let _reader_gone = writeln!(std::io::stdout(), "{text}");
}
