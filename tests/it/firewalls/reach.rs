//! The connections that pass and those that do not: nodes, the host, the outside, and clusters side by side.

use super::{DOCKER, runs};

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
fn p59_an_uplink_of_a_small_mtu_without_icmp_carries_large_transfers() {
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
        "192.168.80.0/24 overlaps 192.168.80.0/24 of the stopped cluster `k80`\n  hint: 10.80.0.0/24 is free; choose it with --subnet 10.80.0.0/24 or --subnet auto",
        "192.168.0.0/16 overlaps 192.168.80.0/24 of the stopped cluster `k80`",
        "k80 is the bridge of cluster `k80`\n  hint: choose another name with --bridge NAME",
        "\"subnet\": \"10.80.2.0/24\"",
    ] {
        assert!(said.contains(words), "no `{words}` in: {said}");
    }
}

/// The accept rules of each cluster stay right while others start, stop and are restored. The last one leaves none.
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
        # The named clusters run and have their rules once. All others have none.
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
        # The keepers restore the rules of all three at once.
        drops; only a b c
        kvmc down --cluster a; only b c
        kvmc stop --cluster c; only b
        up a; only a b
        kvmc start --cluster c; plug c; only a b c
        drops; only a b c
        kvmc down --cluster c; only a b; kvmc down --cluster b; only a
        kvmc down --cluster a; rules > ../after; same ../before ../after 'rules after the last'
        # At the same time, in both directions.
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
