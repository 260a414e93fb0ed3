//! Tests forwards and the masquerading of IPv6 between namespaces: guests on the bridge, this host, and the outside,
//! which has addresses of 2001:db8::/32 and TEST-NET.

use kvmc_netns::firewall::{Forward, Protocol, Table, mark};
use kvmc_netns::{BridgeSpec, Links};
use nix::mount::{MsFlags, mount};

use super::support::{BRIDGE, bridge, in_namespace, ip, run};

/// Answers each packet or connection with the source address that it sees.
const SERVER: &str = "
import socket, sys
kind, family = (socket.SOCK_DGRAM if sys.argv[1] == 'udp' else socket.SOCK_STREAM), (socket.AF_INET6 if ':' in sys.argv[2] else socket.AF_INET)
s = socket.socket(family, kind)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((sys.argv[2], int(sys.argv[3])))
s.settimeout(20)
if kind == socket.SOCK_STREAM:
    s.listen()
print('ready', flush=True)
while True:
    if kind == socket.SOCK_STREAM:
        c, peer = s.accept(); c.sendall(peer[0].encode()); c.close()
    else:
        _, peer = s.recvfrom(9); s.sendto(peer[0].encode(), peer)
";
const CLIENT: &str = "
import socket, sys
s = socket.socket(socket.AF_INET6 if ':' in sys.argv[2] else socket.AF_INET, socket.SOCK_DGRAM if sys.argv[1] == 'udp' else socket.SOCK_STREAM)
s.settimeout(5)
s.connect((sys.argv[2], int(sys.argv[3])))
if sys.argv[1] == 'udp':
    s.send(b'x')
print(s.recv(99).decode(), end='')
";

pub(super) fn at(namespace: &str, words: &[&str]) -> String {
    run("ip", &[&["netns", "exec", namespace], words].concat())
}

/// The source address that a server at `address` sees for a client in `namespace`.
fn ask(namespace: &str, protocol: &str, address: &str, port: &str) -> String {
    at(
        namespace,
        &["python3", "-c", CLIENT, protocol, address, port],
    )
}

/// A server in a namespace, until dropped.
struct Server(std::process::Child);

