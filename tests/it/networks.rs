//! Several networks, IPv6, forwards, and clusters side by side, on the tests' fake QEMU.

use std::path::Path;
use std::process::Command;

use super::fake;
use super::support::script;

/// Shell functions for the tests of this file: a look at a port, from here and from outside.
const LOOK: &str = r#"
banner='import socket,sys; s=socket.create_connection((sys.argv[1], int(sys.argv[2])), 5); s.settimeout(5); sys.exit(s.recv(4) != b"SSH-")'
here() { python3 -c "$banner" "$@" 2>/dev/null; }
there() { outside python3 -c "$banner" "$@" 2>/dev/null; }
listening() { ss -Hltn; ss -Hlun; }
ipv6() { for f in forwarding accept_ra disable_ipv6; do grep -H . /proc/sys/net/ipv6/conf/*/$f; done; ip -o -6 addr | sed 's/ tentative//; s/valid_lft.*//'; ip -6 route | sed 's/ expires.*//'; }
TWO="--accel tcg $SMALL --masters 1 --workers 0 --load-balancers 1"
ONE="--accel tcg $SMALL --masters 1 --workers 0 --load-balancers 0"
"#;

fn runs(script: &str) -> String {
    fake::runs(&fake::bench(), &format!("{LOOK}{script}"))
}

#[test]
fn forwards_lead_to_nodes_from_everywhere_live_and_are_gone_with_down() {
    let said = runs(
        r#"
        host > ../before; listening > ../listening
        kvmc up $TWO --forward 2222:master0:22 --forward 127.0.0.1:2223:lbl0:22
        for address in 127.0.0.1 localhost ::1 203.0.113.2; do
          here $address 2222 || fail "2222 by $address"
        done
        there 203.0.113.2 2222 || fail "2222 from outside"
        here 127.0.0.1 2223 || fail "2223 on loopback"
        ! here 203.0.113.2 2223 || fail "2223 is on loopback alone"
        ! there 203.0.113.2 2223 || fail "2223 is not for outside"

        kvmc forward add 2224:lbl0:22 203.0.113.2:2225:lbl0:22
        there 203.0.113.2 2224 && there 203.0.113.2 2225 || fail "added while it runs"
        ! here 127.0.0.1 2225 || fail "2225 is on one address"
        kvmc forward ls
        kvmc forward rm 2224 203.0.113.2:2225
        ! there 203.0.113.2 2224 || fail "removed while it runs"
        ! here 127.0.0.1 2224 || fail "removed on loopback too"
        there 203.0.113.2 2222 || fail "2222 is another"
        kvmc forward add 2224:lbl0:22
        kvmc up $TWO --forward 2226:lbl0:22
        there 203.0.113.2 2226 && there 203.0.113.2 2222 || fail "up adds and takes nothing away"

        kill -9 "$(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' "$KVMC_STATE_DIR/clusters/k80/keeper.json")"
        there 203.0.113.2 2222 || fail "outside needs no keeper"
        kvmc up $TWO
        here 127.0.0.1 2222 || fail "a new keeper serves loopback"
        kvmc stop --timeout 20
        listening | diff ../listening - || fail "stopped, something listens"
        kvmc start
        ! there 203.0.113.2 2225 || fail "2225 is back, which was removed"
        for port in 2222 2224 2226; do there 203.0.113.2 $port && here ::1 $port || fail "$port after start"; done
        kvmc down
        host > ../after; same ../before ../after 'the host after down'
        listening | diff ../listening - || fail "something listens after down"
        "#,
    );
    assert!(said.contains("203.0.113.2:2225/tcp"), "{said}");
    assert!(
        said.contains("2224:lbl0:22 leads to 192.168.80.3:22"),
        "{said}"
    );
}

#[test]
fn a_forward_that_cannot_be_is_refused_before_anything_is_made() {
    let said = runs(
        r#"
        python3 -m http.server 2222 --bind 203.0.113.2 >/dev/null 2>&1 &
        server=$!
        trap 'code=$?; kill $server 2>/dev/null || true; kvmc down >/dev/null 2>&1 || true; exit $code' EXIT
        until ss -Hltn | grep -q :2222; do sleep 0.1; done
        host > ../before
        refused() { if "$@" 2> ../said; then fail "taken: $*"; fi; cat ../said >&2; }
        refused kvmc up $TWO --forward 2222:master0:22
        refused kvmc up $TWO --forward 192.0.2.77:80:master0:22
        refused kvmc up $TWO --forward 80:master7:22
        refused kvmc up $TWO --isolated --forward 80:master0:22
        host > ../after; same ../before ../after 'the host after refusals'
        kvmc up $TWO --forward 2223:master0:22
        host > ../before
        refused kvmc forward add 2224:lbl0:22 2222:lbl0:22
        refused kvmc forward add 2223:lbl0:22
        refused kvmc forward rm 2225
        refused kvmc up --cluster b --bridge b80 --subnet 10.80.1.0/24 $ONE --forward 2223:master0:22
        host > ../after; same ../before ../after 'the cluster after refusals'
        ! here 127.0.0.1 2224 || fail "half of a refused wish"
        kvmc down
        "#,
    );
    for words in [
        "tcp port 2222 of this host is in use\n  hint: `ss -tlnp sport = :2222` shows the program that has it",
        "192.0.2.77 is not an address of this host",
        "unknown node `master7`",
        "reach its nodes (from flag --forward)\n  hint: use the host address 127.0.0.1",
        "the port has another forward: `2223:master0:22`\n  hint: `kvmc forward rm 2223` removes that",
        "no forward `2225`; its forwards are: 2223",
        "cluster `k80` forwards that port already (`2223:master0:22`)\n  hint: choose another port",
    ] {
        assert!(said.contains(words), "no `{words}` in: {said}");
    }
}

#[test]
fn a_stolen_port_costs_the_forward_and_not_the_cluster() {
    runs(
        r#"
        kvmc up $ONE --forward 2222:master0:22
        kill -9 "$(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' "$KVMC_STATE_DIR/clusters/k80/keeper.json")"
        # The killed keeper holds the port until its end.
        while ss -Hltn | grep -q :2222; do sleep 0.05; done
        python3 -m http.server 2222 --bind 127.0.0.1 >/dev/null 2>&1 &
        server=$!
        trap 'code=$?; kill $server 2>/dev/null || true; kvmc down >/dev/null 2>&1 || true; exit $code' EXIT
        until ss -Hltn | grep -q :2222; do sleep 0.1; done
        kvmc up $ONE
        kvmc status > ../status 2>&1; grep -q 'keeper running' ../status && grep -Eq 'master0 +(ready|running)' ../status || fail "the node is served no more"
        grep -q '2222:master0:22.: cannot listen on 127.0.0.1:2222' "$KVMC_STATE_DIR/clusters/k80/keeper.log" || fail "nothing is said of it"
        kvmc down
        "#,
    );
}

/// Promise 33: routes and addresses from the router's advertisements stay, past their lifetime.
#[test]
fn p33_the_host_keeps_its_router_while_it_routes_ipv6() {
    runs(
        r#"
        cat > ../router.py <<'PY'
import socket, struct, time
s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
prefix = struct.pack("!BBBBIII16s", 3, 4, 64, 0xc0, 20, 20, 0, socket.inet_pton(socket.AF_INET6, "2001:db8:5::"))
for _ in range(300):
    try: s.sendto(struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 4, 0, 0) + prefix, ("ff02::1", 0, 0, socket.if_nametoindex("in0")))
    except OSError: pass
    time.sleep(0.5)
PY
        outside python3 ../router.py >/dev/null 2>&1 &
        router=$!
        trap 'code=$?; kill $router; kvmc down >/dev/null 2>&1 || true; exit $code' EXIT
        has_router() { ip -6 route | grep -q 'default via fe80.* dev up0 proto ra'; }
        n=0; until has_router; do n=$((n + 1)); test $n -lt 100 || fail "the router is not heard"; sleep 0.1; done
        # A link that already routes must continue to route.
        ip link add r0 type veth peer name r1; echo 1 > /proc/sys/net/ipv6/conf/r0/forwarding
        sleep 1; ipv6 > ../before; host > ../before4
        kvmc up $ONE --ipv6
        test "$(cat /proc/sys/net/ipv6/conf/all/forwarding)" = 1 || fail "the host does not route"
        test "$(cat /proc/sys/net/ipv6/conf/up0/accept_ra)" = 2 || fail "it would not hear its router"
        has_router || fail "the route is gone at once"
        # Longer than the router's lifetime of 4 s.
        sleep 5; has_router || fail "the route is gone after its lifetime"
        kvmc stop --timeout 20; ipv6 | diff ../before - || fail "after stop"
        kvmc start; sleep 1; has_router || fail "after start"
        kvmc down
        has_router || fail "the route is gone after down"
        ipv6 | diff ../before - || fail "after down"
        host > ../after4; same ../before4 ../after4 'the host after down'
        kvmc up $ONE
        test "$(cat /proc/sys/net/ipv6/conf/all/forwarding)" = 0 || fail "IPv6 was not asked for"
        test "$(cat /proc/sys/net/ipv6/conf/k80/disable_ipv6)" = 1 || fail "IPv6 on a bridge that is to have none"
        kvmc down
        "#,
    );
}

