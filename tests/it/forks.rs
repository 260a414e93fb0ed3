//! Forks of a running cluster, on the tests' fake QEMU.

use super::fake;
use super::snapshots::WORDS;

/// Shell functions that the scripts below share. The fork is called x.
const FORK: &str = r#"
F=$KVMC_STATE_DIR/clusters/x
x() { kvmc --cluster x "$@"; }
banner() { "$@" < /dev/null | head -c 8 | grep -q SSH-2.0- || fail "no banner: $*"; }
cat > ../bin/dial <<'PY'
#!/usr/bin/python3
import socket, sys
print(socket.create_connection((sys.argv[1], int(sys.argv[2])), 5).recv(99).decode())
PY
chmod 755 ../bin/dial
x_ready() {
  tries=0
  until test "$(x status 2>/dev/null | grep -c '  *ready')" = 3; do
    tries=$((tries + 1)); test $tries -lt 200 || { x status; cat $F/events.jsonl $F/keeper.log; fail 'the fork is not ready'; }; sleep 0.05
  done
}
x_knows() {
  for n in $NODES; do
    tries=0; until grep -q "the guest knows $1" $F/nodes/$n/console.log; do
      tries=$((tries + 1)); test $tries -lt 100 || fail "$n of the fork: $(cat $F/nodes/$n/console.log)"; sleep 0.05
    done
  done
}
keeper_of() { sed -n 's/.*"pid": \([0-9]*\).*/\1/p' $1/keeper.json; }
inside() { nsenter -t $(keeper_of $F) -n "$@"; }
# The host's links and rules of forks.
traces() { ip -o link | grep kvmf || true; nft list tables | grep kvmf || true; }
none_left() { tries=0; until test -z "$(traces)"; do tries=$((tries + 1)); test $tries -lt 100 || fail "left: $(traces)"; sleep 0.05; done; }
refused() { # CODE WORDS VERB...
  code=0; want=$1; words=$2; shift 2
  kvmc "$@" > ../said 2>&1 || code=$?; cat ../said
  test $code = $want || fail "$* ended with $code"
  grep -qF -- "$words" ../said || fail "$* does not say: $words"
}
"#;

fn runs(script: &str) -> String {
    fake::runs(&fake::bench(), &format!("{WORDS}\n{FORK}\n{script}"))
}

#[test]
fn a_fork_runs_beside_the_first_cluster_with_the_same_nodes_and_leaves_nothing() {
    runs(
        r#"host > ../before; $UP --disks 1G; learn one; kvmc snapshot save a; pids > ../pids; host > ../up
        kvmc fork --from a x; x_knows one; x_ready; traces
        pids > ../now; same ../pids ../now 'the first cluster goes on'; all_ready
        for f in secrets.json known_hosts; do cmp $K/$f $F/$f || { test $f = known_hosts && tail -n +4 $K/$f > ../a && tail -n +4 $F/$f > ../b && cmp ../a ../b; } || fail "other $f"; done
        ids() { grep -hE '"(address|mac|uuid|machine_id|gateway|subnet)"' $1/cluster.json; }
        ids $K > ../a; ids $F > ../b; same ../a ../b 'addresses, MACs and ids'
        test "$(grep -h '"uid"' $K/cluster.json $F/cluster.json | sort | uniq -d | wc -l)" = 0 || fail 'QEMUs share a user'
        x status > ../status; cat ../status; grep -q 'fork of k80' ../status || fail status
        kvmc ls > ../ls; cat ../ls; grep -q '^x .*(fork of k80)' ../ls || fail ls
        test "$(kvmc ls --json | python3 -c 'import json, sys; print([(c["cluster"], c["fork_of"], c["running"]) for c in json.load(sys.stdin)["clusters"]])')" = "[('k80', None, 3), ('x', 'k80', 3)]" || fail 'ls --json'
        # What both share counts once.
        kvmc df --json | python3 -c 'import json, os, sys
rows = {r["name"]: r for r in json.load(sys.stdin)["rows"]}
one, two = rows["k80/a"], rows["x/a"]
assert one["allocated"] > 0 and two["allocated"] == 0 and two["shared"] == one["allocated"], (one, two)'
        # Each way of ssh leads through the namespace.
        banner kvmc proxy 192.168.80.2 22; banner x proxy 192.168.80.2 22
        way=$(sed -n 's/^ *ProxyCommand //p' $F/ssh_config | head -n 1 | sed 's/%h/192.168.80.2/; s/%p/22/'); banner sh -c "$way"
        x inventory | grep -q 'ProxyCommand=env' || fail inventory
        ! grep -q ProxyCommand $K/ssh_config || fail 'the first cluster needs no way'
        # It can be stopped and started, and goes back to where it began.
        x snapshot ls; x snapshot rollback a; x_ready; x_knows one
        x stop; none_left; test -z "$(x status | grep ready)" || fail 'it runs'; x start --cold; x_ready; traces | grep -q kvmf || fail 'no way out'
        all_ready; pids > ../now; same ../pids ../now 'the first cluster goes on'
        x down; none_left; test ! -e $F || fail 'a folder is left'
        host > ../after; same ../up ../after 'the host as before the fork'
        kvmc down; host > ../after; same ../before ../after 'the host as before both'"#,
    );
}

