//! Tests bridges and taps.

use std::os::fd::OwnedFd;

use kvmc_netns::{Change, LinkError, Links, SpareTap, TapSpec};

use super::support::{BRIDGE, BRIDGE_MAC, bridge, in_namespace, ip, pair, seen, with_bridge};

#[test]
fn a_bridge_made_and_removed_leaves_links_addresses_and_routes_as_they_were() {
    in_namespace(async || {
        pair("other");
        ip(&["address", "add", "198.51.100.1/24", "dev", "other"]);
        ip(&["route", "add", "default", "via", "198.51.100.2"]);
        settled().await;
        let links = Links::open().unwrap();
        let before = seen();
        assert_eq!(
            links.ensure_bridge(&bridge()).await.unwrap(),
            Change::Created
        );
        let made = seen();
        assert!(made.contains("192.0.2.1/24"), "{made}");
        assert!(made.contains(&BRIDGE_MAC.to_string()), "{made}");
        let again = links.ensure_bridge(&bridge()).await.unwrap();
        assert_eq!((again, seen()), (Change::Unchanged, made));
        assert_eq!(links.delete(BRIDGE).await.unwrap(), Change::Removed);
        assert_eq!(seen(), before);
        assert_eq!(links.delete(BRIDGE).await.unwrap(), Change::Unchanged);
    });
}

#[test]
fn lldp_goes_from_port_to_port_where_that_is_set() {
    in_namespace(async || {
        let links = with_bridge().await;
        let forwarded = || {
            let all = ip(&["-d", "link", "show", BRIDGE]);
            let mask = all.split("group_fwd_mask ").nth(1).unwrap_or_default();
            mask.split_whitespace().next().map(str::to_owned)
        };
        assert_eq!(forwarded().as_deref(), Some("0"));
        let spec = kvmc_netns::BridgeSpec {
            lldp: true,
            ..bridge()
        };
        assert_eq!(links.ensure_bridge(&spec).await.unwrap(), Change::Changed);
        assert_eq!(forwarded().as_deref(), Some("0x4000"));
        assert_eq!(links.ensure_bridge(&spec).await.unwrap(), Change::Unchanged);
        assert_eq!(
            links.ensure_bridge(&bridge()).await.unwrap(),
            Change::Changed
        );
        assert_eq!(forwarded().as_deref(), Some("0"));
    });
}

