//! Tests what tells whether a station of the bridge is still reached: its port, its route, its address and its TCP port.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use kvmc_netns::{Change, End, Knock, Links, MacAddr, TapSpec, knock, stations};

use super::namespace::{Namespace, node};
use super::support::{BRIDGE, bridge, in_namespace, ip, pair, seen, with_bridge};

const NODE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const TIME: Duration = Duration::from_secs(2);

#[test]
fn a_tap_that_was_changed_is_made_a_port_again() {
    in_namespace(async || {
        let links = with_bridge().await;
        // With an address of its own, which does not follow its ports.
        let address = ["address", "02:00:00:00:00:01"];
        ip(&[
            &["link", "add", "elsewhere"],
            &address[..],
            &["type", "bridge"],
        ]
        .concat());
        let tap = TapSpec {
            name: "tb0-tap".to_owned(),
            bridge: BRIDGE.to_owned(),
            mtu: 1400,
        };
        let fd: OwnedFd = links.create_tap(&tap).await.unwrap();
        let whole = seen();
        for (change, what) in [
            (&["nomaster"][..], "it is not a port of `tb0`"),
            (&["master", "elsewhere"], "it is not a port of `tb0`"),
            (&["down"], "it is down"),
            (&["mtu", "1300"], "MTU 1300, not 1400"),
        ] {
            ip(&[&["link", "set", "tb0-tap"], change].concat());
            let all = links.list().await.unwrap();
            assert_eq!(tap.difference(&all).as_deref(), Some(what));
            links.restore_tap(&tap).await.unwrap();
            let all = links.list().await.unwrap();
            assert_eq!(
                (tap.difference(&all), seen()),
                (None, whole.clone()),
                "{what}"
            );
        }
        drop(fd);
        let all = links.list().await.unwrap();
        assert_eq!(tap.difference(&all).as_deref(), Some("it is gone"));
        assert!(
            links.restore_tap(&tap).await.is_err(),
            "a tap without a guest"
        );
        ip(&["link", "delete", BRIDGE]);
        let all = links.list().await.unwrap();
        assert_eq!(tap.difference(&all).as_deref(), Some("`tb0` is gone"));
    });
}

#[test]
fn a_bridge_is_restored_with_its_route_and_never_made() {
    in_namespace(async || {
        let links = with_bridge().await;
        let whole = seen();
        for change in [
            &["link", "set", BRIDGE, "down"][..],
            &["address", "flush", "dev", BRIDGE],
            &["link", "set", BRIDGE, "type", "bridge", "stp_state", "1"],
            &["route", "delete", "192.0.2.0/24"],
        ] {
            ip(change);
            let changed = links.restore_bridge(&bridge()).await.unwrap();
            let index = links.find(BRIDGE).await.unwrap().unwrap().index;
            let route = links.ensure_route(index, bridge().address.into()).await;
            let is_route = change.contains(&"route");
            assert_eq!(changed == Some(Change::Unchanged), is_route, "{change:?}");
            assert_eq!(route.unwrap() == Change::Created, is_route, "{change:?}");
            assert_eq!(seen(), whole, "{change:?}");
        }
        ip(&["link", "delete", BRIDGE]);
        assert_eq!(links.restore_bridge(&bridge()).await.unwrap(), None);
        assert!(!seen().contains("192.0.2.1"));
    });
}

/// Where packets to the node go after these commands of ip(8), and that they go there no more without.
async fn led(links: &Links, by: u32, commands: &[&[&str]]) -> kvmc_netns::Detour {
    for command in commands {
        ip(command);
    }
    let detour = links.detour(IpAddr::V4(NODE), by).await.unwrap();
    for command in commands.iter().rev() {
        let back: Vec<_> = command
            .iter()
            .map(|word| if *word == "add" { "delete" } else { word })
            .collect();
        ip(&back);
    }
    let after = links.detour(IpAddr::V4(NODE), by).await.unwrap();
    assert_eq!(after, None, "{commands:?}");
    assert!(detour.is_some(), "{commands:?} leads nowhere else");
    detour.unwrap()
}

#[test]
fn whatever_takes_the_route_is_named() {
    in_namespace(async || {
        let links = with_bridge().await;
        let by = links.find(BRIDGE).await.unwrap().unwrap().index;
        pair("tun0");
        ip(&["address", "add", "198.51.100.1/24", "dev", "tun0"]);
        assert_eq!(links.detour(IpAddr::V4(NODE), by).await.unwrap(), None);

        let default: &[&str] = &["route", "add", "default", "dev", "tun0", "table", "100"];
        let rule: &[&str] = &[
            "rule",
            "add",
            "to",
            "192.0.0.0/16",
            "lookup",
            "100",
            "pref",
            "1000",
        ];
        let detour = led(&links, by, &[default, rule]).await;
        assert_eq!(
            detour.to_string(),
            "leave by tun0, by the rule `1000: from all to 192.0.0.0/16 lookup 100`, by the route 0.0.0.0/0 of table 100"
        );
        assert_eq!(
            (detour.rule.unwrap().priority, detour.table),
            (1000, Some(100))
        );
        let ssh: &[&str] = &[
            "rule", "add", "ipproto", "tcp", "dport", "22", "lookup", "100", "pref", "9",
        ];
        let detour = led(&links, by, &[default, ssh]).await;
        assert!(
            detour
                .to_string()
                .contains("`9: from all ipproto tcp dport 22 lookup 100`"),
            "{detour}"
        );
        let mark: &[&str] = &[
            "rule", "add", "not", "fwmark", "0xca6c", "lookup", "100", "pref", "8",
        ];
        let detour = led(&links, by, &[default, mark]).await;
        assert!(
            detour
                .to_string()
                .contains("`8: not from all fwmark 0xca6c lookup 100`"),
            "{detour}"
        );

        for how in ["blackhole", "unreachable", "prohibit"] {
            let detour = led(
                &links,
                by,
                &[&["rule", "add", "to", "192.0.2.0/24", how, "pref", "7"]],
            )
            .await;
            assert_eq!(detour.end, End::Nowhere(how));
            let rule =
                format!("are dropped ({how}), by the rule `7: from all to 192.0.2.0/24 {how}`");
            assert_eq!(detour.to_string(), rule);
            let detour = led(&links, by, &[&["route", "add", how, "192.0.2.2/32"]]).await;
            let route = format!("are dropped ({how}), by the route 192.0.2.2/32 of table main");
            assert_eq!(detour.to_string(), route);
        }
        let detour = led(
            &links,
            by,
            &[&["route", "add", "192.0.2.0/25", "dev", "tun0"]],
        )
        .await;
        assert_eq!(
            detour.to_string(),
            "leave by tun0, by the route 192.0.2.0/25 of table main"
        );
        let detour = led(
            &links,
            by,
            &[&["address", "add", "192.0.2.2/32", "dev", "tun0"]],
        )
        .await;
        assert_eq!(detour.end, End::Itself);

        ip(&["route", "delete", "192.0.2.0/24"]);
        let detour = links.detour(IpAddr::V4(NODE), by).await.unwrap().unwrap();
        assert_eq!(detour.end, End::Nowhere("no route"));
    });
}

