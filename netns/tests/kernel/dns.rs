//! Tests the name server on a bridge by dig: from a port of the bridge, from the host, and from elsewhere.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use kvmc_netns::dns::Server;
use kvmc_netns::{Change, Links};

use super::name_server::Serving;
use super::namespace::{Namespace, node};
use super::resolver;
use super::support::{BRIDGE, bridge, in_namespace, ip, pair, run, with_bridge};

const SERVER: &str = "@192.0.2.1";
const UPSTREAM: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);
const OTHER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 6);

fn host_dig(arguments: &[&str]) -> String {
    run("dig", &[&["+tries=1", "+timeout=6"], arguments].concat())
}

fn status(answer: &str) -> &str {
    let rest = answer.split("status: ").nth(1).unwrap_or_default();
    rest.split(',').next().unwrap_or_default()
}

#[test]
fn dig_finds_every_kind_of_record_from_a_node_and_from_the_host() {
    in_namespace(async || {
        let _links = with_bridge().await;
        resolver::serve(UPSTREAM);
        let _serving = Serving::start("nameserver 203.0.113.5\n", true);
        let node = node("c0");
        for (name, kind, answer) in [
            ("master0", "A", "192.0.2.2"),
            ("master0.k80.internal", "A", "192.0.2.2"),
            ("lb.k80.internal", "A", "192.0.2.4"),
            ("any.thing.lb.k80.internal", "A", "192.0.2.4"),
            ("2.2.0.192.in-addr.arpa", "PTR", "master0.k80.internal."),
            ("k80.internal", "NS", "gateway.k80.internal."),
            ("k80.internal", "MX", "10 api.k80.internal."),
            (
                "k80.internal",
                "SOA",
                "gateway.k80.internal. hostmaster.k80.internal. 1 3600 600 86400 10",
            ),
            ("api.k80.internal", "A", "192.0.2.9"),
            ("six.k80.internal", "AAAA", "fd00::9"),
            ("alias.k80.internal", "A", "api.k80.internal.\n192.0.2.9"),
            ("out.k80.internal", "A", "www.example.com.\n203.0.113.80"),
            ("note.k80.internal", "TXT", "\"two words\""),
            ("_http._tcp.k80.internal", "SRV", "1 2 80 api.k80.internal."),
            ("x.apps.k80.internal", "A", "192.0.2.8"),
            ("own.example.com", "A", "192.0.2.7"),
            ("www.example.com", "A", "203.0.113.80"),
            ("www.example.com", "AAAA", "2001:db8::80"),
            ("none.example.com", "A", ""),
        ] {
            for stream in ["+notcp", "+tcp"] {
                let question = [SERVER, "+short", stream, name, kind];
                assert_eq!(node.dig(&question).trim(), answer, "{name} {kind} {stream}");
                assert_eq!(host_dig(&question).trim(), answer, "{name} {kind} {stream}");
            }
        }
        assert_eq!(
            host_dig(&[SERVER, "+short", "-x", "192.0.2.2"]).trim(),
            "master0.k80.internal."
        );
        for (name, code) in [
            ("nobody.k80.internal", "NXDOMAIN"),
            ("none.example.com", "NXDOMAIN"),
            ("api.k80.internal", "NOERROR"),
            ("broken.example.com", "SERVFAIL"),
        ] {
            let said = node.dig(&[SERVER, name, "AAAA"]);
            assert_eq!(status(&said), code, "{said}");
        }
    });
}

#[test]
fn long_answers_come_by_stream_when_a_datagram_is_too_small() {
    in_namespace(async || {
        let _links = with_bridge().await;
        let asked = resolver::serve(UPSTREAM);
        let _serving = Serving::start("nameserver 203.0.113.5\n", true);
        let node = node("c0");
        for name in ["long.k80.internal", "big.example.com"] {
            let said = node.dig(&[SERVER, name, "TXT"]);
            assert!(said.contains("Truncated, retrying in TCP mode"), "{said}");
            let lines = said.lines().filter(|l| l.contains("IN\tTXT\t")).count();
            assert_eq!(lines, 20, "{said}");
            let size: usize = said.split("rcvd: ").nth(1).unwrap().trim().parse().unwrap();
            assert!(size > 5000, "{size} bytes");
            // A client without a retry learns that the answer is truncated.
            let said = node.dig(&[SERVER, "+ignore", "+noedns", name, "TXT"]);
            assert!(
                said.contains("flags: qr tc rd ra") || said.contains("flags: qr aa tc rd ra"),
                "{said}"
            );
        }
        assert_eq!(
            asked.count("big.example.com."),
            2,
            "by datagram, by stream, then never again"
        );
    });
}

