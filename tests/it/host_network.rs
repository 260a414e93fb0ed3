//! What the host's own network does to a cluster's, on the tests' fake QEMU.

use super::fake;

const ONE: &str = r#"ONE="--accel tcg $SMALL --masters 1 --workers 0 --load-balancers 0""#;

fn runs(script: &str) -> String {
    fake::runs(&fake::bench(), &format!("{ONE}\n{script}"))
}

#[test]
fn a_name_server_that_binds_each_new_address_does_not_get_port_53() {
    runs(
        r#"
        # Of all addresses but 192.168.80.1 it has port 53, and takes each new one as it appears.
        dnsmasq --no-daemon --bind-dynamic --conf-file=/dev/null --no-resolv --no-hosts --user=root --pid-file= 2> ../dnsmasq.log &
        server=$!
        until ss -Hlnu | grep -q 127.0.0.1:53; do sleep 0.05; done
        for round in 1 2 3 4 5; do
          ip link add x$round type bridge; ip link set x$round up; ip addr add 198.51.100.$round/32 dev x$round
          until ss -Hlnu | grep -q "198.51.100.$round:53"; do sleep 0.05; done
          kvmc up $ONE || fail "round $round: $(ss -Hlnup sport = 53)"
          test "$(dig @192.168.80.1 +short +tries=1 +timeout=6 master0.k80.internal)" = 192.168.80.2 || fail "round $round: the name server does not answer"
          kvmc stop --timeout 20; kvmc start || fail "round $round: start"
          kvmc down
        done
        "#,
    );
}

#[test]
fn reserved_addresses_and_those_in_use_are_given_to_nobody() {
    let said = runs(
        r#"
        SMALL="$SMALL --workers 0 --load-balancers 0 --accel tcg --cold"
        kvmc up $SMALL --masters 2 --reserved 192.168.80.3-192.168.80.4
        kvmc status --json > ../status; grep -q '"192.168.80.5"' ../status || fail "master1 is not behind the reserved range"
        # A virtual IP on a node, as of kube-vip, that is on no record.
        ip link add port0 type veth peer name node0; ip link set port0 master k80 up
        ip netns add vip; ip link set node0 netns vip
        ip -n vip addr add 192.168.80.6/24 dev node0; ip -n vip link set node0 up
        ip netns exec vip dig @192.168.80.1 +short +tries=3 +timeout=3 master0 | grep -q 192.168.80.2 || fail "the other machine is not there"
        kvmc up $SMALL --masters 3
        kvmc status --json > ../status; grep -q '"192.168.80.7"' ../status || fail "master2 has the virtual IP"
        # Live: a range for MetalLB is an afterthought.
        if kvmc up --reserved 192.168.80.7-192.168.80.9 2> ../said; then fail "a node's address was reserved"; fi
        cat ../said
        kvmc up --reserved 192.168.80.8-192.168.80.254
        cat > ../lease.sh <<'SH'
#!/bin/sh
[ "$1" != bound ] || echo "$ip" > "${0%/*}/lease"
SH
        chmod 755 ../lease.sh
        ip -n vip addr flush dev node0
        ip netns exec vip udhcpc -i node0 -n -q -t 3 -T 1 -s ../lease.sh >/dev/null 2>&1 || fail "no lease"
        grep -Eqx '192.168.80.(3|4|6)' ../lease || fail "DHCP gave $(cat ../lease)"
        kvmc down
        "#,
    );
    assert!(
        said.contains("network.reserved holds 192.168.80.7, the address of master2"),
        "{said}"
    );
}

