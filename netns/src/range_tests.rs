use super::*;

fn subnet(text: &str) -> Result<Ipv4Network, String> {
    validate_subnet(text).map_err(|e| e.to_string())
}

#[test]
fn subnets_that_are_unusable_are_named() {
    assert!(subnet("192.168.80.0/24").is_ok());
    for (bad, word) in [
        ("192.168.80.5/24", "192.168.80.0/24"),
        ("fd00::/64", "IPv6"),
        ("10.0.0.0/31", "/31"),
        ("10.0.0.0/32", "/32"),
        ("127.0.0.0/24", ""),
        ("169.254.0.0/24", ""),
        ("224.0.0.0/24", ""),
        ("8.8.8.0/24", ""),
        ("0.0.0.0/0", ""),
        ("nonsense", ""),
    ] {
        let error = subnet(bad).expect_err(bad);
        assert!(error.contains(word), "{bad}: {error}");
    }
}

#[test]
fn overlaps_are_found_both_ways_and_default_routes_do_not_count() {
    let want: Ipv4Network = "192.168.80.0/24".parse().unwrap();
    let route = |to: &str| Route {
        destination: to.parse().unwrap(),
        link: Some(2),
        link_name: Some("vpn0".to_owned()),
        gateway: None,
        table: 254,
        metric: 0,
    };
    for (to, overlaps) in [
        ("192.168.80.128/25", true),
        ("192.168.0.0/16", true),
        ("192.168.81.0/24", false),
        ("0.0.0.0/0", false),
    ] {
        assert_eq!(
            overlap(want, &[], &[route(to)], None).is_some(),
            overlaps,
            "{to}"
        );
    }
}

#[test]
fn a_free_subnet_overlaps_nothing_taken() {
    let taken: Vec<IpNetwork> = ["192.168.0.0/16", "10.0.0.0/9"]
        .map(|t| t.parse().unwrap())
        .to_vec();
    let free = free_subnet(24, &taken).unwrap();
    assert!(
        taken.iter().all(|t| !t.contains(free.network().into())),
        "{free}"
    );
}

#[test]
fn where_a_vpn_routes_all_of_rfc_1918_a_subnet_is_found_beside_it() {
    let taken =
        |texts: &[&str]| -> Vec<IpNetwork> { texts.iter().map(|t| t.parse().unwrap()).collect() };
    let mut all = taken(&["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]);
    assert_eq!(free_subnet(24, &all).unwrap().to_string(), "198.18.0.0/24");
    all.extend(taken(&["198.18.0.0/15"]));
    assert_eq!(free_subnet(24, &all).unwrap().to_string(), "100.64.0.0/24");
    all.extend(taken(&["100.64.0.0/10"]));
    assert_eq!(free_subnet(24, &all), None);
}

#[test]
fn a_route_to_more_than_the_subnet_gives_way_to_it() {
    let want = "192.168.80.0/24".parse().unwrap();
    let route = |text: &str| Route {
        destination: text.parse().unwrap(),
        link: Some(3),
        link_name: Some("tun0".to_owned()),
        gateway: None,
        table: 254,
        metric: 0,
    };
    for (text, table, gives_way) in [
        ("192.168.0.0/16", 254, true),
        // A rule may have this table looked up first.
        ("192.168.0.0/16", 51820, false),
        ("192.168.80.0/24", 254, false),
        ("192.168.80.128/25", 254, false),
    ] {
        let route = Route {
            table,
            ..route(text)
        };
        assert!(overlap(want, &[], std::slice::from_ref(&route), None).is_some());
        assert_eq!(
            insoluble(want, &[], &[route]).is_none(),
            gives_way,
            "{text}"
        );
    }
    let own = Address {
        link: 2,
        link_name: "eth0".to_owned(),
        network: "192.168.3.4/16".parse().unwrap(),
    };
    assert!(insoluble(want, &[own], &[route("192.168.0.0/16")]).is_some());
}

#[test]
fn link_names_are_what_the_kernel_takes() {
    assert!(validate_link_name("k80").is_ok());
    for bad in ["", ".", "..", "a/b", "a b", "0123456789abcdef", "a:b"] {
        assert!(validate_link_name(bad).is_err(), "{bad}");
    }
}
