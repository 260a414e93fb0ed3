use proptest::prelude::*;

use super::*;

const NODE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 80, 2));

fn plain(priority: u32, action: Action) -> Rule {
    Rule {
        priority,
        action,
        from: None,
        to: None,
        incoming: None,
        mark: None,
        protocol: None,
        ports: None,
        users: None,
        suppressed: None,
        inverted: false,
        is_of_others: false,
    }
}

fn to(priority: u32, network: &str, action: Action) -> Rule {
    Rule {
        to: network.parse().ok(),
        ..plain(priority, action)
    }
}

fn route(table: u32, destination: &str, kind: RouteType) -> Candidate {
    Candidate {
        table,
        destination: destination.parse().unwrap(),
        metric: 0,
        kind,
    }
}

fn decided(rules: &[Rule], routes: &[Candidate]) -> Option<(String, Option<String>)> {
    let decision = first(rules, routes, NODE, 22)?;
    let route = decision.route.map(|r| r.to_string());
    Some((decision.rule.to_string(), route))
}

#[test]
fn the_rule_that_takes_the_range_is_found_as_the_kernel_finds_it() {
    let main = plain(32766, Action::Lookup(254));
    let ours = route(254, "192.168.80.0/24", RouteType::Unicast);
    let vpn = route(100, "0.0.0.0/0", RouteType::Unicast);
    let routes = [ours.clone(), vpn.clone()];
    let takes = |rule: Rule| decided(&[rule, main.clone()], &routes).unwrap();
    let by_main = (
        "32766: from all lookup main".to_owned(),
        Some("192.168.80.0/24".to_owned()),
    );
    assert!(main.is_usual());

    let range = to(1000, "192.168.0.0/16", Action::Lookup(100));
    assert!(!range.is_usual());
    let (rule, route_) = takes(range.clone());
    assert_eq!(rule, "1000: from all to 192.168.0.0/16 lookup 100");
    assert_eq!(route_.as_deref(), Some("0.0.0.0/0"));
    let (rule, _) = takes(to(5, "192.168.80.2/32", Action::Drop("blackhole")));
    assert_eq!(rule, "5: from all to 192.168.80.2/32 blackhole");

    // WireGuard's way: marked packets of its own pass, and a shorter prefix of main does not count.
    let mut wireguard = plain(32765, Action::Lookup(100));
    (wireguard.mark, wireguard.inverted) = (Some((0xca6c, u32::MAX)), true);
    assert_eq!(
        takes(wireguard.clone()).0,
        "32765: not from all fwmark 0xca6c lookup 100"
    );
    let mut suppressing = plain(32764, Action::Lookup(254));
    suppressing.suppressed = Some(0);
    let all = [suppressing.clone(), wireguard.clone(), main.clone()];
    assert_eq!(
        decided(&all, &routes).unwrap().1,
        by_main.1,
        "the /24 counts"
    );
    let default = route(254, "0.0.0.0/0", RouteType::Unicast);
    assert_eq!(
        decided(&all, &[default, vpn]).unwrap().0,
        wireguard.to_string()
    );

    for passed in [
        to(1, "10.0.0.0/8", Action::Lookup(100)),
        to(1, "192.168.0.0/16", Action::Lookup(7)),
        Rule {
            incoming: Some("eth0".to_owned()),
            ..range.clone()
        },
        Rule {
            from: "10.0.0.0/8".parse().ok(),
            ..range.clone()
        },
        Rule {
            mark: Some((1, 0xff)),
            ..range.clone()
        },
        Rule {
            protocol: Some(17),
            ..range.clone()
        },
        Rule {
            ports: Some((80, 443)),
            ..range.clone()
        },
        Rule {
            users: Some((1000, 2000)),
            ..range.clone()
        },
        Rule {
            is_of_others: true,
            ..range.clone()
        },
        plain(1, Action::Goto(32766)),
        plain(1, Action::Nothing),
    ] {
        let all = [passed.clone(), main.clone()];
        assert_eq!(decided(&all, &routes), Some(by_main.clone()), "{passed}");
    }
    let jumped = [plain(1, Action::Goto(2000)), range, main];
    assert_eq!(
        decided(&jumped, &routes),
        Some(by_main),
        "goto passes the rule by"
    );
    let thrown = [ours, route(100, "192.168.80.0/25", RouteType::Throw)];
    assert!(decided(&[plain(1, Action::Lookup(100))], &thrown).is_none());
    assert_eq!([name(255), name(100)], ["local", "100"]);
}

proptest! {
    #[test]
    fn any_rules_end(all in proptest::collection::vec((any::<u32>(), any::<u32>(), 0..4_u8), 0..20)) {
        let rules: Vec<_> = all
            .iter()
            .map(|(priority, other, action)| plain(*priority, match action {
                0 => Action::Lookup(*other),
                1 => Action::Goto(*other),
                2 => Action::Nothing,
                _ => Action::Drop("prohibit"),
            }))
            .collect();
        let _any = first(&rules, &[], NODE, 22).map(|d| d.rule.to_string());
    }
}
