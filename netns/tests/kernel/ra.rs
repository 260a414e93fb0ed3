//! Tests router advertisements. The kernel of another namespace is the host that follows them.

use std::time::Duration;

use kvmc_netns::ra::{Advertisement, Server};
use kvmc_netns::{BridgeSpec, Links};
use nix::mount::{MsFlags, mount};

use super::support::{BRIDGE, BRIDGE_MAC, bridge, in_namespace, ip, run};

const GUEST: &str = "guest";
const GUEST_MAC: &str = "52:54:00:00:02:09";
/// Formed from the Ethernet address, RFC 4291 appendix A.
const GUEST_ADDRESS: &str = "fd00:1:2:3:5054:ff:fe00:209";

fn with_ipv6() -> BridgeSpec {
    BridgeSpec {
        address6: Some("fd00:1:2:3::1/64".parse().unwrap()),
        ..bridge()
    }
}

fn advertisement(is_router: bool) -> Advertisement {
    Advertisement {
        mac: BRIDGE_MAC,
        prefix: "fd00:1:2:3::/64".parse().unwrap(),
        mtu: 1400,
        is_router,
        dns: Vec::new(),
    }
}

/// Makes a namespace with one link, on the bridge.
fn guest() {
    let none: Option<&str> = None;
    std::fs::create_dir_all("/run/netns").unwrap();
    mount(none, "/run/netns", Some("tmpfs"), MsFlags::empty(), none).unwrap();
    ip(&["netns", "add", GUEST]);
    ip(&[
        "link", "add", "port", "type", "veth", "peer", "name", "eth0", "netns", GUEST,
    ]);
    ip(&["link", "set", "port", "master", BRIDGE, "up"]);
    // As in our template: nodes have different MAC addresses, so they need no duplicate address detection.
    in_guest(&[
        "sh",
        "-c",
        "echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad",
    ]);
    in_guest(&["ip", "link", "set", "eth0", "address", GUEST_MAC, "up"]);
}

fn in_guest(words: &[&str]) -> String {
    run("ip", &[&["netns", "exec", GUEST], words].concat())
}

/// Waits until the output of `ip` in the guest contains `wanted`, and returns it.
async fn until(words: &[&str], wanted: &str) -> String {
    let mut seen = String::new();
    for _ in 0..100 {
        seen = in_guest(words);
        if seen.contains(wanted) {
            return seen;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(seen.contains(wanted), "no {wanted} in {seen}");
    seen
}

#[test]
fn a_guest_makes_itself_the_address_that_its_mac_gives_and_a_default_route() {
    in_namespace(async || {
        let links = Links::open().unwrap();
        links.ensure_bridge(&with_ipv6()).await.unwrap();
        let server = Server::bind(BRIDGE, &advertisement(true)).unwrap();
        let serving = tokio::spawn(server.run());
        guest();
        let address = format!("{GUEST_ADDRESS}/64 scope global");
        let seen = until(&["ip", "-6", "addr"], &address).await;
        assert!(seen.contains("valid_lft forever"), "{seen}");
        let routes = until(&["ip", "-6", "route"], "default via fe80::5054:ff:fe00:201").await;
        assert!(routes.contains("mtu 1400"), "{routes}");
        let host = std::net::TcpListener::bind("[fd00:1:2:3::1]:80").unwrap();
        in_guest(&[
            "python3",
            "-c",
            "import socket; socket.create_connection(('fd00:1:2:3::1', 80), 5)",
        ]);
        drop(host);
        assert!(!serving.is_finished());
    });
}

/// Another program that switches routing off makes guests drop their default route, once they check that the router is there.
#[test]
fn p12_a_guest_has_its_default_route_again_as_soon_as_the_host_routes_again() {
    in_namespace(async || {
        let links = Links::open().unwrap();
        links.ensure_bridge(&with_ipv6()).await.unwrap();
        let route = |on: &str| {
            std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", on).unwrap();
        };
        route("1");
        let server = Server::bind(BRIDGE, &advertisement(true)).unwrap();
        let _serving = tokio::spawn(server.run());
        guest();
        let shown = ["ip", "-6", "route"];
        until(&shown, "default via").await;
        in_guest(&[
            "sh",
            "-c",
            "cd /proc/sys/net/ipv6/neigh/eth0; echo 1 > delay_first_probe_time; echo 500 > base_reachable_time_ms",
        ]);
        route("0");
        // It fails once the guest has dropped the route.
        let asks = "python3 -c 'import socket; socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b\"\", (\"2001:db8::1\", 9))' 2>/dev/null || true";
        let mut is_gone = false;
        for _ in 0..50 {
            if !in_guest(&shown).contains("default") {
                is_gone = true;
                break;
            }
            in_guest(&["sh", "-c", asks]);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        assert!(is_gone, "nothing is lost that could come back");
        route("1");
        until(&shown, "default via").await;
    });
}

#[test]
fn a_network_that_leads_nowhere_gives_addresses_and_no_route() {
    in_namespace(async || {
        let links = Links::open().unwrap();
        links.ensure_bridge(&with_ipv6()).await.unwrap();
        let server = Server::bind(BRIDGE, &advertisement(false)).unwrap();
        let _serving = tokio::spawn(server.run());
        guest();
        until(&["ip", "-6", "addr"], GUEST_ADDRESS).await;
        let routes = in_guest(&["ip", "-6", "route"]);
        assert!(!routes.contains("default"), "{routes}");
    });
}

#[test]
fn p33_ipv6_is_off_on_a_bridge_unless_asked_for_and_the_host_takes_no_guests_word_there() {
    in_namespace(async || {
        let links = Links::open().unwrap();
        links.ensure_bridge(&bridge()).await.unwrap();
        let read = |key: &str| {
            let path = format!("/proc/sys/net/ipv6/conf/{BRIDGE}/{key}");
            std::fs::read_to_string(path).unwrap().trim().to_owned()
        };
        assert_eq!(read("disable_ipv6"), "1");
        assert_eq!(ip(&["-6", "addr", "show", "dev", BRIDGE]), "");
        links.ensure_bridge(&with_ipv6()).await.unwrap();
        assert_eq!(read("disable_ipv6"), "0");
        assert_eq!(read("accept_ra"), "0");
        let seen = ip(&["-6", "addr", "show", "dev", BRIDGE]);
        assert!(seen.contains("fd00:1:2:3::1/64 scope global"), "{seen}");
        assert!(!seen.contains("tentative"), "{seen}");
        let again = links.ensure_bridge(&with_ipv6()).await.unwrap();
        assert_eq!(again, kvmc_netns::Change::Unchanged);
    });
}
