use proptest::prelude::*;

use super::*;

/// The rules of dockerd 27.
const DOCKER: &str = r"*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
";

/// The chains of `ufw enable` that matter.
const UFW: &str = r"*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:ufw-before-input - [0:0]
:ufw-before-forward - [0:0]
:ufw-user-forward - [0:0]
:ufw-user-input - [0:0]
:ufw-not-local - [0:0]
:ufw-logging-deny - [0:0]
:ufw-after-input - [0:0]
:ufw-skip-to-policy-input - [0:0]
:ufw-reject-forward - [0:0]
-A INPUT -j ufw-before-input
-A INPUT -j ufw-after-input
-A ufw-after-input -p udp -m udp --dport 67 -j ufw-skip-to-policy-input
-A ufw-skip-to-policy-input -j DROP
-A FORWARD -j ufw-before-forward
-A FORWARD -j ufw-reject-forward
-A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-forward -j ufw-user-forward
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -m conntrack --ctstate INVALID -j ufw-logging-deny
-A ufw-before-input -p udp -m udp --sport 67 --dport 68 -j ACCEPT
-A ufw-before-input -j ufw-not-local
-A ufw-before-input -j ufw-user-input
-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN
-A ufw-not-local -m addrtype --dst-type BROADCAST -j RETURN
-A ufw-not-local -m limit --limit 3/min --limit-burst 10 -j ufw-logging-deny
-A ufw-not-local -j DROP
COMMIT
";

fn table() -> Table {
    Table {
        name: "kvmc_k80".to_owned(),
        mark: "kvmc k80".to_owned(),
        bridge: "k80".to_owned(),
        subnet: "192.168.80.0/24".parse().unwrap(),
        gateway: "192.168.80.1".parse().unwrap(),
        prefix6: None,
        gateway6: None,
        isolated: false,
        host_ports: Vec::new(),
        reach_from: Vec::new(),
        ports: Vec::new(),
        floating: Vec::new(),
        forwards: Vec::new(),
    }
}

fn host() -> HostNetwork {
    HostNetwork {
        uplink: Some("up0".to_owned()),
        uplink6: None,
        bridged: true,
        bridged6: true,
    }
}

fn planned(iptables: &str) -> Plan {
    Rulesets::of(&[((Backend::Nft, Family::V4), iptables)], "{}").plan(&table(), &host(), None)
}

/// Chain, position and number of rules of each accept.
fn places(plan: &Plan) -> Vec<(String, usize, usize)> {
    let iptables = plan.accepts.iter().filter_map(|a| match a {
        Accept::Iptables {
            chain,
            position,
            rules,
            ..
        } => Some((chain.clone(), *position, rules.len())),
        Accept::Zone { .. } => None,
    });
    iptables.collect()
}

fn filter(lines: &str) -> String {
    format!("*filter\n{lines}\nCOMMIT\n")
}

#[test]
fn dockers_own_chain_is_where_its_drops_are_answered() {
    let plan = planned(DOCKER);
    assert_eq!(places(&plan), [("DOCKER-USER".to_owned(), 1, 2)]);
    assert!(plan.obstacles.is_empty());
}

#[test]
fn once_there_nothing_more_is_added_and_half_of_it_is_not_all() {
    let both = "-A DOCKER-USER -i k80 -m comment --comment \"kvmc k80\" -j ACCEPT\n-A DOCKER-USER -o k80 -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -m comment --comment \"kvmc k80\" -j ACCEPT\n-A DOCKER-USER -j RETURN";
    let made = DOCKER.replace("-A DOCKER-USER -j RETURN", both);
    assert_eq!(planned(&made), Plan::default());
    let half = made.replace(
        "-A DOCKER-USER -i k80 -m comment",
        "-A DOCKER-USER -i k81 -m comment",
    );
    assert_eq!(places(&planned(&half)), [("DOCKER-USER".to_owned(), 1, 2)]);
}