/// One cluster has two networks and IPv6. In any order, the last one to stop leaves the host as it was.
#[test]
fn three_clusters_come_and_go_in_any_order() {
    runs(
        r#"
        up() {
          case $1 in
            a) kvmc up --cluster a --bridge a80 --subnet 10.80.1.0/24 $ONE --ipv6 --network name=storage,subnet=10.80.2.0/24,ipv6 --forward 2201:master0:22 ;;
            b) kvmc up --cluster b --bridge b80 --subnet 10.80.3.0/24 $ONE --forward 2202:master0:22 ;;
            c) kvmc up --cluster c --bridge c80 --subnet 10.80.4.0/24 $ONE --ipv6 --forward 2203:master0:22 ;;
          esac
        }
        works() { for port; do there 203.0.113.2 $port && here 127.0.0.1 $port || fail "$port"; done; }
        switches() { cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding | tr '\n' ' '; }
        mkdir a b c
        host > ../before; ipv6 > ../before6
        for order in 'a b c' 'c a b' 'b c a'; do
          for cluster in a b c; do (cd $cluster; up $cluster); done
          works 2201 2202 2203
          test "$(switches)" = '1 1 ' || fail "switches: $(switches)"
          set -- $order
          kvmc down --cluster $1
          for left in $2 $3; do kvmc status --cluster $left | grep -q ready || fail "$left after $1 went"; done
          kvmc down --cluster $2
          case $3 in a) works 2201 ;; b) works 2202; test "$(switches)" = '1 0 ' || fail "IPv6 is not needed" ;; c) works 2203 ;; esac
          kvmc down --cluster $3
          host > ../after; same ../before ../after "the host after $order"
          ipv6 | diff ../before6 - || fail "IPv6 after $order"
        done
        # All clusters at once.
        for cluster in a b c; do (cd $cluster; up $cluster) & pids="${pids:-} $!"; done
        for pid in $pids; do wait $pid || fail "one of three at once"; done
        works 2201 2202 2203; pids=
        for cluster in a b c; do kvmc down --cluster $cluster & pids="$pids $!"; done
        for pid in $pids; do wait $pid || fail "one of three downs at once"; done
        host > ../after; same ../before ../after 'the host after three at once'
        ipv6 | diff ../before6 - || fail "IPv6 after three at once"
        "#,
    );
}