#[test]
fn the_hosts_resolvers_are_followed_while_they_change() {
    in_namespace(async || {
        let _links = with_bridge().await;
        resolver::serve(UPSTREAM);
        resolver::serve(OTHER);
        let serving = Serving::start("nameserver 203.0.113.5\n", true);
        let node = node("c0");
        let who = || node.dig(&[SERVER, "+short", "who.example.com", "TXT"]);
        assert_eq!(who().trim(), "\"203.0.113.5\"");
        serving.resolvers("nameserver 203.0.113.6\n");
        assert_eq!(
            who().trim(),
            "\"203.0.113.6\"",
            "what the other said was kept"
        );
        // A silent resolver delays the first question a little.
        serving.resolvers("nameserver 203.0.113.66\nnameserver 203.0.113.5\n");
        let began = Instant::now();
        assert_eq!(who().trim(), "\"203.0.113.5\"");
        assert!(began.elapsed() < Duration::from_secs(3));
        let began = Instant::now();
        assert_eq!(
            node.dig(&[SERVER, "+short", "www.example.com"]).trim(),
            "203.0.113.80"
        );
        assert!(
            began.elapsed() < Duration::from_secs(1),
            "the dead one was asked first again"
        );
    });
}

#[test]
fn without_a_resolver_the_clusters_names_are_still_known() {
    in_namespace(async || {
        let _links = with_bridge().await;
        let serving = Serving::start("", true);
        let node = node("c0");
        for (text, why) in [
            ("", "the host has no resolver"),
            ("nameserver 192.0.2.1\n", "a query would loop"),
        ] {
            serving.resolvers(text);
            let began = Instant::now();
            let said = node.dig(&[SERVER, "www.example.com"]);
            assert_eq!(status(&said), "SERVFAIL", "{said}");
            assert!(said.contains(why), "{said}");
            assert!(began.elapsed() < Duration::from_secs(1));
            assert_eq!(node.dig(&[SERVER, "+short", "master0"]).trim(), "192.0.2.2");
        }
        serving.resolvers("nameserver 203.0.113.66\n");
        let began = Instant::now();
        let said = node.dig(&[SERVER, "www.example.com"]);
        assert!(
            said.contains("no answer from the host's resolver 203.0.113.66"),
            "{said}"
        );
        assert!(
            began.elapsed() < Duration::from_millis(5500),
            "clients give up after 5 s"
        );
    });
}

#[test]
fn names_of_ours_and_reserved_ones_are_never_forwarded() {
    in_namespace(async || {
        let _links = with_bridge().await;
        let asked = resolver::serve(UPSTREAM);
        let _serving = Serving::start("nameserver 203.0.113.5\n", true);
        let node = node("c0");
        for name in [
            "nobody.k80.internal",
            "nobody",
            "x.local",
            "x.localhost",
            "x.invalid",
            "x.test",
            "x.onion",
            "77.2.0.192.in-addr.arpa",
            "1.0.0.127.in-addr.arpa",
            "_dns.resolver.arpa",
        ] {
            node.dig(&[SERVER, name, "A"]);
            node.dig(&[SERVER, name, "PTR"]);
        }
        assert!(asked.names().is_empty(), "{:?}", asked.names());
    });
}

#[test]
fn p57_dns_is_served_on_the_bridge_only_and_answers_lead_nowhere_inside() {
    in_namespace(async || {
        let _links = with_bridge().await;
        let asked = resolver::serve(UPSTREAM);
        let _serving = Serving::start("nameserver 203.0.113.5\n", true);
        let node = node("c0");
        let out = pair("out");
        ip(&["address", "add", "198.51.100.1/24", "dev", "out"]);
        let stranger = Namespace::new(&out, "198.51.100.9/24");
        stranger.run(
            "ip",
            &["route", "add", "192.0.2.0/24", "via", "198.51.100.1"],
        );
        stranger.reaches("192.0.2.1");
        for server in [SERVER, "@198.51.100.1"] {
            for stream in ["+notcp", "+tcp"] {
                assert!(
                    stranger.hears_nothing(&[server, stream, "master0"]),
                    "{server} {stream}"
                );
            }
        }
        // A spoofed source would make the host send answers to that address.
        node.run("ip", &["address", "add", "198.51.100.9/32", "dev", "lo"]);
        assert!(node.hears_nothing(&[SERVER, "-b", "198.51.100.9", "master0"]));
        for name in ["evil.example.com", "alias.example.com"] {
            let said = node.dig(&[SERVER, name, "A"]);
            assert_eq!(status(&said), "NOERROR", "{said}");
            assert!(
                said.contains("ANSWER: 0,") && said.contains("(Blocked)"),
                "{said}"
            );
        }
        assert_eq!(asked.count("evil.example.com."), 1);
        assert_eq!(node.dig(&[SERVER, "+short", "master0"]).trim(), "192.0.2.2");
    });
}