#[test]
fn p55_a_fork_and_the_first_cluster_never_see_each_others_packets() {
    runs(
        r#"$UP; learn one; kvmc fork x; x_ready
        # Counts frames from and to port 2222, which nobody else uses, on a bridge while a command runs.
        cat > ../count.py <<'PY'
import socket, subprocess, sys, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); s.bind(("k80", 0)); s.settimeout(0.2)
frames = 0
p = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
end = time.time() + 2
while time.time() < end:
    try: f = s.recv(4096)
    except TimeoutError: continue
    if f[12:14] == b"\x08\x00" and f[23] == 6 and 2222 in (int.from_bytes(f[34:36], "big"), int.from_bytes(f[36:38], "big")): frames += 1
p.wait(); print(frames)
PY
        first=$(python3 ../count.py kvmc proxy 192.168.80.2 2222); second=$(python3 ../count.py kvmc --cluster x proxy 192.168.80.2 2222)
        test $first -ge 2 || fail "the control saw $first frames"; test $second = 0 || fail "the first cluster sees $second frames of the fork"
        inside python3 ../count.py kvmc --cluster x proxy 192.168.80.2 2222 > ../inner; test $(cat ../inner) -ge 2 || fail "the control inside saw $(cat ../inner) frames"
        inside python3 ../count.py nsenter -t $$ -n kvmc proxy 192.168.80.2 2222 > ../inner; test $(cat ../inner) = 0 || fail "the fork sees $(cat ../inner) frames of the first cluster"
        # Neither end of the fork's link answers for an address of the cluster, which both namespaces have.
        cat > ../arp.py <<'PY'
import socket, sys, time
link, address = sys.argv[1:]
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x806)); s.bind((link, 0)); s.settimeout(0.2)
own = s.getsockname()[4]
s.send(b"\xff" * 6 + own + b"\x08\x06\0\1\x08\0\6\4\0\1" + own + b"\0" * 4 + b"\0" * 6 + socket.inet_aton(address))
end, answers = time.time() + 1, 0
while time.time() < end:
    try: f = s.recv(4096)
    except TimeoutError: continue
    answers += f[20:22] == b"\0\2"
print(answers)
PY
        outer=$(ip -o link | sed -n 's/.* \(kvmf[0-9a-f]*\)@.*/\1/p'); ends=$(ip -o -4 addr show dev $outer | sed 's/.* inet //; s/\/.*//')
        test "$(python3 ../arp.py $outer 192.168.80.1) $(inside python3 ../arp.py outside 192.168.80.1)" = '0 0' || fail 'one answers for the other'
        test "$(inside python3 ../arp.py outside $ends)" = 1 || fail 'the control is not answered'
        kvmc down; x_ready; banner x proxy 192.168.80.2 22; x down"#,
    );
}