#[test]
fn docker_that_does_not_drop_gets_nothing() {
    let calm = DOCKER.replace(":FORWARD DROP", ":FORWARD ACCEPT");
    assert_eq!(planned(&calm), Plan::default());
}

#[test]
fn behind_what_ufw_asks_first_so_that_its_denials_stand() {
    let plan = planned(UFW);
    assert_eq!(
        places(&plan),
        [("INPUT".to_owned(), 2, 5), ("FORWARD".to_owned(), 2, 2)]
    );
    let denied = UFW.replace(
        "-A ufw-before-input -i lo",
        "-A ufw-user-forward -i k80 -j DROP\n-A ufw-before-input -i lo",
    );
    let obstacle = planned(&denied).obstacles.remove(0);
    assert!(obstacle.place.contains("ufw-user-forward"), "{obstacle}");
    assert!(
        obstacle.certain && obstacle.packets == ["from node to node"],
        "{obstacle}"
    );
}

#[test]
fn a_policy_is_answered_at_the_end_and_a_last_reject_right_before_it() {
    let plan = planned(&filter(
        ":INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n-A FORWARD -s 10.0.0.0/8 -j DROP",
    ));
    assert_eq!(places(&plan), [("FORWARD".to_owned(), 2, 2)]);
    let plan = planned(&filter(
        ":FORWARD ACCEPT [0:0]\n-A FORWARD -i lo -j ACCEPT\n-A FORWARD -j REJECT --reject-with icmp-host-prohibited\n-A FORWARD -j LOG",
    ));
    assert_eq!(places(&plan), [("FORWARD".to_owned(), 2, 2)]);
    let nothing = filter(":FORWARD DROP [0:0]\n-A FORWARD -j ACCEPT");
    assert_eq!(planned(&nothing), Plan::default());
}

#[test]
fn p11_between_nodes_rules_count_with_br_netfilter_only() {
    let rules = filter(
        ":FORWARD DROP [0:0]\n-A FORWARD -i k80 -o up0 -j ACCEPT\n-A FORWARD -i up0 -o k80 -j ACCEPT",
    );
    assert_eq!(places(&planned(&rules)), [("FORWARD".to_owned(), 3, 2)]);
    let without = HostNetwork {
        bridged: false,
        ..host()
    };
    let rulesets = Rulesets::of(&[((Backend::Legacy, Family::V4), &rules)], "{}");
    assert_eq!(rulesets.plan(&table(), &without, None), Plan::default());
}

