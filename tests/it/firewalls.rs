//! Ring 3: the firewalls of others, with their own tools, around a cluster of fakes. A port of the bridge
//! in a namespace of its own stands for a node.

use std::path::Path;

use super::fake;

fn runs(script: &str) -> String {
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/firewalls.sh");
    fake::runs(
        &fake::bench(),
        &format!(". {}\n{script}", library.display()),
    )
}

/// A host's firewall: brought up, with a cluster and reloaded with it; all must be as before after `stop`
/// and `down`.
fn beside(setup: &str, reload: &str) -> String {
    runs(&format!(
        "{setup}
         rules > ../before
         $UP
         nodes; lives 'beside it'
         before=$(pids)
         {reload}
         eventually 15 whole || fail 'rules are still missing'
         lives 'after a reload'
         test \"$(pids)\" = \"$before\" || fail 'a node was touched'
         kvmc status
         $UP
         whole || fail 'up after a reload'
         kvmc stop
         rules > ../stopped
         same ../before ../stopped 'rules after stop'
         kvmc start
         kvmc down
         rules > ../after
         same ../before ../after 'rules after down'"
    ))
}

/// Docker's rules as dockerd 27 writes them, by way of iptables-restore.
const DOCKER: &str = r#"docker_rules() {
iptables-$1-restore <<RULES
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
COMMIT
*filter
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
RULES
}
"#;

#[test]
fn p10_p11_beside_docker_by_nft() {
    let setup = format!("{DOCKER} docker_rules nft");
    let said = beside(&setup, "docker_rules nft");
    assert!(said.contains("DOCKER-USER of iptables (nft)"), "{said}");
}

#[test]
fn p10_p11_beside_docker_by_legacy_iptables() {
    beside(
        &format!("{DOCKER} docker_rules legacy"),
        "docker_rules legacy",
    );
}

#[test]
fn p10_p11_beside_iptables_that_drop_in_both_backends() {
    beside(
        "drops() { for b in legacy nft; do iptables-$b -F
           for c in INPUT FORWARD OUTPUT; do iptables-$b -P $c DROP; done
           iptables-$b -A INPUT -i lo -j ACCEPT; iptables-$b -A OUTPUT -o lo -j ACCEPT; done; }
         drops",
        "drops",
    );
}

#[test]
fn p10_p11_beside_ufw() {
    beside(
        "# Its files on the host stay as they are: it works on copies.
         mkdir -p ../ufw; cp -a /etc/ufw ../ufw/etc; cp -a /lib/ufw ../ufw/lib; cp /etc/default/ufw ../ufw/default
         sed -i 's/^IPV6=.*/IPV6=no/' ../ufw/default
         mount --bind ../ufw/etc /etc/ufw; mount --bind ../ufw/lib /lib/ufw; mount --bind ../ufw/default /etc/default/ufw
         also() { find /etc/ufw /etc/default/ufw -type f -exec sha256sum {} + | sort; ufw status verbose; }
         ufw --force enable",
        "ufw reload; lives 'just after'; ufw --force enable",
    );
}

const FIREWALLD: &str = r#"
for d in /run/dbus /run/firewalld /etc/firewalld /var/log; do mkdir -p $d; mount -t tmpfs none $d; done
dbus-daemon --system --nofork --nopidfile >/dev/null 2>&1 & SERVERS="${SERVERS:-} $!"
eventually 10 test -S /run/dbus/system_bus_socket
firewalld --nofork --nopid >/dev/null 2>&1 & SERVERS="$SERVERS $!"
eventually 30 firewall-cmd --state >/dev/null 2>&1
"#;

/// firewalld makes a zone's chains when it is first used, and keeps them, empty, until it is reloaded. So
/// that is done before rules are compared; that nothing in them is about the cluster, is looked at before.
#[test]
fn p10_p11_beside_firewalld() {
    let setup = format!(
        "{FIREWALLD}
         also() {{
           ! nft list ruleset | grep k80 || echo 'a rule of the cluster'
           firewall-cmd --reload >/dev/null; firewall-cmd --list-all-zones; find /etc/firewalld -type f
         }}"
    );
    beside(
        &setup,
        "firewall-cmd --reload; eventually 15 whole; firewall-cmd --complete-reload",
    );
}

