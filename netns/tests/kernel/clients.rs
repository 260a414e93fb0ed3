//! Runs real DHCP clients against the server in its own process, and kills the server in between. No VM.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Longest that a script may take, in seconds.
const PATIENCE: &str = "150";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernel/clients")
}

/// The example that serves without a cluster. Built here, because cargo builds it only with `--examples`.
fn server() -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    // The outer cargo's variables about this package would make build scripts run again.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    let built = cargo
        // With the workspace's features: with others cargo would compile everything again.
        .args(["build", "--quiet", "--workspace"])
        .args(["--example", "dhcp_serve"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .unwrap();
    assert!(built.success(), "the server cannot be built");
    let own = std::env::current_exe().unwrap();
    let target = own.parent().and_then(Path::parent).unwrap();
    target.join("examples/dhcp_serve")
}

/// Runs a script in its own namespaces, in an empty folder. Shows its output when it fails.
fn lives(script: &str, environment: &[(&str, &Path)]) {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child"])
        .args(["--mount-proc", "timeout", PATIENCE, "sh", "-eu"])
        .arg(folder().join(script))
        .current_dir(dir.path())
        .env("CLIENTS", folder())
        .env("SERVE", server())
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {said}{why}");
    println!("{said}");
}

#[test]
fn p26_isc_dhclient() {
    lives("dhclient.sh", &[]);
}

#[test]
fn p26_busybox_udhcpc() {
    lives("udhcpc.sh", &[]);
}

#[test]
fn p26_dhcpcd() {
    lives("dhcpcd.sh", &[]);
}

#[test]
fn p26_systemd_networkd() {
    lives("networkd.sh", &[]);
}

/// The client is unpacked, not installed: it could take over the networks of the machine.
#[test]
fn p26_networkmanager() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("network-manager");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/unpack");
    let unpacked = Command::new(script)
        .arg(&folder)
        .arg("network-manager")
        .status()
        .unwrap();
    assert!(unpacked.success(), "network-manager cannot be unpacked");
    lives("networkmanager.sh", &[("NM", &folder)]);
}