#[test]
fn a_range_beside_a_vpn_is_found_and_one_inside_may_be_insisted_on() {
    let said = runs(
        r#"
        ip link add tun0 type bridge; ip link set tun0 up; ip addr add 172.31.255.9/32 dev tun0
        for range in 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16; do ip route add $range dev tun0; done
        host > ../before
        if kvmc up $ONE; then fail "the VPN's range was taken"; fi
        host > ../after; same ../before ../after 'the host after the refusal'
        kvmc up $ONE --subnet auto; ip -o -4 addr show dev k80 | grep -q 198.18.0.1/24 || fail "not beside the VPN"
        kvmc down
        kvmc up $ONE --subnet 192.168.80.0/24
        ip route get 192.168.80.2 | grep -q 'dev k80' || fail "the /24 does not win"
        # What the cluster has, it has again.
        kvmc stop --timeout 20; kvmc start; kvmc down
        ip route add 192.168.80.0/24 dev tun0
        if kvmc up $ONE --subnet 192.168.80.0/24; then fail "one range twice"; fi
        "#,
    );
    for words in [
        "192.168.80.0/24 overlaps the route to 192.168.0.0/16 by tun0\n",
        "--subnet 192.168.80.0/24 takes it all the same, and its addresses lead to the nodes",
        "warning: 192.168.80.0/24 overlaps the route to 192.168.0.0/16 by tun0; 192.168.80.0/24 leads to the nodes from now on",
        "198.18.0.0/24 is free; choose it with --subnet 198.18.0.0/24 or --subnet auto",
    ] {
        assert!(said.contains(words), "no `{words}` in: {said}");
    }
}

#[test]
fn up_names_the_ranges_of_pods_that_hold_the_subnet() {
    let said = runs(
        "kvmc up $ONE; kvmc up $ONE; kvmc down; kvmc up $ONE --subnet 172.20.0.0/24; kvmc down",
    );
    let note = "note: 192.168.80.0/24 is in the default range of Calico's pods (192.168.0.0/16)";
    assert_eq!(said.matches("note: ").count(), 1, "{said}");
    assert!(said.contains(note), "{said}");
}

#[test]
fn names_that_are_cut_off_are_told_by_status_until_they_are_let_through() {
    runs(
        r#"
        kvmc up $ONE
        ask() { dig @192.168.80.1 +tries=1 +timeout=6 "$@"; }
        ask git.corp.local | grep -q NXDOMAIN || fail "it was asked of others"
        n=0; until kvmc status | grep -q 'names below corp.local are not forwarded to the host.s resolvers; dns.forward = \["corp.local"\]'; do
          n=$((n + 1)); test $n -lt 50 || fail "status says: $(kvmc status)"; sleep 0.2
        done
        kvmc up --dns-forward corp.local
        # Of the test's host there is nobody to ask, which is another answer.
        ask git.corp.local | grep -q SERVFAIL || fail "it is not asked of others"
        n=0; while kvmc status | grep -q corp.local; do
          n=$((n + 1)); test $n -lt 50 || fail "status still says: $(kvmc status)"; sleep 0.2
        done
        kvmc down
        "#,
    );
}

#[test]
fn jumbo_frames_lldp_and_links_of_containers_are_settings() {
    runs(
        r#"
        kvmc up $ONE --mtu 9000 --lldp --reach-from up0
        ip -o link show k80 | grep -q 'mtu 9000' || fail "the bridge's MTU"
        ip -o link show k80-master0 | grep -q 'mtu 9000' || fail "the tap's MTU"
        ip -d link show k80 | grep -q 'group_fwd_mask 0x4000' || fail "LLDP is not passed on"
        nft list table inet kvmc_k80 | grep -q 'iifname "up0" oifname "k80" accept' || fail "up0 does not reach the nodes"
        kvmc stop --timeout 20
        kvmc up --mtu auto --lldp=false --reach-from ''
        ip -o link show k80 | grep -q 'mtu 1400' || fail "the MTU is not the uplink's"
        ip -d link show k80 | grep -q 'group_fwd_mask 0 ' || fail "LLDP is passed on"
        if nft list table inet kvmc_k80 | grep -q 'iifname "up0" oifname "k80" accept'; then fail "up0 reaches the nodes"; fi
        kvmc down
        "#,
    );
}

#[test]
fn a_path_without_the_systems_folders_is_enough() {
    runs(
        r#"
        kvmc=$(command -v kvmc); bin=$(cd ../bin; pwd)
        alone() { /usr/bin/env PATH=$bin "$kvmc" "$@"; }
        alone up $ONE || fail "up finds less than doctor"
        alone stop --timeout 20; alone start; alone status; alone down
        /usr/bin/env -u PATH "$kvmc" up $ONE --dry-run > /dev/null || fail "no PATH at all"
        "#,
    );
}