#[test]
fn p12_rules_that_others_flush_are_put_back_and_no_node_is_touched() {
    let said = runs(
        "$UP; nodes; lives 'at first'
         before=$(pids); nft -s list table inet kvmc_k80 > ../table
         for change in 'flush ruleset' 'flush table inet kvmc_k80' 'delete table inet kvmc_k80'; do
           nft $change
           eventually 10 whole || fail \"after $change\"
           lives \"after $change\"
           nft -s list table inet kvmc_k80 > ../again; same ../table ../again \"the table after $change\"
           sleep 1.2
         done
         echo 0 > /proc/sys/net/ipv4/ip_forward
         eventually 15 whole || fail 'forwarding'
         test \"$(pids)\" = \"$before\" || fail 'a node was touched'
         kvmc status; events | grep firewall
         # Without a keeper nobody puts them back; status says so, and up does.
         keeper=$(sed -n 's/.*\"pid\": \\([0-9]*\\).*/\\1/p' $KVMC_STATE_DIR/clusters/k80/keeper.json)
         kill -STOP $keeper
         nft flush ruleset
         kvmc status 2>&1 | grep 'NAT rules (nft table inet kvmc_k80) missing' || fail 'status'
         kvmc up --accel tcg 2>&1 || true
         whole || fail 'up'
         test \"$(pids)\" = \"$before\" || fail 'a node was touched by up'
         kill -CONT $keeper 2>/dev/null || true; lives 'after up'",
    );
    assert!(said.contains("lost to another program, put back"), "{said}");
}

#[test]
fn p10_a_table_of_nobody_we_know_is_named_and_nothing_is_made() {
    let said = runs(
        "nft add table inet corp; nft add chain inet corp fwd2 '{ type filter hook forward priority 0; policy drop; }'
         host > ../before
         code=0; $UP 2> ../said || code=$?
         cat ../said; test $code = 1 || fail \"it ended with $code\"
         host > ../after; same ../before ../after 'nothing was made'
         # Its cure, as it was told, is one.
         grep -o '`nft [^`]*`' ../said | tr -d '`' | sh -eux
         $UP; nodes; lives 'with the cure'
         nft add chain inet corp more '{ type filter hook input priority 5; policy drop; }'
         $UP
         kvmc status 2>&1 | grep 'chain more (policy drop)' || fail 'status'
         eventually 10 grep -q 'chain more (policy drop)' \"$KVMC_STATE_DIR/clusters/k80/events.jsonl\" || fail 'events'",
    );
    assert!(
        said.contains("error: the nft table inet corp, chain fwd2 (policy drop) drops packets"),
        "{said}"
    );
    assert!(
        said.contains("warning: the nft table inet corp, chain more (policy drop)"),
        "{said}"
    );
}

#[test]
fn p10_rules_of_a_lost_record_are_found_by_their_comment() {
    let setup = format!("{DOCKER} docker_rules nft; docker_rules legacy");
    runs(&format!(
        "{setup}
         rules > ../before
         $UP
         mv $KVMC_STATE_DIR/clusters ../lost
         kvmc down
         rules > ../after; same ../before ../after 'rules'
         ip link show k80 2>/dev/null && fail 'the bridge is there'
         for f in $(find ../lost -name '*.json' | xargs grep -l '\"pid\"'); do
           pid=$(sed -n 's/.*\"pid\": \\([0-9]*\\).*/\\1/p' $f)
           # A zombie that nobody has waited for yet has no command line.
           test -z \"$(tr -d '\\0' 2>/dev/null < /proc/$pid/cmdline)\" || fail \"$f goes on\"
         done
         rm -rf inventory id_rsa* ssh_config known_hosts"
    ));
}