impl Server {
    fn start(namespace: &str, protocol: &str, address: &str, port: &str) -> Self {
        use std::io::{BufRead as _, BufReader};
        let words = ["netns", "exec", namespace, "python3", "-c", SERVER];
        let mut child = std::process::Command::new("ip")
            .args(words)
            .args([protocol, address, port])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Makes the bridge with the guests 192.0.2.8 and .9, and the outside, 198.51.100.2.
pub(super) async fn three() {
    let none: Option<&str> = None;
    std::fs::create_dir_all("/run/netns").unwrap();
    mount(none, "/run/netns", Some("tmpfs"), MsFlags::empty(), none).unwrap();
    let links = Links::open().unwrap();
    let spec = BridgeSpec {
        address6: Some("fd00:1:2:3::1/64".parse().unwrap()),
        ..bridge()
    };
    links.ensure_bridge(&spec).await.unwrap();
    for (namespace, link, addresses) in [
        ("guest", "port1", ["192.0.2.8/24", "fd00:1:2:3::8/64"]),
        ("other", "port2", ["192.0.2.9/24", "fd00:1:2:3::9/64"]),
        ("outside", "up0", ["198.51.100.2/24", "2001:db8::2/64"]),
    ] {
        ip(&["netns", "add", namespace]);
        let pair = ["type", "veth", "peer", "name", "eth0", "netns", namespace];
        ip(&[&["link", "add", link][..], &pair].concat());
        for address in addresses {
            let words = ["ip", "addr", "add", address, "dev", "eth0", "nodad"];
            at(namespace, &words);
        }
        at(namespace, &["ip", "link", "set", "lo", "up"]);
        at(namespace, &["ip", "link", "set", "eth0", "up"]);
        if namespace == "outside" {
            ip(&["addr", "add", "198.51.100.1/24", "dev", link]);
            ip(&["addr", "add", "2001:db8::1/64", "dev", link, "nodad"]);
        } else {
            ip(&["link", "set", link, "master", BRIDGE]);
            for via in ["192.0.2.1", "fd00:1:2:3::1"] {
                at(namespace, &["ip", "route", "add", "default", "via", via]);
            }
        }
        ip(&["link", "set", link, "up"]);
    }
    for switch in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
        kvmc_netns::sysctl::write(switch, "1").unwrap();
    }
}

#[test]
fn a_link_that_may_reaches_guests_and_no_other_does() {
    in_namespace(async || {
        three().await;
        let _server = Server::start("guest", "tcp", "192.0.2.8", "80");
        let route = ["ip", "route", "add", "192.0.2.0/24", "via", "198.51.100.1"];
        at("outside", &route);
        let mut table = table(Vec::new());
        table.apply().unwrap();
        let words = ["netns", "exec", "outside", "timeout", "1"];
        let client = ["python3", "-c", CLIENT, "tcp", "192.0.2.8", "80"];
        let mut shut = std::process::Command::new("ip");
        let shut = shut.args(words).args(client).output().unwrap();
        assert!(!shut.status.success(), "it is reached");
        table.reach_from = vec!["up0".to_owned()];
        table.apply().unwrap();
        assert_eq!(ask("outside", "tcp", "192.0.2.8", "80"), "198.51.100.2");
    });
}

pub(super) fn table(forwards: Vec<Forward>) -> Table {
    Table {
        name: "kvmc_tb0".to_owned(),
        mark: mark("t"),
        bridge: BRIDGE.to_owned(),
        subnet: "192.0.2.0/24".parse().unwrap(),
        gateway: "192.0.2.1".parse().unwrap(),
        prefix6: Some("fd00:1:2:3::/64".parse().unwrap()),
        gateway6: Some("fd00:1:2:3::1".parse().unwrap()),
        isolated: false,
        host_ports: Vec::new(),
        reach_from: Vec::new(),
        ports: Vec::new(),
        floating: Vec::new(),
        forwards,
    }
}

#[test]
fn guests_reach_the_ipv6_outside_by_the_hosts_address_and_it_reaches_none_of_them() {
    in_namespace(async || {
        three().await;
        table(Vec::new()).apply().unwrap();
        let _server = Server::start("outside", "tcp", "2001:db8::2", "80");
        assert_eq!(ask("guest", "tcp", "2001:db8::2", "80"), "2001:db8::1");
        // Even with a route to the prefix, the outside reaches neither the guests nor the host's address there.
        at(
            "outside",
            &[
                "ip",
                "route",
                "add",
                "fd00:1:2:3::/64",
                "via",
                "2001:db8::1",
            ],
        );
        let _guest = Server::start("guest", "tcp", "fd00:1:2:3::8", "80");
        let comes_in = |address: &str| {
            let words = [
                "timeout", "2", "python3", "-c", CLIENT, "tcp", address, "80",
            ];
            let tried = std::process::Command::new("ip")
                .args(["netns", "exec", "outside"])
                .args(words)
                .stderr(std::process::Stdio::null())
                .status();
            tried.unwrap().success()
        };
        assert!(!comes_in("fd00:1:2:3::8"), "p42");
        let _host = std::net::TcpListener::bind("[fd00:1:2:3::1]:80").unwrap();
        assert!(!comes_in("fd00:1:2:3::1"), "the host by its bridge");
    });
}

#[test]
fn a_forwarded_port_leads_to_the_guest_over_tcp_and_udp_ipv4_and_ipv6() {
    in_namespace(async || {
        three().await;
        let forward = |protocol| Forward {
            protocol,
            address: None,
            port: 8080,
            to: "192.0.2.8".parse().unwrap(),
            to6: Some("fd00:1:2:3::8".parse().unwrap()),
            to_port: 80,
        };
        table(vec![forward(Protocol::Tcp), forward(Protocol::Udp)])
            .apply()
            .unwrap();
        for protocol in ["tcp", "udp"] {
            let _four = Server::start("guest", protocol, "192.0.2.8", "80");
            let _six = Server::start("guest", protocol, "fd00:1:2:3::8", "80");
            // The guest sees the client's own address.
            assert_eq!(
                ask("outside", protocol, "198.51.100.1", "8080"),
                "198.51.100.2"
            );
            assert_eq!(
                ask("outside", protocol, "2001:db8::1", "8080"),
                "2001:db8::2"
            );
            // The host itself uses its own address outside.
            let here = run("python3", &["-c", CLIENT, protocol, "198.51.100.1", "8080"]);
            assert_eq!(here, "198.51.100.1");
            // Another guest that uses the host's address gets the answer from that address.
            assert_eq!(ask("other", protocol, "198.51.100.1", "8080"), "192.0.2.1");
        }
        table(Vec::new()).apply().unwrap();
        let _server = Server::start("guest", "tcp", "192.0.2.8", "80");
        let gone = std::process::Command::new("ip")
            .args(["netns", "exec", "outside", "python3", "-c", CLIENT])
            .args(["tcp", "198.51.100.1", "8080"])
            .stderr(std::process::Stdio::null())
            .status();
        assert!(!gone.unwrap().success(), "it is gone with its rule");
    });
}