/// Answers for 192.0.2.2 by one made-up station after another, for some seconds.
const FLOOD: &str = "
import socket, struct, sys, time
line = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
line.bind((sys.argv[1], 0))
until, n = time.time() + 20, 0
while time.time() < until:
    n += 1
    mac = b'\\x02\\x66' + struct.pack('>I', n)
    arp = struct.pack('>HHBBH', 1, 0x800, 6, 4, 2) + mac + bytes([192, 0, 2, 2]) + bytes(6) + bytes([192, 0, 2, 1])
    line.send(b'\\xff' * 6 + mac + b'\\x08\\x06' + arp)
    if n % 50 == 0:
        time.sleep(0.002)
";

#[test]
fn all_stations_with_an_address_are_heard() {
    in_namespace(async || {
        let links = with_bridge().await;
        let first = node("n0");
        let link = links.find(BRIDGE).await.unwrap().unwrap();
        let free = Ipv4Addr::new(192, 0, 2, 99);
        let mac_of = |namespace: &Namespace, link: &str| -> MacAddr {
            let shown = namespace.run("ip", &["-brief", "link", "show", link]);
            shown.split_whitespace().nth(2).unwrap().parse().unwrap()
        };
        let own = mac_of(&first, "n0-c");
        let heard = stations(&link, OWN, &[(NODE, own)], TIME).await.unwrap();
        assert_eq!(heard, [(NODE, own)]);
        let wanted = [(NODE, own), (free, own)];
        let began = std::time::Instant::now();
        let heard = stations(&link, OWN, &wanted, TIME / 4).await.unwrap();
        assert_eq!(heard, [(NODE, own)]);
        assert!(began.elapsed() < TIME, "{:?}", began.elapsed());

        let other = pair("n1");
        ip(&["link", "set", "n1", "master", BRIDGE]);
        let second = Namespace::new(&other, "192.0.2.2/24");
        let foreign = mac_of(&second, "n1-c");
        // The port forwards a moment after it has its carrier.
        let mut heard = Vec::new();
        for _ in 0..20 {
            heard = stations(&link, OWN, &[(NODE, own)], TIME).await.unwrap();
            if heard.len() == 2 {
                break;
            }
        }
        heard.sort();
        let mut both = [(NODE, own), (NODE, foreign)];
        both.sort();
        assert_eq!(heard, both);

        // A guest that makes up stations hides no answer.
        let mut flood = second.spawn("python3", &["-c", FLOOD, "n1-c"]);
        for _ in 0..20 {
            let heard = stations(&link, OWN, &[(NODE, own)], TIME).await.unwrap();
            let strangers = heard
                .iter()
                .filter(|(_, mac)| mac.0[..2] == [2, 0x66])
                .count();
            assert!(heard.contains(&(NODE, own)), "{heard:?}");
            assert!(heard.len() <= 5, "{heard:?}");
            if strangers > 2 {
                break;
            }
        }
        flood.kill().unwrap();
        flood.wait().unwrap();
    });
}

#[test]
fn a_knock_finds_a_listener_that_does_not_notice() {
    in_namespace(async || {
        let _links = with_bridge().await;
        let node = node("n0");
        let port = |port: u16| SocketAddr::from((NODE, port));
        assert_eq!(knock(port(22), TIME).await.unwrap(), Knock::Refused);
        let mut listener = node.spawn(
            "python3",
            &[
                "-c",
                "import socket; s = socket.create_server(('192.0.2.2', 22)); s.settimeout(60); s.accept(); raise SystemExit(7)",
            ],
        );
        let mut heard = Knock::Refused;
        for _ in 0..200 {
            heard = knock(port(22), TIME).await.unwrap();
            if heard == Knock::Open {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(heard, Knock::Open);
        for _ in 0..20 {
            assert_eq!(knock(port(22), TIME).await.unwrap(), Knock::Open);
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(
            listener.try_wait().unwrap(),
            None,
            "it accepted a connection"
        );
        drop(std::net::TcpStream::connect(port(22)).unwrap());
        assert_eq!(
            listener.wait().unwrap().code(),
            Some(7),
            "a connection is accepted"
        );

        let free = SocketAddr::from(([192, 0, 2, 99], 22));
        let time = Duration::from_millis(300);
        assert_eq!(knock(free, time).await.unwrap(), Knock::Silent);
    });
}