#[test]
fn p41_p42_guests_reach_on_the_host_and_outsiders_reach_of_guests_only_what_they_should() {
    runs(
        "$UP --host-port 8001 --host-port 9000-9001/udp
         ip netns add meta; ip link add m0 type veth peer name m1 netns meta
         ip addr add 169.254.0.1/16 dev m0; ip link set m0 up
         ip -n meta addr add 169.254.169.254/16 dev m1; ip -n meta link set m1 up
         nodes; lives 'at first'
         python3 -c \"$SERVE\" 0.0.0.0 9999 >/dev/null 2>&1 & SERVERS=\"$SERVERS $!\"
         python3 -c \"$SERVE\" 0.0.0.0 8001 >/dev/null 2>&1 & SERVERS=\"$SERVERS $!\"
         python3 -c \"$SERVE\" 127.0.0.1 9998 >/dev/null 2>&1 & SERVERS=\"$SERVERS $!\"
         serve meta 169.254.169.254 80
         eventually 10 sh -c 'ss -Hltn | grep -q :9998'; sleep 0.5
         ! fetch a 192.168.80.1 9999 || fail 'a port of the host'
         grep -q 'refused' ../why || fail \"not refused: $(cat ../why)\"
         ! fetch a 203.0.113.2 9999 || fail 'a port on another address of the host'
         ! fetch a 192.168.80.1 9998 || fail 'a port of the loopback'
         ! fetch a 169.254.169.254 80 || fail 'the metadata service'
         fetch a 192.168.80.1 8001 || fail 'a port that was opened'
         ! fetch outside 192.168.80.102 8000 || fail 'from outside to a node'
         ! fetch outside 192.168.80.1 8001 || fail \"from outside to the bridge's address\"
         python3 -c \"$FETCH\" 192.168.80.102 8000 || fail 'from the host to a node'
         lives 'at last'",
    );
}

#[test]
fn p42_an_isolated_cluster_reaches_itself_and_the_host_alone() {
    let setup = format!("{DOCKER} docker_rules nft");
    runs(&format!(
        "{setup}
         rules > ../before
         $UP --isolated
         nodes
         ! fetch a 203.0.113.1 8000 || fail 'a way out'
         fetch a 192.168.80.102 8000 || fail 'from node to node'
         python3 -c \"$FETCH\" 192.168.80.102 8000 || fail 'from the host to a node'
         ip netns exec b busybox ping -c 1 -W 2 192.168.80.1 >/dev/null || fail 'the host'
         kvmc down; rules > ../after; same ../before ../after 'rules'"
    ));
}

#[test]
fn p32_an_uplink_of_a_small_mtu_without_icmp_carries_large_transfers() {
    runs(
        "# The cluster is made while the uplink is still large, so that only the clamp helps.
         ip link set up0 mtu 1500; outside ip link set in0 mtu 1500
         $UP; nodes
         ip link set up0 mtu 1300; outside ip link set in0 mtu 1300
         for hook in input output forward; do
           nft add table inet noicmp; nft add chain inet noicmp $hook \"{ type filter hook $hook priority -9; }\"
           nft add rule inet noicmp $hook icmp type destination-unreachable drop
         done
         test \"$(ip netns exec a cat /sys/class/net/eth0/mtu)\" = 1500
         fetch a 203.0.113.1 8000 || { cat ../why; fail 'nothing comes through'; }",
    );
}

#[test]
fn p31_a_range_or_bridge_of_another_cluster_is_refused_and_auto_finds_a_free_one() {
    let said = runs(
        "$UP; kvmc stop
         host > ../before
         for args in '--bridge k81' '--bridge k81 --subnet 192.168.0.0/16' '--subnet 10.9.0.0/24'; do
           code=0; kvmc up --cluster two --accel tcg $SMALL $args 2>> ../said || code=$?
           test $code = 1 || fail \"$args: $code\"
         done
         ip link add vpn0 type veth peer name vpn1; ip link set vpn1 up; ip link set vpn0 up; ip route add 10.80.0.0/23 dev vpn0 table 51820
         mkdir ../two; cd ../two
         kvmc up --cluster two --bridge k81 --subnet auto --accel tcg $SMALL --masters 1 --workers 0 --load-balancers 0
         cd ../project; kvmc start
         kvmc status --cluster two --json | grep '\"subnet\"' > ../subnet; cat ../said ../subnet
         ip netns add c; ip link add vc type veth peer name eth0 netns c; ip link set vc master k81 up
         ip -n c link set eth0 up; ip -n c addr add 10.80.2.9/24 dev eth0; ip -n c route add default via 10.80.2.1
         nodes; lives 'side by side'
         fetch c 203.0.113.1 8000 || fail 'the way out of the second one'
         ! fetch c 192.168.80.102 8000 || fail 'one cluster reaches the other'
         kvmc down; fetch c 203.0.113.1 8000 || fail 'the second one, without the first'
         kvmc down --cluster two",
    );
    for words in [
        "192.168.80.0/24 overlaps 192.168.80.0/24 of the stopped cluster `k80`; 10.80.0.0/24 is free: pass --subnet 10.80.0.0/24 or --subnet auto",
        "192.168.0.0/16 overlaps 192.168.80.0/24 of the stopped cluster `k80`",
        "k80 is the bridge of cluster `k80`; pass --bridge NAME for another name",
        "\"subnet\": \"10.80.2.0/24\"",
    ] {
        assert!(said.contains(words), "no `{words}` in: {said}");
    }
}