/// Promise 32: also when the uplink's MTU changes while the cluster is up, as with a VPN.
#[test]
fn p32_option_26_follows_the_uplink() {
    runs(
        r#"
        kvmc up $ONE
        ip netns add client; ip link add vc type veth peer name eth0 netns client
        ip link set vc master k80 up; ip -n client link set eth0 up
        printf '#!/bin/sh\necho "$1 $mtu" >> "$LOG"\n' > ../udhcpc; chmod 755 ../udhcpc
        told() { : > ../mtu; LOG=../mtu ip netns exec client udhcpc -n -q -t 5 -O mtu -i eth0 -s ../udhcpc >/dev/null 2>&1; grep -q "^bound $1$" ../mtu; }
        told 1400 || fail "the uplink's MTU: $(cat ../mtu)"
        ip link set up0 mtu 1300
        n=0; until told 1300; do n=$((n + 1)); test $n -lt 20 || fail "not followed: $(cat ../mtu)"; sleep 1; done
        ip link set up0 mtu 1400; ip netns del client
        kvmc down
        "#,
    );
}

/// A machine outside has the address that the host would take. The host has no route that shows this.
#[test]
fn p31_an_address_that_a_neighbour_answers_for_is_refused() {
    let said = runs(
        r#"
        outside ip addr add 192.168.80.1/24 dev in0
        host > ../before
        if kvmc up $ONE; then fail "the address of another machine was taken"; fi
        host > ../after; same ../before ../after 'the host after the refusal'
        outside ip addr del 192.168.80.1/24 dev in0
        # A router that answers for every address has none of them.
        cat > ../proxy.py <<'PY'
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806)); s.bind(("in0", 0x0806))
own = s.getsockname()[4]
while True:
    f = s.recv(64)
    if f[20:22] == b"\0\1":
        s.send(f[6:12] + own + f[12:20] + b"\0\2" + own + f[38:42] + f[22:32])