fn nft(policy: &str, rules: &str) -> String {
    let rules: String = rules
        .split(';')
        .filter(|r| !r.is_empty())
        .map(|expr| {
            format!(r#",{{"rule":{{"family":"inet","table":"t","chain":"f","expr":[{expr}]}}}}"#)
        })
        .collect();
    format!(
        r#"{{"nftables":[{{"chain":{{"family":"inet","table":"t","name":"f","type":"filter","hook":"forward","policy":"{policy}"}}}}{rules}]}}"#
    )
}

fn iif(link: &str, verdict: &str) -> String {
    format!(
        r#"{{"match":{{"op":"==","left":{{"meta":{{"key":"iifname"}}}},"right":"{link}"}}}},{{"{verdict}":null}}"#
    )
}

const ANSWERED: &str = r#"{"match":{"op":"in","left":{"ct":{"key":"state"}},"right":["established","related"]}},{"accept":null}"#;

#[test]
fn p10_a_table_of_nobody_we_know_is_named_with_chain_policy_and_cure() {
    let plan = |text: &str| Rulesets::of(&[], text).plan(&table(), &host(), None);
    let drops = plan(&nft("drop", ""));
    assert!(drops.accepts.is_empty());
    let said = drops.obstacles[0].to_string();
    assert_eq!(
        said,
        "the nft table inet t, chain f (policy drop) drops packets from node to node, from the nodes to the outside, from the outside back to the nodes, and a rule elsewhere cannot undo that; let them through there: `nft insert rule inet t f iifname k80 accept` and `nft insert rule inet t f oifname k80 ct state established,related accept`"
    );
    let cured = format!("{};{ANSWERED}", iif("k8*", "accept"));
    assert_eq!(plan(&nft("drop", &cured)), Plan::default());
    assert_eq!(plan(&nft("accept", "")), Plan::default());
    let rejects = plan(&nft("accept", r#"{"counter":null},{"reject":null}"#));
    assert!(
        rejects.obstacles[0]
            .place
            .contains("its rule `counter reject`")
    );
    let set = r#"{"match":{"op":"==","left":{"meta":{"key":"iifname"}},"right":"@mine"}},{"accept":null}"#;
    assert!(!plan(&nft("drop", set)).obstacles[0].certain);
}

#[test]
fn an_isolated_network_asks_for_no_way_out() {
    let table = Table {
        isolated: true,
        ..table()
    };
    let rulesets = Rulesets::of(&[((Backend::Legacy, Family::V4), DOCKER)], "{}");
    let plan = rulesets.plan(&table, &host(), None);
    assert_eq!(places(&plan), [("DOCKER-USER".to_owned(), 1, 1)]);
}

fn table6() -> Table {
    Table {
        prefix6: Some("fd00:1:2:3::/64".parse().unwrap()),
        gateway6: Some("fd00:1:2:3::1".parse().unwrap()),
        ..table()
    }
}

/// The chains of `ufw enable` for IPv6 that matter.
const UFW6: &str = r"*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:ufw6-before-input - [0:0]
:ufw6-before-forward - [0:0]
:ufw6-after-input - [0:0]
:ufw6-skip-to-policy-input - [0:0]
-A INPUT -j ufw6-before-input
-A INPUT -j ufw6-after-input
-A FORWARD -j ufw6-before-forward
-A ufw6-after-input -p udp -m udp --dport 137 -j ufw6-skip-to-policy-input
-A ufw6-skip-to-policy-input -j DROP
-A ufw6-before-input -p ipv6-icmp -m icmp6 --icmpv6-type 135 -m hl --hl-eq 255 -j ACCEPT
-A ufw6-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw6-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
";

#[test]
fn p10_rules_of_ipv6_are_looked_at_where_a_network_has_it() {
    let both = |six: &str| Rulesets::of(&[((Backend::Nft, Family::V6), six)], "{}");
    let plan = |six: &str| both(six).plan(&table6(), &host(), None);
    let drops = filter(":INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT DROP [0:0]");
    assert_eq!(both(&drops).plan(&table(), &host(), None), Plan::default());
    let all = plan(&drops);
    assert_eq!(places(&all).len(), 3);
    let Accept::Iptables { family, rules, .. } = &all.accepts[0] else {
        panic!("{all:?}");
    };
    assert_eq!(*family, Family::V6);
    assert_eq!(
        rules[1..],
        [
            "-i k80 -p ipv6-icmp",
            "-d fd00:1:2:3::1 -i k80 -p udp -m udp --dport 53",
            "-d fd00:1:2:3::1 -i k80 -p tcp -m tcp --dport 53",
        ]
    );
    // The plan sees the added rules.
    let mut made = String::new();
    for accept in &all.accepts {
        let Accept::Iptables { chain, rules, .. } = accept else {
            panic!("{accept:?}");
        };
        for rule in rules {
            made += &format!("\n-A {chain} {rule} -m comment --comment \"kvmc k80\" -j ACCEPT");
        }
    }
    let made = drops.replace("\nCOMMIT", &format!("{made}\nCOMMIT"));
    assert_eq!(plan(&made), Plan::default());
    let without = made.replace(" -p ipv6-icmp", " -p icmp");
    assert_eq!(places(&plan(&without)).len(), 1, "no neighbour is found");
    assert_eq!(
        places(&plan(UFW6)),
        [("INPUT".to_owned(), 2, 4), ("FORWARD".to_owned(), 2, 2)]
    );
    let docker = DOCKER.replace("ufw", "ufw6");
    assert_eq!(places(&plan(&docker)), [("DOCKER-USER".to_owned(), 1, 2)]);
}

#[test]
fn p10_a_table_that_drops_ipv6_alone_is_an_obstacle_to_ipv6_alone() {
    let only6 =
        r#"{"match":{"op":"==","left":{"meta":{"key":"nfproto"}},"right":"ipv6"}},{"drop":null}"#;
    let rulesets = Rulesets::of(&[], &nft("accept", only6));
    assert_eq!(rulesets.plan(&table(), &host(), None), Plan::default());
    let seen = rulesets.plan(&table6(), &host(), None).obstacles.remove(0);
    assert!(seen.certain, "{seen}");
    assert_eq!(seen.packets[0], "from node to node by IPv6");
    let text = nft("drop", "").replace("\"inet\"", "\"ip6\"");
    let rulesets = Rulesets::of(&[], &text);
    assert_eq!(rulesets.plan(&table(), &host(), None), Plan::default());
    let obstacles = rulesets.plan(&table6(), &host(), None).obstacles;
    assert!(obstacles[0].packets.iter().all(|w| w.ends_with("IPv6")));
    // A negated match on an IPv4 address says nothing about IPv6 packets.
    let not_ours = r#"{"match":{"op":"!=","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":"10.0.0.1"}},{"drop":null}"#;
    let seen = Rulesets::of(&[], &nft("accept", not_ours)).plan(&table6(), &host(), None);
    assert!(
        !seen.obstacles[0]
            .packets
            .iter()
            .any(|w| w.ends_with("IPv6"))
    );
}

#[test]
fn firewalld_gets_the_bridge_in_its_zone_once() {
    let text = nft("accept", r#"{"reject":null}"#).replace("\"t\"", "\"firewalld\"");
    let rulesets = Rulesets::of(&[], &text);
    assert!(rulesets.has_firewalld());
    let plan = |zone| rulesets.plan(&table(), &host(), zone);
    assert!(matches!(plan(None).accepts[..], [Accept::Zone { .. }]));
    assert_eq!(plan(Some("trusted")), Plan::default());
    let other = plan(Some("work"));
    assert!(other.accepts.is_empty() && other.obstacles[0].place.contains("zone work"));
}

proptest! {
    #[test]
    fn no_text_of_rules_stops_the_plan(saved in "(:|-A |-j |-[iopsdg] |! |[A-Z]{1,7}|[ \"\\\\]|\n|k80|DROP|--dport |[0-9:/,.]{1,9}){0,60}") {
        planned(&filter(&format!(":FORWARD DROP [0:0]\n:A - [0:0]\n-A A -j A\n-A FORWARD -j A\n{saved}")));
    }
}

/// Other programs write these texts, so the parsers must take any input.
#[test]
fn fuzz_rules_of_others() {
    let words = |plan: &Plan| {
        let obstacles: Vec<_> = plan.obstacles.iter().map(|o| o.certain).collect();
        format!("{} {obstacles:?}", plan.accepts.len())
    };
    kvmc_fuzz::run("iptables", |bytes| {
        let saved = String::from_utf8_lossy(bytes);
        let all = Rulesets::of(&[((Backend::Legacy, Family::V4), &saved)], "{}");
        let _any = all.has_firewalld();
        let _any = iptables::deletions(&saved, "kvmc k80", None);
        words(&all.plan(&table(), &host(), None))
    });
    kvmc_fuzz::run("nft", |bytes| {
        let listing = String::from_utf8_lossy(bytes);
        let all = Rulesets::of(&[], &listing);
        words(&all.plan(&table(), &host(), Some("public")))
    });
}
