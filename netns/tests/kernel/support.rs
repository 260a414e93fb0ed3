//! Namespaces, programs, and the contents of a namespace.

use std::fs::File;
use std::future::Future;
use std::process::Command;

use kvmc_netns::{BridgeSpec, Links, MacAddr};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::chroot;

pub(crate) const BRIDGE: &str = "tb0";
pub(crate) const BRIDGE_MAC: MacAddr = MacAddr([0x52, 0x54, 0, 0, 2, 1]);
/// The Ethernet address of a link of the bridge's name in the namespace that /sys shows.
pub(crate) const STRANGER_MAC: MacAddr = MacAddr([0x52, 0x54, 0, 0, 2, 0xff]);

/// Runs `test` on a thread in a new network namespace with only the loopback. /sys belongs to another
/// namespace, which has a link of the bridge's name, as for a program run by `unshare --net`.
pub(crate) fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let ended = std::thread::spawn(|| {
        let alone = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
        unshare(alone).expect("a network namespace cannot be made: run this as root");
        hide_mounts();
        let stranger = STRANGER_MAC.to_string();
        ip(&[
            "link", "add", BRIDGE, "address", &stranger, "type", "bridge",
        ]);
        let none: Option<&str> = None;
        mount(Some("sys"), "/sys", Some("sysfs"), MsFlags::empty(), none).unwrap();
        let _kept_alive = File::open("/proc/thread-self/ns/net").unwrap();
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        ip(&["link", "set", "lo", "up"]);
        runtime().block_on(test());
    })
    .join();
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
}

/// Keeps mounts of this thread's mount namespace out of all others.
fn hide_mounts() {
    let none: Option<&str> = None;
    let private = MsFlags::MS_PRIVATE;
    match mount(none, "/", none, private | MsFlags::MS_REC, none) {
        // The root of a chroot is not a mount point. This binds it below a private /proc, and continues there.
        Err(Errno::EINVAL) => {
            let (bind, root) = (MsFlags::MS_BIND | MsFlags::MS_REC, "/proc/fs");
            let folder = std::env::current_dir().unwrap();
            mount(none, "/proc", none, private, none).unwrap();
            mount(Some("/"), root, none, bind, none).unwrap();
            mount(none, root, none, private | MsFlags::MS_REC, none).unwrap();
            chroot(root).unwrap();
            std::env::set_current_dir(folder).unwrap();
        }
        other => other.unwrap(),
    }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

/// Runs a program in the namespace of this thread and returns its output.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?} failed: {said}"
    );
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn ip(arguments: &[&str]) -> String {
    run("ip", arguments)
}

/// All links, addresses and routes as ip(8) prints them, without this crate. Leaves out states that the
/// kernel changes later by itself, such as the carrier.
pub(crate) fn seen() -> String {
    let links: serde_json::Value = serde_json::from_str(&ip(&["-json", "link"])).unwrap();
    let mut all = String::new();
    for link in links.as_array().unwrap() {
        let is_up = link["flags"].as_array().unwrap().contains(&"UP".into());
        for what in ["ifname", "address", "mtu", "master"] {
            all += &format!("{what} {} ", link[what]);
        }
        all += &format!("up {is_up}\n");
    }
    all += &ip(&["-oneline", "address"]);
    all += &ip(&["route", "show", "table", "all"]);
    all += &ip(&["-6", "route", "show", "table", "all"]);
    all.replace(" linkdown", "")
}

/// Makes a pair of links: `name`, up, and its other end `name` + `-c`.
pub(crate) fn pair(name: &str) -> String {
    let other = format!("{name}-c");
    ip(&["link", "add", name, "type", "veth", "peer", "name", &other]);
    for link in [name, &other] {
        ip(&["link", "set", link, "up"]);
    }
    other
}

pub(crate) fn bridge() -> BridgeSpec {
    BridgeSpec {
        name: BRIDGE.to_owned(),
        mac: BRIDGE_MAC,
        mtu: 1400,
        lldp: false,
        address: "192.0.2.1/24".parse().unwrap(),
        address6: None,
    }
}

/// Makes the bridge.
pub(crate) async fn with_bridge() -> Links {
    let links = Links::open().unwrap();
    links.ensure_bridge(&bridge()).await.unwrap();
    links
}