#[test]
fn an_isolated_network_asks_nobody() {
    in_namespace(async || {
        let _links = with_bridge().await;
        let asked = resolver::serve(UPSTREAM);
        let _serving = Serving::start("nameserver 203.0.113.5\n", false);
        let node = node("c0");
        let said = node.dig(&[SERVER, "www.example.com"]);
        assert_eq!(status(&said), "SERVFAIL", "{said}");
        assert!(said.contains("this network is isolated"), "{said}");
        assert!(asked.names().is_empty());
        assert_eq!(node.dig(&[SERVER, "+short", "master0"]).trim(), "192.0.2.2");
        assert_eq!(
            host_dig(&[SERVER, "+short", "www.example.com"]).trim(),
            "203.0.113.80"
        );
    });
}

#[test]
fn the_port_is_had_before_the_bridge_has_its_address() {
    in_namespace(async || {
        let links = Links::open().unwrap();
        links.prepare_bridge(&bridge()).await.unwrap();
        assert!(!ip(&["-o", "address"]).contains("192.0.2.1"));
        let _serving = Serving::start("", true);
        let again = links.ensure_bridge(&bridge()).await.unwrap();
        assert_eq!(again, Change::Changed);
        // What a program does that binds each address as it appears.
        let late = UdpSocket::bind("192.0.2.1:53").unwrap_err();
        assert_eq!(late.kind(), std::io::ErrorKind::AddrInUse);
        let node = node("c0");
        assert_eq!(node.dig(&[SERVER, "+short", "master0"]).trim(), "192.0.2.2");
    });
}

#[test]
fn pods_that_the_host_routes_to_by_the_bridge_are_answered() {
    in_namespace(async || {
        let _links = with_bridge().await;
        let _serving = Serving::start("", true);
        let node = node("c0");
        for address in ["10.244.1.5/32", "10.244.2.5/32"] {
            node.run("ip", &["address", "add", address, "dev", "lo"]);
        }
        // As of a plugin that does not masquerade: the host has a route to the pods of this node alone.
        ip(&["route", "add", "10.244.1.0/24", "via", "192.0.2.2"]);
        for stream in ["+notcp", "+tcp"] {
            let question = ["-b", "10.244.1.5", SERVER, "+short", stream, "master0"];
            assert_eq!(node.dig(&question).trim(), "192.0.2.2", "{stream}");
        }
        assert!(node.hears_nothing(&["-b", "10.244.2.5", SERVER, "master0"]));
    });
}

#[test]
fn who_has_port_53_is_named() {
    in_namespace(async || {
        let _links = with_bridge().await;
        let taker = UdpSocket::bind("0.0.0.0:53").unwrap();
        let range = "192.0.2.1/24".parse().unwrap();
        let pid = format!("(pid {}, on 0.0.0.0)", std::process::id());
        for error in [
            Server::bind(BRIDGE, range, true).unwrap_err(),
            Server::check_free([192, 0, 2, 1].into()).unwrap_err(),
        ] {
            let error = error.to_string();
            assert!(
                error.starts_with("UDP port 53 of 192.0.2.1 is taken by "),
                "{error}"
            );
            assert!(error.contains(&pid), "{error}");
        }
        drop(taker);
        let _taker = std::net::TcpListener::bind("[::]:53").unwrap();
        let error = Server::bind(BRIDGE, range, true).unwrap_err().to_string();
        assert!(
            error.starts_with("TCP port 53 of 192.0.2.1 is taken by "),
            "{error}"
        );
        // The check also works for an address that the host does not have yet.
        drop(_taker);
        Server::check_free([198, 51, 100, 77].into()).unwrap();
        drop(Server::bind(BRIDGE, range, true).unwrap());
    });
}
