//! Faults that come after nodes are ready, on the tests' fake QEMU: each is seen within 15 s, cured where the keeper can,
//! and gone when it is over.

use super::fake;

const WORDS: &str = r#"
UP="kvmc up --accel tcg --cold $SMALL --load-balancers 0 --workers 0"
K=$KVMC_STATE_DIR/clusters/k80
# Waits until status says something, or no more.
says() { left=75; until kvmc status | grep -qE -- "$1"; do left=$((left - 1)); test $left -gt 0 || { kvmc status; cat $K/events.jsonl $K/keeper.log; fail "status does not say: $1"; }; sleep 0.2; done; echo "told: $1"; }
is_whole() {
  left=100
  until kvmc status > ../status && ! grep -qE 'not ready|^  ' ../status; do
    left=$((left - 1)); test $left -gt 0 || { cat ../status; fail "a doubt is left"; }; sleep 0.2
  done
}
eventually() { left=$(($1 * 10)); shift; until "$@"; do left=$((left - 1)); test $left -gt 0 || return 1; sleep 0.1; done; }
fault() { kvmc status --json | python3 -c '
import json, sys
print(next(f for n in json.load(sys.stdin)["nodes"] if n["name"] == sys.argv[1] for f in n["faults"])[sys.argv[2]])' $1 $2; }
"#;

fn runs(script: &str) -> String {
    fake::runs(&fake::bench(), &format!("{WORDS}\n{script}"))
}

#[test]
fn ports_bridge_and_route_that_another_program_changed_are_restored() {
    runs(
        r#"
        $UP --masters 5
        ip link add other type bridge; ip link set other up
        port() { ip -o link show k80-$1 | grep "mtu 1400.* master k80 " | grep -q '[<,]UP'; }
        ip link set k80-master0 nomaster; ip link set k80-master2 master other
        ip link set k80-master3 down; ip link set k80-master4 mtu 1300
        for n in 0 2 3 4; do
          eventually 12 port master$n || fail "the port is not restored: $(ip -o link show k80-master$n)"
        done
        says 'network: .* the keeper restored .*the port k80-master0 of k80'
        grep -q '"event":"link".*the port k80-master0 of k80' $K/events.jsonl || fail events
        ip link set k80 down; eventually 12 sh -c "ip -o link show k80 | grep -q '[<,]UP'" || fail "the bridge stays down"
        ip addr flush dev k80; eventually 30 sh -c "ip -o -4 addr show dev k80 | grep -q 192.168.80.1/24" || fail "the address stays away"
        ip route del 192.168.80.0/24; eventually 30 sh -c "ip route get 192.168.80.2 | grep -q 'dev k80'" || fail "the route stays away"
        # Not with a fight.
        while :; do ip link set k80-master1 nomaster; sleep 0.3; done & fight=$!
        says 'master1: its port k80-master1 of k80 was changed: it is not a port of `k80`, and another program undoes each repair'
        says 'master1 +not ready: no port'
        test "$(fault master1 tap)" = k80-master1 || fail "status --json"
        kill $fight
        # A bridge that is gone comes back, and its ports with it.
        keeper=$(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' $K/keeper.json)
        ip link del k80
        says 'network: .* the keeper restored .*the port k80-master0 of k80'
        eventually 30 port master4 || fail "no port of the new bridge"
        test "$(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' $K/keeper.json)" = $keeper || fail "another keeper"
        test "$(dig @192.168.80.1 +short +tries=3 +timeout=3 master0)" = 192.168.80.2 || fail "the name server does not answer"
        left=400; until kvmc status | grep -q 'master1 *ready'; do left=$((left - 1)); test $left -gt 0 || fail "the port stays away"; sleep 0.2; done
        kvmc down
        "#,
    );
}

#[test]
fn a_route_that_leads_elsewhere_is_named_with_its_rule_and_a_cure() {
    runs(
        r#"
        $UP --masters 2
        ip route add default via 203.0.113.1 table 100
        ip rule add to 192.168.0.0/16 lookup 100 pref 1000
        says 'master1: packets to 192.168.80.3 do not leave by k80: they leave by up0, by the rule `1000: from all to 192.168.0.0/16 lookup 100`, by the route 0.0.0.0/0 of table 100; '
        says 'master0 +not ready: no route'
        test "$(fault master0 fault) $(fault master0 rule) $(fault master0 table)" = "route 1000 100" || fail "status --json"
        kvmc up --accel tcg > ../up 2>&1; cat ../up
        grep -q 'warning: master0: packets to 192.168.80.2' ../up || fail "up says nothing"
        timeout 20 kvmc ssh master0 true > ../ssh 2>&1 || true
        grep -q 'warning: master0: packets to 192.168.80.2' ../ssh || fail "ssh says nothing"
        if grep -q 'master1' ../ssh; then fail "ssh tells of another node"; fi
        # The cure works.
        $(kvmc status | grep -o '`ip rule add[^`]*`' | head -n 1 | tr -d '`')
        is_whole
        ip rule del pref 999; ip rule del pref 1000
        ip rule add to 192.168.80.0/24 blackhole pref 5
        says 'they are dropped \(blackhole\), by the rule `5: from all to 192.168.80.0/24 blackhole`'
        ip rule del pref 5; is_whole
        ip route add 192.168.80.0/25 via 203.0.113.1
        says 'by the route 192.168.80.0/25 of table main; .*`ip route add 192.168.80.2 dev k80`'
        ip route del 192.168.80.0/25; is_whole
        ip addr add 192.168.80.2/32 dev lo
        says 'they stay on this host, which has that address'
        ip addr del 192.168.80.2/32 dev lo; is_whole
        kvmc down
        "#,
    );
}

#[test]
fn another_machine_at_a_nodes_address_is_named() {
    runs(
        r#"
        $UP --masters 2
        ip link add port0 type veth peer name other0 address 02:00:00:00:00:99; ip link set port0 master k80 up
        ip netns add other; ip link set other0 netns other
        ip -n other addr add 192.168.80.2/24 dev other0; ip -n other link set other0 up
        says 'master0: another machine \(02:00:00:00:00:99\) answers for its address 192.168.80.2 on k80; give that machine another address'
        says 'master0 +not ready: address in use'
        timeout 20 kvmc ssh master0 true > ../ssh 2>&1 || true
        grep -q 'warning: master0: another machine' ../ssh || fail "ssh says nothing"
        ip -n other addr del 192.168.80.2/24 dev other0; is_whole
        kvmc status | grep -q 'master0 *ready' || fail "not ready again"
        kvmc down
        "#,
    );
}

#[test]
fn a_stopped_sshd_agent_or_node_and_another_host_key_are_told() {
    runs(
        r#"
        $UP --masters 2
        echo 'master0 no-sshd yes' > ../bin/script
        says 'master0: nothing accepts connections on port 22 of 192.168.80.2; sshd is stopped'
        says 'master0 +not ready: no sshd'; says 'master1 +ready'
        rm ../bin/script; is_whole
        grep -q '"event":"fault-over","node":"master0"' $K/events.jsonl || fail "events"
        nft add table inet mine; nft add chain inet mine out '{ type filter hook output priority 0; }'; nft add rule inet mine out tcp dport 22 drop
        says 'master1: port 22 of 192.168.80.3 is silent, though the node answers by ARP; a firewall'
        nft delete table inet mine; is_whole
        echo 'master0 agent-closed yes' > ../bin/script
        says 'master0: its agent does not run; `kvmc ssh master0 sudo systemctl restart kvmc-agent`'
        kvmc status | grep -q 'master0 *ready' || fail "a node without agent can be used"
        rm ../bin/script; is_whole
        pid=$(kvmc status --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["nodes"][0]["pid"])')
        kill -STOP $pid
        says 'master0: it does not answer for 192.168.80.2 on k80; '
        kill -CONT $pid; is_whole
        key='ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ'
        printf 'master0 host-key %s\nmaster0 sshd-mark 2\n' "$key" > ../bin/script
        left=300; until kvmc status | grep -qF "by \`master0,192.168.80.2 $key\`"; do left=$((left - 1)); test $left -gt 0 || { kvmc status; fail "the key is not told"; }; sleep 0.2; done
        says 'master0: the sshd on 192.168.80.2 has the host key SHA256:.*, which is not in known_hosts'
        # The file that `kvmc ssh` reads: the cure is enough for it.
        echo "master0,192.168.80.2 $key" >> $K/known_hosts
        left=300; until kvmc status | grep -q 'master0 *ready'; do left=$((left - 1)); test $left -gt 0 || { kvmc status; fail "it is told for ever"; }; sleep 0.2; done
        kvmc stop; kvmc status > ../status; if grep -q 'not ready' ../status; then cat ../status; fail "a stopped node has faults"; fi
        kvmc down
        "#,
    );
}