/// Waits for the duplicate address detection of other links.
async fn settled() {
    for _ in 0..100 {
        // On a busy host the carrier, and with it the links' own addresses, come a moment later.
        let seen = seen();
        if seen.contains("inet6 fe80") && !seen.contains("tentative") {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[test]
fn a_bridge_that_was_tampered_with_is_set_right() {
    in_namespace(async || {
        let links = with_bridge().await;
        let whole = seen();
        for change in [
            &["link", "set", BRIDGE, "down"][..],
            &["link", "set", BRIDGE, "mtu", "1300"],
            &["address", "flush", "dev", BRIDGE],
            &["link", "set", BRIDGE, "type", "bridge", "stp_state", "1"],
        ] {
            ip(change);
            let set_right = links.ensure_bridge(&bridge()).await.unwrap();
            assert_eq!(set_right, Change::Changed, "{change:?}");
            assert_eq!(seen(), whole, "{change:?}");
            let details = ip(&["-details", "link", "show", BRIDGE]);
            assert!(details.contains("stp_state 0"), "{change:?}: {details}");
        }
    });
}

#[test]
fn a_link_of_the_bridges_name_that_is_another_thing_is_not_touched() {
    in_namespace(async || {
        pair(BRIDGE);
        settled().await;
        let before = seen();
        let links = Links::open().unwrap();
        let error = links.ensure_bridge(&bridge()).await.unwrap_err();
        assert!(matches!(error, LinkError::Foreign { .. }), "{error}");
        assert_eq!(seen(), before);
    });
}

fn tap() -> TapSpec {
    TapSpec {
        name: "tb0-tap".to_owned(),
        bridge: BRIDGE.to_owned(),
        mtu: 1400,
    }
}

#[test]
fn a_tap_is_a_port_of_its_bridge_and_goes_with_its_descriptor() {
    in_namespace(async || {
        let links = with_bridge().await;
        let before = seen();
        let fd: OwnedFd = links.create_tap(&tap()).await.unwrap();
        let made = ip(&["-oneline", "link", "show", "master", BRIDGE]);
        assert!(
            made.contains("tb0-tap") && made.contains("mtu 1400"),
            "{made}"
        );
        links.check_tap(&tap()).await.unwrap();
        let error = links.create_tap(&tap()).await.unwrap_err();
        assert!(matches!(error, LinkError::Tap { .. }), "shared: {error}");
        drop(fd);
        assert_eq!(seen(), before);
    });
}

#[test]
fn a_tap_that_is_not_in_its_bridge_is_caught() {
    in_namespace(async || {
        let links = with_bridge().await;
        ip(&["link", "add", "elsewhere", "type", "bridge"]);
        let tap = tap();
        let _fd = links.create_tap(&tap).await.unwrap();
        for (change, what) in [
            (
                &["link", "set", "tb0-tap", "nomaster"][..],
                "not a port of `tb0`",
            ),
            (
                &["link", "set", "tb0-tap", "master", "elsewhere"],
                "not a port of `tb0`",
            ),
            (
                &["link", "set", "tb0-tap", "master", BRIDGE, "down"],
                "it is down",
            ),
            (
                &["link", "set", "tb0-tap", "up", "mtu", "1300"],
                "MTU 1300, not 1400",
            ),
            (&["link", "delete", "tb0-tap"], "it is gone"),
        ] {
            ip(change);
            let error = links.check_tap(&tap).await.unwrap_err();
            assert!(matches!(error, LinkError::ReadBack { .. }), "{error}");
            assert!(error.to_string().contains(what), "{error}");
        }
        ip(&["link", "delete", BRIDGE]);
        let error = links.check_tap(&tap).await.unwrap_err();
        assert!(matches!(error, LinkError::Missing { .. }), "{error}");
    });
}

#[test]
fn a_tap_of_a_link_that_is_no_bridge_is_refused() {
    in_namespace(async || {
        pair(BRIDGE);
        let links = Links::open().unwrap();
        let error = links.create_tap(&tap()).await.unwrap_err();
        assert!(matches!(error, LinkError::Foreign { .. }), "{error}");
        assert!(!seen().contains("tb0-tap"));
    });
}

#[test]
fn spare_taps_take_places_and_names_of_others() {
    in_namespace(async || {
        let links = with_bridge().await;
        let taps = [1, 2].map(|n| TapSpec {
            name: format!("tb0-tap{n}"),
            ..tap()
        });
        let spares = [1, 2].map(|n| SpareTap {
            name: format!("spare{n}"),
            takes_place_of: taps[n - 1].clone(),
            old_name: format!("old{n}"),
        });
        let mut old = Vec::new();
        let mut new = Vec::new();
        for (tap, spare) in taps.iter().zip(&spares) {
            old.push(links.create_tap(tap).await.unwrap());
            new.push(links.create_spare_tap(&spare.name).await.unwrap());
        }
        let waiting = ip(&["-oneline", "link", "show", "spare1"]);
        assert!(
            !waiting.contains("master") && !waiting.contains("UP"),
            "{waiting}"
        );
        let index = |name: &str| {
            ip(&["-oneline", "link", "show", name])
                .split(':')
                .next()
                .map(str::to_owned)
        };
        let (was, spare) = (index("tb0-tap2"), index("spare2"));
        links.swap_taps(&spares).await.unwrap();
        assert_eq!((index("old2"), index("tb0-tap2")), (was, spare));
        for tap in &taps {
            links.check_tap(tap).await.unwrap();
        }
        let gone = ip(&["-oneline", "link", "show", "old1"]);
        assert!(!gone.contains("master") && !gone.contains("UP"), "{gone}");
        drop(old);
        let ports = ip(&["-oneline", "link", "show", "master", BRIDGE]);
        assert_eq!(ports.lines().count(), 2, "{ports}");
        // With one of them missing nothing changes.
        let before = seen();
        let error = links.swap_taps(&spares).await.unwrap_err();
        assert!(matches!(error, LinkError::Missing { .. }), "{error}");
        assert_eq!(seen(), before);
    });
}