PY
        outside python3 ../proxy.py >/dev/null 2>&1 & proxy=$!
        trap 'code=$?; kill $proxy; kvmc down >/dev/null 2>&1 || true; exit $code' EXIT
        n=0; until busybox arping -D -c 1 -w 1 -I up0 192.168.80.77 >/dev/null 2>&1; test $? = 1; do n=$((n + 1)); test $n -lt 20 || fail "no proxy"; done
        kvmc up $ONE; kvmc down
        "#,
    );
    let mac = "has it on up0\n  hint: 10.80.0.0/24 is free; choose it with --subnet 10.80.0.0/24";
    assert!(
        said.contains("192.168.80.1 would be this host's address in 192.168.80.0/24, but ")
            && said.contains(mac),
        "{said}"
    );
}

/// Another program removes a tap after its creation and before its QEMU starts: the node would run without a network.
#[test]
fn p35_a_port_that_is_lost_before_its_qemu_starts_fails_its_node() {
    let said = runs(
        r#"
        # QEMU does not run before it greets.
        echo 'lbl0 greet-after 1200' > ../bin/script
        ip link add elsewhere type bridge
        for how in 'set k80-lbl0 nomaster' 'set k80-lbl0 master elsewhere' 'set k80-lbl0 down' 'delete k80-lbl0'; do
          ( until ip -o link show k80-lbl0 2>/dev/null | grep -q 'master k80'; do sleep 0.02; done; ip link $how ) & taker=$!
          code=0; kvmc up --cold $TWO 2> ../said || code=$?
          cat ../said; wait $taker
          test $code != 0 || fail "$how: it is not told"
          kvmc status > ../status 2>&1 || true
          grep -q 'master0.*ready' ../status || { cat ../status; fail "$how: another node"; }
          grep -q 'lbl0.*\(ready\|running\)' ../status && { cat ../status; fail "$how: it runs"; }
        done
        rm ../bin/script
        kvmc up --cold $TWO
        kvmc status | grep -q 'lbl0.*ready' || fail "it does not start again"
        kvmc down
        "#,
    );
    for words in [
        "the node is not started, because it would have no network: `k80-lbl0` is not as it was set up: it is not a port of `k80`",
        "is not as it was set up: it is down",
        "is not as it was set up: it is gone",
    ] {
        assert!(said.contains(words), "no `{words}` in: {said}");
    }
}

/// With the rules that hosts have for their own NICs. A rule for every link applies to ours on purpose.
#[test]
fn p34_network_managers_and_udev_leave_bridge_and_taps_alone() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("managers");
    let unpacked = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/unpack"))
        .arg(&folder)
        .args(["network-manager", "udev"])
        .status()
        .unwrap();
    assert!(
        unpacked.success(),
        "network-manager and udev cannot be unpacked"
    );
    runs(&script("managers.sh", &[&folder.display().to_string()]));
}