/// Accepts of each stay right while the others come, go and are put back, and the last to go leaves none.
#[test]
fn p10_three_clusters_beside_iptables_that_drop_come_and_go() {
    runs(
        r#"
        drops() {
          iptables-nft -F; for c in INPUT FORWARD; do iptables-nft -P $c DROP; done
          iptables-nft -A INPUT -i lo -j ACCEPT; iptables-nft -A FORWARD -s 10.9.9.0/24 -j ACCEPT
        }
        drops; rules > ../before
        serve outside 203.0.113.1 8000; eventually 10 listens outside
        range() { case $1 in a) echo 10.80.1 ;; b) echo 10.80.3 ;; c) echo 10.80.4 ;; esac; }
        plug() {
          ip netns add n$1 2>/dev/null || true; ip link del v$1 2>/dev/null || true
          ip link add v$1 type veth peer name eth0 netns n$1; ip link set v$1 master ${1}80 up
          ip -n n$1 link set lo up; ip -n n$1 link set eth0 up
          ip -n n$1 addr add $(range $1).9/24 dev eth0; ip -n n$1 route add default via $(range $1).1
        }
        up() {
          mkdir -p $1; (cd $1; kvmc up --cluster $1 --bridge ${1}80 --subnet $(range $1).0/24 --accel tcg $SMALL --masters 1 --workers 0 --load-balancers 0)
          plug $1
        }
        marked() { iptables-nft-save | grep -c -- "--comment \"kvmc $1\"" || true; }
        complete() { kvmc status --cluster $1 --json | python3 -c 'import json,sys; sys.exit(json.load(sys.stdin)["firewall"]["missing"] != [])'; }
        # Those named live and have their rules once, all others have none.
        only() {
          for one in a b c; do
            case " $* " in
              *" $one "*)
                eventually 15 complete $one || { rules; fail "$one of $*: rules are missing"; }
                test "$(marked $one)" = 7 || { rules; fail "$one of $*: $(marked $one) rules"; }
                fetch n$one 203.0.113.1 8000 || { cat ../why; rules; fail "$one of $*: no way out"; }
                ip netns exec n$one busybox udhcpc -f -n -q -t 4 -T 1 -i eth0 -s /bin/true >../why 2>&1 || { cat ../why; fail "$one of $*: no DHCP"; } ;;
              *) test "$(marked $one)" = 0 || { rules; fail "rules of $one are left beside $*"; } ;;
            esac
          done
        }
        up a; only a; up b; only a b; up c; only a b c
        ! fetch na $(range b).9 8000 || fail 'one cluster reaches another'
        # All three are put back at once.
        drops; only a b c
        kvmc down --cluster a; only b c
        kvmc stop --cluster c; only b
        up a; only a b
        kvmc start --cluster c; plug c; only a b c
        drops; only a b c
        kvmc down --cluster c; only a b; kvmc down --cluster b; only a
        kvmc down --cluster a; rules > ../after; same ../before ../after 'rules after the last'
        # At once, in both directions.
        pids=; for one in a b c; do up $one & pids="$pids $!"; done
        for pid in $pids; do wait $pid || fail 'one of three at once'; done
        only a b c
        pids=; for one in c b; do kvmc down --cluster $one & pids="$pids $!"; done
        for pid in $pids; do wait $pid || fail 'one of two downs at once'; done
        only a
        kvmc down --cluster a; rules > ../after; same ../before ../after 'rules after three at once'
        "#,
    );
}

