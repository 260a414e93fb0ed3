//! Tests that the connections of some addresses are forgotten, and all others stay: real connections, with NAT and without,
//! between guests, this host and the outside of `forward.rs`.

use std::io::{BufRead as _, BufReader};
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};

use kvmc_netns::conntrack::forget;
use kvmc_netns::firewall::{Forward, Protocol};

use super::forward::{at, table, three};
use super::support::{in_namespace, run};

/// Accepts connections and keeps them.
const SERVER: &str = "
import socket, sys
s = socket.create_server((sys.argv[1], 80), family=socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET)
print('ready', flush=True)
kept = []
while True:
    c, _ = s.accept(); c.sendall(b'hello'); kept.append(c)
";
/// Connects, as often as it is told, and keeps the connections.
const CLIENT: &str = "
import socket, sys, time
to, port, times = sys.argv[1:]
kept = [socket.create_connection((to, int(port)), 5) for _ in range(int(times))]
for s in kept: s.recv(5)
print('ready', flush=True)
time.sleep(60)
";
/// Sends an echo request of ICMP and waits for the answer.
const PING: &str = r"
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
s.settimeout(5)
s.sendto(b'\x08\0\xf7\xfd\0\1\0\1', (sys.argv[1], 0))
s.recv(99)
";
/// Opens as many flows of UDP on the loopback as it is told, to ports that nobody listens on.
const FLOWS: &str = "
import socket, sys
left = int(sys.argv[1])
while left > 0:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for port in range(20000, 60000):
        try: s.sendto(b'', ('127.0.0.2', port))
        except ConnectionError: pass
        left -= 1
        if left == 0: break
";

/// A program that goes on until dropped.
struct Running(Child);

impl Running {
    /// Starts a program in a namespace, or in this one, and waits until it is ready.
    fn start(namespace: Option<&str>, script: &str, words: &[&str]) -> Self {
        let enter = namespace.map(|namespace| ["ip", "netns", "exec", namespace]);
        let python = ["python3", "-c", script];
        let all: Vec<_> = enter.iter().flatten().chain(&python).chain(words).collect();
        let mut child = Command::new(all[0])
            .args(&all[1..])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "{words:?}");
        Self(child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// The connections of this namespace as the kernel prints them, without what changes by itself.
fn tracked() -> Vec<String> {
    let all = std::fs::read_to_string("/proc/thread-self/net/nf_conntrack").unwrap();
    let of = |line: &str| {
        let words = line.split_whitespace();
        let words =
            words.filter(|w| w.contains("src=") || w.contains("dst=") || w.contains("port="));
        words.collect::<Vec<_>>().join(" ")
    };
    let mut all: Vec<_> = all.lines().map(of).collect();
    all.sort();
    all
}

const GUEST: &str = "192.0.2.8";
const GUEST6: &str = "fd00:1:2:3::8";

fn is_guest(address: IpAddr) -> bool {
    [GUEST, GUEST6]
        .map(|a| a.parse::<IpAddr>().unwrap())
        .contains(&address)
}

/// As the kernel prints them: IPv6 in full.
fn names_guest(line: &str) -> bool {
    line.contains("=192.0.2.8 ") || line.contains("=fd00:0001:0002:0003:0000:0000:0000:0008 ")
}

#[test]
fn the_connections_of_an_address_are_forgotten_and_those_of_others_stay() {
    in_namespace(async || {
        three().await;
        assert_eq!(forget(true, |_| true).unwrap(), 0, "there are none");
        let forward = Forward {
            protocol: Protocol::Tcp,
            address: None,
            port: 8080,
            to: GUEST.parse().unwrap(),
            to6: Some(GUEST6.parse().unwrap()),
            to_port: 80,
        };
        table(vec![forward]).apply().unwrap();
        let _servers = [
            ("guest", GUEST),
            ("guest", GUEST6),
            ("outside", "198.51.100.2"),
            ("outside", "2001:db8::2"),
        ]
        .map(|(namespace, address)| Running::start(Some(namespace), SERVER, &[address]));
        let _clients = [
            // Masqueraded, forwarded, and from the host, each with a control beside it.
            (Some("guest"), "198.51.100.2", "80"),
            (Some("guest"), "2001:db8::2", "80"),
            (Some("outside"), "198.51.100.1", "8080"),
            (Some("outside"), "2001:db8::1", "8080"),
            (None, GUEST, "80"),
            (Some("other"), "198.51.100.2", "80"),
            (Some("other"), "2001:db8::2", "80"),
            (None, "198.51.100.2", "80"),
        ]
        .map(|(namespace, to, port)| Running::start(namespace, CLIENT, &[to, port, "1"]));
        at("guest", &["python3", "-c", PING, "198.51.100.2"]);

        let before = tracked();
        let (own, others): (Vec<_>, Vec<_>) = before.into_iter().partition(|l| names_guest(l));
        assert!(own.len() >= 6, "the control: {own:#?}");
        assert!(others.len() >= 3, "the control: {others:#?}");
        assert_eq!(forget(true, |_| false).unwrap(), 0);
        // Without IPv6, what goes over it stays.
        let over_ipv6 = own.iter().filter(|line| line.contains("=fd00:")).count();
        assert_eq!(forget(false, is_guest).unwrap(), own.len() - over_ipv6);
        let left = tracked();
        let left = left.iter().filter(|line| names_guest(line)).count();
        assert_eq!(left, over_ipv6);
        assert_eq!(forget(true, is_guest).unwrap(), over_ipv6);
        assert_eq!(tracked(), others);
        assert_eq!(forget(true, is_guest).unwrap(), 0);
    });
}

#[test]
fn few_connections_among_very_many_of_others_are_forgotten_at_once() {
    in_namespace(async || {
        three().await;
        table(Vec::new()).apply().unwrap();
        let _server = Running::start(Some("outside"), SERVER, &["198.51.100.2"]);
        // More than one batch of requests.
        let _client = Running::start(Some("guest"), CLIENT, &["198.51.100.2", "80", "70"]);
        let many = std::env::var("KVMC_FLOWS").unwrap_or_else(|_| "20000".to_owned());
        run("python3", &["-c", FLOWS, &many]);
        let all = tracked();
        assert!(all.len() > many.parse().unwrap(), "{} flows", all.len());
        let began = std::time::Instant::now();
        assert_eq!(forget(false, is_guest).unwrap(), 70);
        let took = began.elapsed();
        println!("{took:?} among {many}");
        assert!(took.as_secs() < 2, "{took:?}");
        let left = tracked();
        assert_eq!(left.len(), all.len() - 70);
        assert!(!left.iter().any(|line| names_guest(line)));
    });
}
