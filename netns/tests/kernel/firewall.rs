//! Tests the rules in nft and the kernel.

use kvmc_netns::Change;
use kvmc_netns::firewall::{Forward, Protocol, Rulesets, Table, generation, mark};

use super::support::{BRIDGE, in_namespace, run};

fn table() -> Table {
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
        forwards: ["192.0.2.7", "127.0.0.1"]
            .iter()
            .map(|address| Forward {
                protocol: Protocol::Tcp,
                address: Some(address.parse().unwrap()),
                port: 8080,
                to: "192.0.2.8".parse().unwrap(),
                to6: Some("fd00:1:2:3::8".parse().unwrap()),
                to_port: 80,
            })
            .collect(),
        ports: Vec::new(),
        floating: Vec::new(),
    }
}

fn is_whole() -> bool {
    Rulesets::read().unwrap().hold(&table())
}

fn ruleset() -> String {
    run("nft", &["list", "ruleset"])
}

#[test]
fn each_change_of_rules_makes_another_generation_in_its_namespace_alone() {
    in_namespace(async || {
        run("nft", &["add", "table", "inet", "of_others"]);
        let first = generation().unwrap();
        assert_eq!(generation().unwrap(), first);
        run("nft", &["list", "ruleset"]);
        assert_eq!(generation().unwrap(), first, "reading is no change");
        run(
            "unshare",
            &["-n", "nft", "add", "table", "inet", "elsewhere"],
        );
        assert_eq!(generation().unwrap(), first, "a change elsewhere");
        let rule = ["add", "chain", "inet", "of_others", "c"];
        run("nft", &rule);
        let second = generation().unwrap();
        run("nft", &["delete", "chain", "inet", "of_others", "c"]);
        let third = generation().unwrap();
        // The rules are those of before, and the generation is not.
        assert!(first != second && second != third && first != third);
    });
}

#[test]
fn p36_applied_twice_equals_once_and_removed_leaves_nothing() {
    in_namespace(async || {
        run("nft", &["add", "table", "inet", "of_others"]);
        let before = ruleset();
        assert!(!is_whole());
        table().apply().unwrap();
        let once = ruleset();
        assert!(is_whole());
        assert!(once.contains("of_others"), "{once}");
        assert!(once.contains("masquerade"), "{once}");
        table().apply().unwrap();
        assert_eq!(ruleset(), once);
        assert_eq!(table().remove().unwrap(), Change::Removed);
        assert_eq!(ruleset(), before);
        assert_eq!(table().remove().unwrap(), Change::Unchanged);
    });
}

#[test]
fn p36_what_somebody_did_to_the_table_is_seen_and_goes_when_it_is_applied_again() {
    in_namespace(async || {
        table().apply().unwrap();
        let once = ruleset();
        for change in [
            "add rule inet kvmc_tb0 forward drop",
            "flush table inet kvmc_tb0",
        ] {
            run("nft", &[change]);
            assert!(!is_whole(), "{change} is not seen");
            table().apply().unwrap();
            assert_eq!(ruleset(), once);
        }
    });
}