/// A cluster at rest costs the host nothing, whatever others do that is no rule; a change is seen all the same.
#[test]
fn p12_a_keeper_at_rest_runs_no_program() {
    runs(
        r#"
        for name in nft iptables-nft-save iptables-legacy-save ip6tables-nft-save; do
          printf '#!/bin/sh\necho "%s $*" >> %s\nexec %s "$@"\n' $name "$(cd .. && pwd)/run" "$(command -v $name)" > ../bin/$name
          chmod 755 ../bin/$name
        done
        nft=$(PATH=/usr/sbin:/usr/bin:/sbin:/bin command -v nft)
        $nft add table inet others; $nft add set inet others banned '{ type ipv4_addr; }'
        $UP; nodes
        # It looks once, after it was started.
        sleep 13; : > ../run
        for n in 1 2 3 4 5 6; do $nft add element inet others banned { 198.51.100.$n }; sleep 2; done
        test ! -s ../run || { cat ../run; fail 'it runs programs at rest'; }
        $nft delete table inet kvmc_k80
        eventually 10 grep -q 'nft -f' ../run || fail 'a lost table is not put back'
        echo 0 > /proc/sys/net/ipv4/ip_forward
        eventually 15 grep -qx 1 /proc/sys/net/ipv4/ip_forward || fail 'forwarding is not put back'
        lives 'at last'
        "#,
    );
}

#[test]
fn p10_p11_by_ipv6_beside_firewalld() {
    runs(&format!(
        "{FIREWALLD}
         outside6
         also() {{
           ! nft list ruleset | grep k80 || echo 'a rule of the cluster'
           firewall-cmd --reload >/dev/null; firewall-cmd --list-all-zones; find /etc/firewalld -type f
         }}
         rules > ../before
         $UP --ipv6
         nodes6
         lives6 'beside it'
         before=$(pids)
         for how in --reload --complete-reload; do
           firewall-cmd $how
           eventually 15 whole || fail \"rules are still missing after $how\"
           lives6 \"after $how\"
         done
         test \"$(pids)\" = \"$before\" || fail 'a node was touched'
         kvmc down
         rules > ../after
         same ../before ../after 'rules after down'"
    ));
}

/// IPv6 is asked for, so the rules that others have for it count too; and its resolver is told by the router.
#[test]
fn p10_p11_by_ipv6_beside_ufw_and_ip6tables_that_drop() {
    let said = runs(
        r#"
        outside6
        mkdir -p ../ufw; cp -a /etc/ufw ../ufw/etc; cp -a /lib/ufw ../ufw/lib; cp /etc/default/ufw ../ufw/default
        sed -i 's/^IPV6=.*/IPV6=yes/' ../ufw/default
        mount --bind ../ufw/etc /etc/ufw; mount --bind ../ufw/lib /lib/ufw; mount --bind ../ufw/default /etc/default/ufw
        # Only a reload makes all that it has for IPv6.
        ufw --force enable; ufw reload
        for c in INPUT FORWARD OUTPUT; do ip6tables-legacy -P $c DROP; done
        ip6tables-legacy -A INPUT ! -i k80 -j ACCEPT; ip6tables-legacy -A OUTPUT ! -o k80 -j ACCEPT
        rules > ../before
        $UP --ipv6
        nodes6
        lives6 'beside them'
        ip6tables-nft-save | grep -q 'INPUT .*kvmc k80' || fail 'nothing is added beside ufw'
        cat > ../asks.py <<'PY'
import socket, struct
s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6); s.settimeout(5)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
s.sendto(struct.pack("!BBHI", 133, 0, 0, 0), ("ff02::2", 0, 0, socket.if_nametoindex("eth0")))
while True:
    m = s.recv(1500)
    if m[0] == 134: break
at = 16
while at < len(m):
    if m[at] == 25: print("resolver", socket.inet_ntop(socket.AF_INET6, m[at + 8:at + 24]))
    at += 8 * m[at + 1]
PY
        ip netns exec a python3 ../asks.py | grep -qx "resolver $gateway" || fail 'the router tells no resolver'
        ufw reload; ip6tables-legacy -F FORWARD; echo 0 > /proc/sys/net/ipv6/conf/all/forwarding
        eventually 15 whole || fail 'rules are still missing'
        eventually 15 grep -qx 1 /proc/sys/net/ipv6/conf/all/forwarding || fail 'IPv6 forwarding'
        lives6 'after a reload'
        kvmc status; kvmc down
        rules > ../after; same ../before ../after 'rules after down'
        "#,
    );
    assert!(said.contains("FORWARD of ip6tables (legacy)"), "{said}");
}
