//! Tests with real frames that guests send from their own addresses only, and from no server's.

use kvmc_netns::MacAddr;
use kvmc_netns::firewall::{Port, Rulesets, Table, has_bridge_family, mark};

use super::support::{BRIDGE, in_namespace, ip, run};

fn port(tap: &str, number: u8) -> Port {
    Port {
        tap: tap.to_owned(),
        mac: MacAddr([0x52, 0x54, 0, 0, 0, number]),
        address: [192, 0, 2, number].into(),
        address6: Some(format!("fd00:1:2:3:5054:ff:fe00:{number}").parse().unwrap()),
    }
}

fn table(ports: Vec<Port>) -> Table {
    let range = |first: &str, last: &str| (first.parse().unwrap(), last.parse().unwrap());
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
        forwards: Vec::new(),
        ports,
        floating: vec![
            range("192.0.2.200", "192.0.2.250"),
            range("192.0.2.4", "192.0.2.9"),
            range("10.244.0.0", "10.244.255.255"),
        ],
    }
}

/// A bridge with two ports, `pa` and `pb`, whose other ends are `a0` and `b0`.
fn wire() {
    ip(&["link", "add", BRIDGE, "type", "bridge"]);
    for (port, end) in [("pa", "a0"), ("pb", "b0")] {
        ip(&["link", "add", port, "type", "veth", "peer", "name", end]);
        ip(&["link", "set", port, "master", BRIDGE]);
        for link in [port, end] {
            // Their own packets are not the test's.
            let setting = format!("net.ipv6.conf.{link}.disable_ipv6=1");
            run("sysctl", &["-q", "-w", &setting]);
            ip(&["link", "set", link, "up"]);
        }
    }
    ip(&["link", "set", BRIDGE, "up"]);
    while !run("ip", &["-o", "link", "show", "pb"]).contains("state UP") {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// What became of each frame.
fn frames() -> Vec<(String, String)> {
    let script = format!("{}/tests/kernel/spoof.py", env!("CARGO_MANIFEST_DIR"));
    let said = run("python3", &[&script, "a0", "b0"]);
    let lines = said.lines().map(|l| l.split_once(" -> ").unwrap());
    lines.map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
}

#[test]
fn a_guest_sends_from_its_own_addresses_only_and_no_servers_answers() {
    in_namespace(async || {
        wire();
        table(vec![port("pa", 5), port("pb", 6)]).apply().unwrap();
        let mut wrong = Vec::new();
        for (name, seen) in frames() {
            let right = match name.as_str() {
                // At once, and what two seconds of a slow machine let through.
                "flood" => (1000..12_000).contains(&seen.parse::<u32>().unwrap()),
                forbidden if forbidden.starts_with('!') => seen == "not seen",
                _ => seen == "seen",
            };
            if !right {
                wrong.push((name, seen));
            }
        }
        assert!(wrong.is_empty(), "{wrong:?}");
        // A frame that is dropped teaches the bridge nothing.
        let learnt = run("bridge", &["fdb", "show", "dev", "pa"]);
        assert!(!learnt.contains("52:54:00:00:00:06"), "{learnt}");
    });
}

/// Shows that the frames are good ones, and that the setting switches the guard off.
#[test]
fn without_the_guard_every_frame_arrives() {
    in_namespace(async || {
        wire();
        table(Vec::new()).apply().unwrap();
        let all = frames();
        let lost: Vec<_> = all.iter().filter(|(_, seen)| seen == "not seen").collect();
        assert!(lost.is_empty(), "{lost:?}");
        assert_eq!(all.last().unwrap().1, "20000");
    });
}

#[test]
fn a_change_of_the_guard_is_seen_and_its_removal_leaves_nothing() {
    in_namespace(async || {
        assert!(has_bridge_family().unwrap());
        let before = run("nft", &["list", "ruleset"]);
        let whole = table(vec![port("pa", 5)]);
        let holds = |table: &Table| Rulesets::read().unwrap().hold(table);
        assert!(!holds(&whole));
        whole.apply().unwrap();
        assert!(holds(&whole));
        let once = run("nft", &["list", "ruleset"]);
        whole.apply().unwrap();
        assert_eq!(run("nft", &["list", "ruleset"]), once);
        // Another address, a further guest, another range and no guard have other rules.
        let mut other = whole.clone();
        other.ports[0].address = "192.0.2.7".parse().unwrap();
        let mut shared = whole.clone();
        shared.floating.pop();
        for table in [
            other,
            shared,
            table(vec![port("pa", 5), port("pb", 6)]),
            table(Vec::new()),
        ] {
            assert!(!holds(&table), "{table:?}");
        }
        for change in [
            "add rule bridge kvmc_tb0 prerouting drop",
            "flush chain bridge kvmc_tb0 port0",
            "delete table bridge kvmc_tb0",
        ] {
            run("nft", &[change]);
            assert!(!holds(&whole), "{change} is not seen");
            whole.apply().unwrap();
            assert!(holds(&whole));
        }
        table(Vec::new()).apply().unwrap();
        assert!(!run("nft", &["list", "ruleset"]).contains("table bridge"));
        whole.apply().unwrap();
        whole.remove().unwrap();
        assert_eq!(run("nft", &["list", "ruleset"]), before);
    });
}