#[test]
fn a_fork_reaches_the_outside_and_is_reached_by_its_forwards() {
    runs(
        r#"host > ../before
        # A resolver of the host that only the host reaches, and a server outside that tells who asks.
        cat > ../dns.py <<'PY'
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("127.0.0.5", 53))
while True:
    q, a = s.recvfrom(4096)
    end = q.index(b"\0", 12) + 5
    s.sendto(q[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + q[12:end] + b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xcb\0\x71\x07", a)
PY
        cat > ../who.py <<'PY'
import socket
s = socket.create_server(("203.0.113.1", 7000))
while True:
    c, a = s.accept(); c.sendall(a[0].encode()); c.close()
PY
        echo 'nameserver 127.0.0.5' > ../resolv.conf; mount --bind ../resolv.conf /etc/resolv.conf
        python3 ../dns.py > /dev/null 2>&1 & dns=$!; ip netns exec outside python3 ../who.py > /dev/null 2>&1 & servers="$dns $!"
        $UP; kvmc forward add 8080:master0:22; kvmc fork x; x_ready
        test "$(inside dig +short +tries=2 @192.168.80.1 one.example)" = 203.0.113.7 || fail 'the host resolves nothing for the fork'
        test "$(inside dig +short @192.168.80.1 worker0.k80.internal)" = 192.168.80.4 || fail 'the fork has other names'
        # As a node's packets: from an address of the cluster, by NAT to the uplink's.
        inside ip addr add 192.168.80.200/32 dev lo
        who() { inside python3 -c 'import socket; s = socket.create_connection(("203.0.113.1", 7000), 5, ("192.168.80.200", 0)); print(s.recv(99).decode())'; }
        test "$(who)" = 203.0.113.2 || fail "outside it is $(who)"
        # The first cluster's forwards are its own.
        test -z "$(x forward ls --json | grep '"port"')" || fail 'the fork has forwards'
        refused 1 'forwards that port already' --cluster x forward add 8080:master0:22
        x forward add 8081:master0:22 127.0.0.1:8082:worker0:22
        banner outside dial 203.0.113.2 8081; banner dial 127.0.0.1 8081; banner dial 127.0.0.1 8082
        x forward rm 8081; ! outside dial 203.0.113.2 8081 2>&1 | grep -q SSH || fail 'the forward is still there'
        # What another program removes comes back.
        nft delete table inet $(nft list tables | sed -n 's/.* \(kvmc_kvmf.*\)/\1/p'); tries=0
        until nft list tables | grep -q kvmf; do tries=$((tries + 1)); test $tries -lt 200 || fail 'the rules stay away'; sleep 0.1; done
        test "$(who)" = 203.0.113.2 || fail 'no NAT after the repair'
        # The host goes on forwarding for the fork alone.
        kvmc down; test "$(cat /proc/sys/net/ipv4/ip_forward)" = 1 || fail 'forwarding is off'
        test "$(who)" = 203.0.113.2 || fail 'no way out without the first cluster'
        # A keeper that was killed is replaced in the same namespace.
        inside ip addr del 192.168.80.200/32 dev lo; kill -9 $(keeper_of $F); x status > ../status 2>&1 || true; grep -q 'no keeper' ../status || { cat ../status; fail 'status'; }
        x up < /dev/null; x_ready; inside ip addr add 192.168.80.200/32 dev lo; test "$(who)" = 203.0.113.2 || fail 'no way out with another keeper'
        x down; kill $servers; none_left
        host > ../after; same ../before ../after 'the host as before both'"#,
    );
}

#[test]
fn what_cannot_be_forked_is_told_before_anything_is_made() {
    runs(
        r#"refused 4 'there is no cluster' fork x
        $UP; kvmc stop worker0; refused 1 'worker0 is stopped' fork x; kvmc start worker0; all_ready
        kvmc snapshot save a; host > ../up
        refused 2 'is not a cluster name' fork ../x
        refused 1 'there is a cluster `k80` already' fork k80
        refused 4 'has no snapshot `b`; expected a' fork --from b x
        touch -d '2001-01-01' ../bin/qemu-system-x86_64; refused 1 'another QEMU for node `master0`' fork --from a x
        host > ../now; same ../up ../now 'nothing was made'
        touch -r $K/nodes/master0/disk.qcow2 ../bin/qemu-system-x86_64; kvmc snapshot rm a; kvmc snapshot save a
        kvmc stop; refused 1 'is stopped; only a running one or a snapshot can be forked' fork x; grep -q 'fork --from a NAME' ../said || fail hint
        # A snapshot of a stopped cluster can be forked, and then the cluster starts beside it.
        kvmc fork --from a x; x_ready; kvmc start --cold; all_ready; refused 1 'there is a cluster `x` already' fork x
        kvmc down --all; none_left; test ! -e $F || fail 'down --all leaves the fork'"#,
    );
}

#[test]
fn an_image_that_two_clusters_share_is_never_written() {
    runs(
        r#"$UP; learn one; kvmc fork x; x_ready
        kvmc snapshot ls > ../ls; test ! -s ../ls || { cat ../ls; fail 'the snapshot for the fork stays'; }
        sums() { find $F/nodes -name 'disk*.qcow2' -links +1 -exec md5sum {} +; }
        sums > ../sums; test $(wc -l < ../sums) = 3 || fail "$(cat ../sums)"
        kvmc stop; sums > ../now; same ../sums ../now 'the images after stop'; images
        x snapshot rm fork-x; x stop; sums > ../now; same ../sums ../now 'the images after a stop of the fork'
        kvmc start --cold; x start --cold; all_ready; x_ready
        # The fork lies on its own links, whatever becomes of the first cluster.
        kvmc down; x_ready; x stop; test "$(ls $F/nodes/worker0/*.qcow2 | wc -l)" = 1 || fail "not merged: $(ls $F/nodes/worker0)"
        x start --cold; x_ready; x down; test ! -e $F || fail 'a folder is left'"#,
    );
}

/// Whoever loses a name leaves the folder of the other alone, and no name is another's beginning.
#[test]
fn one_of_two_forks_of_a_name_goes_on_and_a_cluster_is_found_by_its_whole_name() {
    runs(
        r#"host > ../before; $UP; kvmc snapshot save a
        for n in 1 2; do (code=0; kvmc --wait 60 fork --from a x > ../fork.$n 2>&1 || code=$?; echo $code > ../code.$n) & done; wait
        test "$(sort ../code.1 ../code.2 | tr '\n' ' ')" = '0 1 ' || { cat ../fork.1 ../fork.2; fail "ended with $(cat ../code.1 ../code.2)"; }
        grep -q 'cluster `x` already' ../fork.1 ../fork.2 || { cat ../fork.1 ../fork.2; fail 'the loser does not say why'; }
        x_ready; all_ready; x down; none_left
        # The fork's QEMUs are called kvmc-k80-x-…; the cluster k80 is made anew beside them, where the host is.
        kvmc fork --from a k80-x; kvmc down; $UP
        test "$(readlink /proc/$(keeper_of $K)/ns/net)" = "$(readlink /proc/self/ns/net)" || fail 'the new cluster is in the namespace of the fork'
        test "$(kvmc --cluster k80-x status | grep -c '  *ready')" = 3 || fail 'the fork has ended'
        kvmc --cluster k80-x down; kvmc down; none_left
        host > ../after; same ../before ../after 'the host as before'"#,
    );
}

#[test]
fn p12_what_a_fork_has_in_other_firewalls_comes_back_after_a_reload() {
    runs(
        r#"drops() { iptables-$1 -F FORWARD; iptables-$1 -P FORWARD DROP; }
        accepts() { iptables-$1 -S FORWARD | grep -q kvmf; }
        drops nft; drops legacy; both() { iptables-nft -S; iptables-legacy -S; host; }
        both > ../before; $UP; kvmc fork x; x_ready
        cat > ../who.py <<'PY'
import socket
s = socket.create_server(("203.0.113.1", 7000))
while True:
    c, a = s.accept(); c.sendall(a[0].encode()); c.close()
PY
        ip netns exec outside python3 ../who.py > /dev/null 2>&1 & server=$!
        who() { inside python3 -c 'import socket; s = socket.create_connection(("203.0.113.1", 7000), 5); print(s.recv(99).decode())'; }
        for b in nft legacy; do
          accepts $b || fail "no rules in iptables-$b"
          # While nobody restores them, status names them and the cure.
          kill -STOP $(keeper_of $F); drops $b; x status > ../status 2>&1 || true
          grep -q "the fork lacks rules in FORWARD of iptables ($b) outside; .*--cluster x up" ../status || { cat ../status; fail "status beside iptables-$b"; }
          kill -CONT $(keeper_of $F); tries=0
          until accepts $b; do tries=$((tries + 1)); test $tries -lt 200 || fail "iptables-$b has no rules after a reload"; sleep 0.1; done
          test "$(who)" = 203.0.113.2 || fail "no way out after a reload of iptables-$b"
          x status > ../status; ! grep 'the fork lacks' ../status || fail 'it lacks something'
        done
        x events > ../events; grep 'restored rules .* outside' ../events || { cat ../events; fail 'no event'; }
        x down; none_left; kvmc down; kill $server
        both > ../after; same ../before ../after 'the host as before both'"#,
    );
}

#[test]
fn forks_that_start_at_once_choose_the_subnets_of_their_links_one_after_the_other() {
    runs(
        r#"transit() { sed -n 's/.*"transit": "\(.*\)".*/\1/p' $KVMC_STATE_DIR/clusters/$1/cluster.json; }
        $UP; kvmc snapshot save a; kvmc fork --from a y; kvmc fork --from a x; free=$(transit x); test "$free" || fail 'no subnet'; x down
        # While another fork chooses, x waits. That one takes the subnet which would be free for x.
        exec 9< $KVMC_STATE_DIR/clusters; flock 9
        kvmc fork --from a x > ../fork 2>&1 9<&- & fork=$!
        tries=0; until grep -q '"phase": "starting"' $F/cluster.json 2> /dev/null; do tries=$((tries + 1)); test $tries -lt 200 || { cat ../fork; fail 'x does not start'; }; sleep 0.05; done
        sleep 0.7; test -z "$(transit x)" || fail "x has chosen $(transit x)"
        sed -i "s,\"transit\": \".*\",\"transit\": \"$free\"," $KVMC_STATE_DIR/clusters/y/cluster.json
        flock -u 9; wait $fork || { cat ../fork; fail 'x does not start'; }
        x_ready; test "$(transit x)" != "$free" || fail "both have $free"
        x down; kvmc --cluster y down; kvmc down; none_left"#,
    );
}

#[test]
fn what_a_killed_fork_leaves_on_the_host_is_told_and_removed() {
    runs(
        r#"drops() { for b in nft legacy; do iptables-$b -F FORWARD; iptables-$b -P FORWARD DROP; done; }
        rules() { nft list tables | grep kvmf || true; iptables-nft -S | grep kvmf || true; iptables-legacy -S | grep kvmf || true; }
        killed() { # Ends all processes of the fork x, and with them its namespace.
          x_ready; kill -9 $(keeper_of $F) $(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' $F/nodes/*/process.json)
          tries=0; while ip -o link | grep -q kvmf; do tries=$((tries + 1)); test $tries -lt 200 || fail 'the link stays'; sleep 0.05; done
          test "$(rules | wc -l)" -ge 3 || fail "the control: $(rules)"
        }
        drops; host > ../before; $UP; kvmc snapshot save a; host > ../up; kvmc fork --from a x; killed
        for verb in 'ls' '--cluster x status' 'doctor'; do
          kvmc $verb > ../said 2>&1 || true
          grep -q 'the fork was killed, and the host still has its rules (.*the nft table inet kvmc_kvmf' ../said || { cat ../said; fail "$verb does not tell"; }
        done
        kvmc doctor --fix > ../said 2>&1 || true; grep 'removed what the killed fork had left' ../said || { cat ../said; fail 'doctor --fix'; }
        test -z "$(rules)" || fail "doctor leaves $(rules)"; ! kvmc ls | grep 'was killed' || fail 'ls still tells'
        # Its own start takes the rules over, and another fork removes them.
        x start --cold; killed; x start --cold; x_ready; x status > ../said; ! grep 'was killed' ../said || fail 'it runs'
        killed; kvmc fork --from a y; test "$(rules | sed 's/.*\(kvmf[0-9a-f]*\).*/\1/' | sort -u | wc -l)" = 1 || fail "left: $(rules)"
        ! kvmc ls | grep 'was killed' || fail 'ls after another fork'
        x start --cold || fail 'the namespace of the other fork is taken for that of the killed one'
        x_ready; kvmc --cluster y down; killed; x down; test -z "$(rules)" || fail "down leaves $(rules)"
        kvmc down; host > ../after; same ../before ../after 'the host as before'"#,
    );
}

#[test]
fn images_for_a_fork_come_from_addresses_that_the_host_reaches() {
    runs(
        r#"$UP; kvmc fork x; x_ready
        python3 -m http.server --bind 127.0.0.1 7001 > ../asked 2>&1 & server=$!
        tries=0; until ss -Hltn | grep -q :7001; do tries=$((tries + 1)); test $tries -lt 100 || fail 'no server'; sleep 0.05; done
        ! x image pull --insecure http://127.0.0.1:7001/none.qcow2 2> ../said || fail 'it pulled nothing'
        kill $server; grep 'none.qcow2' ../asked || { cat ../said; fail 'the server was not asked'; }
        x image ls; x down; kvmc down; none_left"#,
    );
}

/// A verb begins where the fork was, and may get the lock when the fork is somewhere else.
#[test]
fn verbs_that_wait_for_a_fork_work_where_it_has_come_to_be() {
    runs(
        r#"$UP; kvmc snapshot save a
        # Holds the fork's lock as soon as `fork` has written it, until ../go is there.
        cat > ../hold.py <<'PY'
import fcntl, os, sys, time
open("../ready", "w")
while not os.path.exists(sys.argv[1] + "/cluster.json"): time.sleep(0.001)
lock = open(sys.argv[1] + "/lock"); fcntl.flock(lock, fcntl.LOCK_EX)
open("../held", "w")
while not os.path.exists("../go"): time.sleep(0.02)
PY
        hold() { rm -f ../go ../held ../ready; python3 ../hold.py $F & until test -e ../ready; do sleep 0.02; done; }
        held() { tries=0; until test -e ../held; do tries=$((tries + 1)); test $tries -lt 400 || fail 'nobody holds the lock'; sleep 0.05; done; }
        hold; kvmc --wait 60 fork --from a x > ../fork 2>&1 & fork=$!
        held; waiting=
        for verb in start 'forward add 8081:master0:22'; do
          x --wait 60 $verb > "../of.${verb%% *}" 2>&1 & waiting="$waiting $!"
        done
        sleep 1; touch ../go
        wait $fork || { cat ../fork; fail 'fork'; }
        for p in $waiting; do wait $p || { cat ../of.*; fail 'a verb that waited'; }; done
        x_ready; all_ready; banner dial 127.0.0.1 8081; x down; none_left
        # The fork stays if only its start has to wait.
        hold; refused 1 'the fork `x` is made, but another verb works on it' fork --from a x
        grep -q -- '--cluster x start` starts it' ../said || fail hint; grep -q 'is locked by' ../said || fail cause
        touch ../go; test -e $F/cluster.json || fail 'the fork was removed'; x --wait 60 start; x_ready; x down
        kvmc down; none_left"#,
    );
}

#[test]
fn verbs_about_snapshots_and_forks_print_their_outcome_as_json() {
    runs(
        r#"is() { # EXPRESSION VERB...: of the object `o` on stdout, while the words go to stderr
          want=$1; shift; "$@" > ../out 2> ../words || { cat ../words; fail "$*"; }
          python3 -c 'import json, sys; o = json.load(open("../out")); assert o["schema"] == 1 and eval(sys.argv[1]), o' "$want" || fail "$*"
          test -s ../words || fail "$* says nothing"
        }
        $UP
        is 'o["name"] == "a" and o["nodes"] == 3 and o["paused"] > 0 and o["removed"] == []' kvmc snapshot save a --json
        is 'o["name"] == "a" and o["file"] == "a.tar" and o["size"] > 0' kvmc snapshot export a a.tar --json
        is 'o["name"] == "a" and o["nodes"] == 3 and o["down"] > 0' kvmc snapshot rollback a --json
        is '(o["name"], o["of"], o["snapshot"], o["nodes"], o["paused"]) == ("x", "k80", "a", 3, None) and o["start"]["outcome"]["done"]["failed"] == []' kvmc fork --from a x --json
        x down; kvmc snapshot save b
        is 'o["removed"] == ["a", "b"]' kvmc snapshot rm a b --json
        is 'o["name"] == "a"' kvmc snapshot import a.tar --json
        # What is gone is told although the rest is not there.
        code=0; kvmc snapshot rm a none --json > ../out 2> ../words || code=$?; test $code != 0 || fail 'it removed what is not there'
        grep -q '"a"' ../out || fail "$(cat ../out)"; grep -q 'no snapshot `none`' ../words || fail "$(cat ../words)"
        kvmc down; none_left"#,
    );
}
