//! Clusters that change while they run: other numbers of nodes, other machines, plans, on the tests' fake QEMU.

use super::fake;
use super::support::Bench;

/// Shell functions that the scripts below share.
const WORDS: &str = r#"
K=$KVMC_STATE_DIR/clusters/k80
UP="kvmc up --accel tcg $SMALL --masters 1"
# Name, pid and address of each node.
nodes() { kvmc status --json 2>/dev/null | python3 -c '
import json, sys
for n in json.load(sys.stdin)["nodes"]: print(n["name"], n["pid"], n["address"])'; }
# Fails unless each node named by what was kept before has the same pid and address.
stay() { nodes > ../now; for n in "$@"; do grep "^$n " ../kept | grep -qxFf - ../now || fail "$n was touched: $(cat ../kept ../now)"; done; }
keep() { nodes > ../kept; }
is() { test "$(nodes | cut -d' ' -f1 | tr '\n' ' ')" = "$* " || fail "the nodes are $(nodes)"; }
# A verb that must fail.
refused() { code=0; "$@" > ../said 2>&1 < /dev/null || code=$?; cat ../said; test $code != 0 || fail "$* was not refused"; if grep -q panicked ../said; then fail panic; fi; }
said() { grep -qF -- "$1" ../said || fail "it does not say: $1"; }
ask() { dig @192.168.80.1 +short +tries=1 +timeout=6 "$1"; }
# The files and DNS have these nodes and no others.
follow() {
  want=$(for n in "$@"; do echo $n; done | sort)
  for file in ssh_config; do test "$(sed -n 's/^Host \([a-z]*[0-9]*\)\( .*\)*$/\1/p' $file | sort -u)" = "$want" || fail "$file: $(cat $file)"; done
  test "$(sed -n 's/^\([a-z]*[0-9]*\) ansible_host.*/\1/p' inventory | sort -u)" = "$want" || fail "inventory: $(cat inventory)"
  for n in "$@"; do
    address=$(nodes | sed -n "s/^$n [^ ]* //p")
    test "$(ask $n)" = $address || fail "DNS: $n is $(ask $n)"
    grep -q "^$n,$address \|$address" known_hosts || fail "known_hosts lacks $n"
  done
}
"#;

fn runs(script: &str) {
    runs_in(&fake::bench(), script);
}

fn runs_in(bench: &Bench, script: &str) -> String {
    fake::runs(bench, &format!("{WORDS}\n{script}"))
}

#[test]
fn a_cluster_grows_and_shrinks_and_no_other_node_notices() {
    runs(
        r#"$UP --workers 3 --forward 127.0.0.1:8081:worker1:80
        follow master0 worker0 worker1 worker2 lbl0; keep
        kvmc scale workers=5 2> ../said; cat ../said
        is master0 worker0 worker1 worker2 worker3 worker4 lbl0
        stay master0 worker0 worker1 worker2 lbl0
        follow master0 worker0 worker1 worker2 worker3 worker4 lbl0; keep
        # Without a terminal nobody agrees.
        refused kvmc scale workers=2
        said 'this removes worker2, worker3, worker4 with all data on their disks; --yes agrees to it'
        refused kvmc up --workers 2; said 'worker2, worker3, worker4'
        stay master0 worker0 worker1 worker2 worker3 worker4 lbl0
        kvmc scale workers=2 --yes 2> ../said; cat ../said; said 'removed worker2, worker3, worker4'
        is master0 worker0 worker1 lbl0; stay master0 worker0 worker1 lbl0
        follow master0 worker0 worker1 lbl0
        test ! -e $K/nodes/worker3 || fail 'the disk is left'
        test -z "$(ask worker3)" || fail 'a removed name resolves'
        ss -Hltn 'sport = :8081' | grep -q . || fail 'the forward is gone'
        # By name, with its forward. What it was asked for is remembered, and its number stays free.
        keep; old=$(nodes | sed -n 's/^worker0 //p')
        kvmc rm worker1 2> ../said; cat ../said; said 'removed worker1'
        is master0 worker0 lbl0; stay master0 worker0 lbl0
        test -z "$(kvmc forward ls --json | grep '"port"')" || fail 'a forward leads nowhere'
        if ss -Hltn 'sport = :8081' | grep -q .; then fail 'the port is still open'; fi
        kvmc rm worker0 2>/dev/null || fail 'the role may be empty'
        kvmc scale workers=1 lbl=2 2>/dev/null
        is master0 worker0 lbl0 lbl1
        # Its address rested.
        test "$(nodes | sed -n 's/^worker0 [0-9]* //p')" = "${old#* }" || fail "another address: $(nodes), not $old"
        test "$(nodes | sed -n 's/^lbl1 [0-9]* //p')" = 192.168.80.9 || fail "an address that rests was given away: $(nodes)"
        kvmc scale workers=1 2> ../said; said 'nothing to do'
        kvmc up 2> ../said; said 'nothing to do'
        # The file wins over what the cluster remembers.
        printf 'workers = 2\n' > kvmc.toml
        code=0; kvmc plan > ../said || code=$?; test $code = 2 || fail "plan ended with $code"
        said 'workers: 1 -> 2 (from kvmc.toml:1)  [live]'
        kvmc up 2>/dev/null; is master0 worker0 worker1 lbl0 lbl1; follow master0 worker0 worker1 lbl0 lbl1
        kvmc scale workers=1 --yes 2> ../said; said 'note: workers is 2 in kvmc.toml:1; the next `kvmc up` applies that'
        kvmc up 2>/dev/null
        kvmc stop 2>/dev/null; kvmc start 2>/dev/null; is master0 worker0 worker1 lbl0 lbl1
        kvmc down"#,
    );
}

#[test]
fn wrong_numbers_and_names_change_nothing() {
    runs(
        r#"refused kvmc scale workers=1; test $code = 4 || fail "$code"
        refused kvmc rm worker0; test $code = 4 || fail "$code"
        $UP --workers 1 2>/dev/null; keep; cp $K/cluster.json ../record
        refused kvmc scale wrokers=2; said 'did you mean `workers`?'; test $code = 4 || fail "$code"
        refused kvmc scale workers=300; said '192.168.80.0/24 has 253 addresses for nodes'; test $code = 2 || fail "$code"
        refused kvmc scale workers=-1; said '`-1` is not a number of nodes'; test $code = 2 || fail "$code"
        refused kvmc scale workers=x; said '(from argument workers=x)'
        refused kvmc scale workers; said 'expected a form such as workers=5'; test $code = 2 || fail "$code"
        refused kvmc scale masters=0
        refused kvmc rm worker7; said 'no node `worker7`'; test $code = 4 || fail "$code"
        refused kvmc rm worker0 wroker0
        refused kvmc rm master0; said 'needs at least one master'; said ' down` removes the whole cluster'
        refused kvmc rm master0 worker0 lbl0; said 'a cluster needs at least one'
        refused kvmc up --disk 3G; said '3G is less than the 4G of the nodes that there are; a disk only grows'
        refused kvmc up --worker-ram 10T; said 'the changed nodes need 10239'
        refused kvmc stop worker9; said 'did you mean `worker0`?'; test $code = 4 || fail "$code"
        refused kvmc start nobody; refused kvmc restart nobody
        stay master0 worker0 lbl0; cmp ../record $K/cluster.json || fail 'the record changed'
        # Two verbs at once.
        printf 'worker0 deaf yes\n' > ../bin/script
        kvmc rm worker0 --timeout 3 2> ../first & first=$!
        n=0; until grep -q '"verb"\|rm' $K/lock 2>/dev/null; do n=$((n + 1)); test $n -lt 100 || break; sleep 0.05; done
        refused kvmc scale workers=2; said 'is locked by pid'; said 'kvmc rm'
        kvmc --wait 30 scale lbl=2 2>/dev/null || fail 'it did not wait'
        wait $first || { cat ../first; fail 'the first verb'; }
        is master0 lbl0 lbl1; stay master0 lbl0
        # Two that wait for a third know of each other's work: nothing comes back, and nothing else goes.
        rm ../bin/script; kvmc scale workers=3 2>/dev/null; keep
        exec 9<>$K/lock; flock 9
        kvmc --wait 60 rm worker1 2> ../first 9>&- & first=$!
        kvmc --wait 60 rm worker0 2> ../second 9>&- & second=$!
        sleep 2; flock -u 9; exec 9>&-
        wait $first || { cat ../first; fail 'the first that waited'; }
        wait $second || { cat ../second; fail 'the second that waited'; }
        is master0 worker2 lbl0 lbl1; stay master0 worker2 lbl0 lbl1
        kvmc down; test ! -e $K || fail "$(ls -R $K)""#,
    );
}

#[test]
fn a_machine_changes_live_or_at_its_next_start() {
    runs(
        r#"size() { od -An -t u8 --endian=big -j 24 -N 8 $K/nodes/$1/disk.qcow2 | tr -d ' '; }
        ram() { kvmc status --json 2>/dev/null | python3 -c 'import json, sys; print([n["ram"] >> 20 for n in json.load(sys.stdin)["nodes"] if n["name"] == sys.argv[1]][0])' $1; }
        $UP --workers 1 2>/dev/null; keep
        code=0; kvmc plan --master-ram 600M --disk 6G > ../said || code=$?
        cat ../said; test $code = 2 || fail "plan ended with $code"
        said 'master_ram: 512M -> 600M (from flag --master-ram)  [at the next start]'
        said 'master0: RAM 512M -> 600M  [at the next start]'; said 'worker0: disk 4G -> 6G  [live]'
        said 'grow the disk of lbl0 to 6G'
        kvmc up --master-ram 600M --disk 6G 2> ../said; cat ../said
        said 'worker0: its disk has 6G'; said 'RAM and vcpus of master0 change at the next start; `kvmc restart master0`'
        stay master0 worker0 lbl0
        for n in master0 worker0 lbl0; do test "$(size $n)" = $((6 << 30)) || fail "the disk of $n has $(size $n)"; done
        test "$(ram master0)" = 512 || fail "RAM $(ram master0)"
        kvmc status | grep -q 'RAM and vcpus of master0 change at the next start' || fail 'status does not tell'
        kvmc plan > ../said || fail "there is still a change: $(cat ../said)"; said 'no change'
        kvmc restart master0 2> ../said; cat ../said
        stay worker0 lbl0; test "$(ram master0)" = 600 || fail "RAM $(ram master0)"
        if kvmc status | grep 'at the next start'; then fail 'it is still told'; fi
        # A guest that does not follow is told of, and grows at the next try.
        echo 'lbl0 no-growth yes' > ../bin/script
        refused kvmc up --disk 8G; said 'cannot grow the disk of lbl0 to 8G: its disk has 8192 MiB, but the root file system in the guest still has 6144 MiB'
        test "$(size worker0)" = $((8 << 30)) || fail 'the others grow'
        rm ../bin/script
        kvmc up 2> ../said; said 'lbl0: its disk has 8G'; kvmc up 2> ../said; said 'nothing to do'
        # A stopped node grows when it starts.
        kvmc stop lbl0 2>/dev/null; kvmc up --disk 9G 2>/dev/null
        test "$(size lbl0)" = $((9 << 30)) || fail "$(size lbl0)"
        stay worker0
        # Rules and the name server follow too.
        kvmc up --host-port 8080 --dns-record 'a A 192.0.2.7' --reserved 192.168.80.40-192.168.80.50 2>/dev/null
        nft list table inet kvmc_k80 | grep -q 8080 || fail 'the port is closed'
        test "$(ask a.k80.internal)" = 192.0.2.7 || fail 'the record'
        stay worker0
        kvmc down"#,
    );
}

#[test]
fn single_nodes_stop_start_and_restart() {
    runs(
        r#"state() { kvmc status --json 2>/dev/null | python3 -c 'import json, sys; print([n["state"] for n in json.load(sys.stdin)["nodes"] if n["name"] == sys.argv[1]][0])' $1; }
        # On a busy host status may give up waiting for the keeper once.
        becomes() { n=0; until test "$(state $1)" = "$2"; do n=$((n + 1)); test $n -lt 50 || fail "$1 is $(state $1), not $2"; sleep 0.2; done; }
        $UP --workers 2 --restart always 2>/dev/null; keep
        kvmc stop worker1 load_balancers 2> ../said; cat ../said
        test "$(state worker1)" = 'stopped (by name)' || fail "$(state worker1)"
        test "$(state lbl0)" = 'stopped (by name)' || fail "$(state lbl0)"
        # No policy brings it back, and other verbs leave it.
        sleep 2; test "$(state worker1)" = 'stopped (by name)' || fail "$(state worker1)"
        kvmc scale workers=3 2>/dev/null
        test "$(state worker1)" = 'stopped (by name)' || fail 'scale starts it'
        kvmc start worker1 2>/dev/null; becomes worker1 ready
        test "$(state lbl0)" = 'stopped (by name)' || fail 'start of one starts another'
        stay master0 worker0; keep
        kvmc restart workers 2>/dev/null; stay master0
        for n in worker0 worker1 worker2; do
          becomes $n ready
          if grep "^$n " ../kept | grep -qxFf - ../now; then fail "$n was not restarted"; fi
        done
        # The policy holds again.
        kill -9 $(nodes | sed -n 's/^worker1 \([0-9]*\) .*/\1/p')
        n=0; until case "$(state worker1)" in 'ready ('*) true ;; *) false ;; esac; do n=$((n + 1)); test $n -lt 150 || fail "$(state worker1)"; sleep 0.1; done
        kvmc up 2>/dev/null; becomes lbl0 ready
        kvmc stop 2>/dev/null; kvmc start master0 2>/dev/null
        becomes master0 ready; test "$(state worker0)" = 'stopped (by name)' || fail "$(state worker0)"
        kvmc restart 2>/dev/null
        for n in master0 worker0 worker1 worker2 lbl0; do becomes $n ready; done
        kvmc down"#,
    );
}

#[test]
fn a_stopped_cluster_changes_without_a_start() {
    runs(
        r#"$UP --workers 3 2>/dev/null; old=$(nodes | sed -n 's/^worker1 [0-9]* //p'); kvmc stop 2>/dev/null
        host | grep -v "$K" > ../before
        refused kvmc scale workers=2; said 'removes worker2'
        kvmc rm worker1 2> ../said; cat ../said; said 'is stopped; removed worker1'
        kvmc scale workers=4 2> ../said; cat ../said; said ' start` makes worker1, worker3'
        if grep -q worker1 inventory; then fail 'the inventory'; fi
        host | grep -v "$K" > ../after; same ../before ../after 'the host of a stopped cluster'
        kvmc start 2>/dev/null
        is master0 worker0 worker1 worker2 worker3 lbl0; follow master0 worker0 worker1 worker2 worker3 lbl0
        test "$(nodes | sed -n 's/^worker1 [0-9]* //p')" = $old || fail 'another address'
        kvmc down"#,
    );
}

#[test]
fn a_saved_plan_is_carried_out_as_it_was_or_not_at_all() {
    runs(
        r#"# As `up`, it says how many vcpus emulated nodes get.
        more=$(($(nproc) + 1)); kvmc plan --cold --accel tcg --master-ram 512M --vcpus $more --masters 1 --workers 0 --load-balancers 0 > ../out 2> ../said || true
        grep -q ", $more vcpus, " ../out || { cat ../out ../said; fail 'plan shows no vcpus'; }
        grep -q "emulated by TCG .*; $(nproc) of $more vcpus a node, the host has $(nproc) cores" ../said || { cat ../said; fail 'plan does not say how many vcpus a node gets'; }
        code=0; kvmc plan --accel tcg $SMALL --masters 1 --workers 1 --load-balancers 0 --out ../new > ../said || code=$?
        cat ../said; test $code = 2 || fail "$code"; said 'cluster `k80` is new'
        said '  + worker0: 192.168.80.3, 1 vcpu, 512M RAM, 4G disk  [new node]'
        if grep -q "$(printf '\033')" ../said; then fail 'colour without a terminal'; fi
        kvmc up --accel tcg $SMALL --masters 1 --workers 1 --load-balancers 0 --dry-run > ../steps
        sed -n '/^steps/,$s/^    //p' ../said > ../planned; same ../planned ../steps 'plan and --dry-run'
        kvmc up ../new 2>../up-said || { cat ../up-said; exit 1; }; is master0 worker0; keep
        kvmc plan > ../said || fail "a plan after it: $(cat ../said)"; said 'no change'
        kvmc plan --json | python3 -c 'import json, sys; p = json.load(sys.stdin); assert p == {"schema": 1, "cluster": "k80", "is_new": False, "settings": [], "nodes": [], "steps": []}, p'
        refused kvmc up ../new; said 'the cluster was made since the plan was made'
        code=0; kvmc plan --workers 2 --out ../more --json > ../json || code=$?; test $code = 2 || fail "$code"
        python3 -c '
import json; p = json.load(open("../json"))
assert p["settings"] == [{"key": "workers", "before": "1", "after": "2", "source": "flag --workers", "effect": "live"}], p
assert [(n["node"], n["effects"]) for n in p["nodes"]] == [("worker1", ["new-node"])], p' || fail 'JSON'
        refused kvmc --cluster lab up ../more; said 'is a plan of cluster `k80`, not of `lab`'
        refused kvmc up ../more --workers 3; test $code = 2 || fail "$code"
        refused kvmc up nothing-there
        head -c 300 ../more > ../cut; refused kvmc up ../cut; said 'is not a plan of kvmc'
        head -c 3000 /dev/urandom > ../noise; refused kvmc up ../noise
        # A node died since: that is not in the plan.
        kill -9 $(nodes | sed -n 's/^worker0 \([0-9]*\) .*/\1/p'); until kvmc status | grep -q 'killed by'; do sleep 0.1; done
        refused kvmc up ../more; said 'the host has changed since the plan was made: now it would also start worker0'
        kvmc up 2>/dev/null; refused kvmc up ../more; said 'the cluster has changed since the plan was made'
        kvmc plan --workers 2 --out ../more > /dev/null || true
        kvmc up ../more 2>/dev/null; is master0 worker0 worker1; stay master0
        # What loses data wants consent here too.
        code=0; kvmc plan --workers 1 --out ../less > ../said || code=$?; test $code = 2 || fail "$code"
        said '  - worker1: 192.168.80.4  [removes a node, loses data]'
        refused kvmc up ../less; said '--yes agrees to it'
        kvmc up ../less --yes 2>/dev/null; is master0 worker0; stay master0
        # At a terminal the question names what goes.
        ask() { printf "$1" | script -qec "kvmc up --workers 0" /dev/null > ../said 2>&1; }
        code=0; ask 'n\n' || code=$?; said 'remove worker0 with all data? [y/N]'; test $code = 1 || fail "$code"; is master0 worker0
        ask 'y\n' || fail "$(cat ../said)"; is master0
        kvmc plan > ../said 2>&1 || true
        script -qec "kvmc plan --workers 1" /dev/null > ../said 2>&1 < /dev/null || true
        grep -q "$(printf '\033\\[32m')" ../said || fail "no colour: $(cat ../said)"
        NO_COLOR=1 script -qec "kvmc plan --workers 1" /dev/null > ../said 2>&1 < /dev/null || true
        if grep -q "$(printf '\033\\[')" ../said; then fail 'colour in spite of NO_COLOR'; fi
        kvmc down
        # A plan keeps its options, and what it warns of is told once.
        kvmc plan --cold --accel tcg $SMALL --masters 1 --workers 0 --load-balancers 0 --subnet 10.244.7.0/24 --out ../cold > ../said 2>&1 || true
        if grep freeze ../said; then fail 'a cold plan freezes'; fi
        kvmc up ../cold 2> ../up-said || { cat ../up-said; fail 'a cold plan'; }
        if grep woken ../up-said; then fail 'woken by a cold plan'; fi
        test "$(grep -c 'is in the default range of' ../up-said)" = 1 || fail "$(cat ../up-said)"
        kvmc down"#,
    );
}

/// Ctrl-C between two steps: the verb says how things are, and `up` puts them in order.
#[test]
fn an_interrupted_change_is_completed_by_the_next_verb() {
    runs(
        r#"$UP --workers 2 2>/dev/null; keep
        printf 'worker1 deaf yes\n' > ../bin/script
        for verb in 'rm worker1' 'scale workers=1 --yes' 'stop worker1' 'restart worker1'; do
          code=0; kvmc $verb > ../said 2>&1 & pid=$!
          # Before it has the lock, nothing listens for the signal.
          n=0; until kvmc status 2>/dev/null | grep -q 'another verb works on it'; do n=$((n + 1)); test $n -lt 300 || fail "$verb has no lock"; sleep 0.1; done
          sleep 1; kill -INT $pid; wait $pid || code=$?
          cat ../said; test $code = 130 || fail "$verb ended with $code"
          said 'interrupted; '
          stay master0 worker0 lbl0
        done
        rm ../bin/script; kill -9 $(nodes | sed -n 's/^worker1 \([0-9]*\) .*/\1/p')
        # The removal was agreed to, so it goes on without a question.
        kvmc up 2>/dev/null < /dev/null; is master0 worker0 lbl0; stay master0 worker0 lbl0
        kvmc down"#,
    );
}
