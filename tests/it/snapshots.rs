//! Snapshots of a whole cluster, on the tests' fake QEMU.

use super::fake;

/// Shell functions that the scripts below share.
pub(super) const WORDS: &str = r#"
K=$KVMC_STATE_DIR/clusters/k80
UP="kvmc up --accel tcg $SMALL --masters 2 --workers 1 --load-balancers 0 --cold"
NODES="master0 master1 worker0"
order() { cat ../bin/order 2>/dev/null; }
# QEMU runs as a user of its own.
forget() { : > ../bin/order; chmod 666 ../bin/order; }
# The number of the first, or last, line of the order with a command.
first() { order | grep -n " $1\$" | head -n 1 | cut -d: -f1; }
last() { order | grep -n " $1\$" | tail -n 1 | cut -d: -f1; }
count() { order | grep -c " $1\$" || true; }
learn() { for n in $NODES; do echo "learn $1" > ../bin/do.$n; done; sleep 0.3; }
knows() { # WORD: each guest said so when it last went on.
  for n in $NODES; do
    tries=0
    until case "$(grep 'the guest knows' $K/nodes/$n/console.log | tail -n 1)" in *"knows $1"*) true ;; *) false ;; esac; do
      tries=$((tries + 1)); test $tries -lt 100 || fail "$n knows: $(grep 'the guest knows' $K/nodes/$n/console.log | tail -n 1)"; sleep 0.05
    done
  done
}
all_ready() {
  tries=0
  until test "$(kvmc status 2>/dev/null | grep -c '  *ready')" = 3; do
    tries=$((tries + 1)); test $tries -lt 200 || { kvmc status; cat $K/events.jsonl; fail 'not ready'; }; sleep 0.05
  done
}
pids() { grep -h '"pid"' $K/nodes/*/process.json; }
# Every image that the record names is there, and none that nothing names.
images() { python3 - "$K" <<'PY'
import json, os, sys
k = sys.argv[1]
record = json.load(open(k + "/cluster.json"))
saved = [json.load(open(e.path + "/snapshot.json")) for e in os.scandir(k + "/snapshots") if not e.name.startswith(".")] if os.path.isdir(k + "/snapshots") else []
for node in record["nodes"]:
    folder = k + "/nodes/" + node["name"]
    named = {"disk.qcow2", "extra1.qcow2"}
    for chains in [node.get("chains", [])] + [s["nodes"][node["name"]]["chains"] for s in saved]:
        for chain in chains:
            named.update(chain)
            for image in chain:
                assert os.path.exists(folder + "/" + image), (node["name"], image)
    there = {n for n in os.listdir(folder) if n.endswith(".qcow2")}
    assert there <= named, (node["name"], there - named)
PY
}
"#;

fn runs(script: &str) -> String {
    fake::runs(&fake::bench(), &format!("{WORDS}\n{script}"))
}

#[test]
fn a_cluster_is_saved_at_one_instant_and_goes_back_to_it() {
    runs(
        r#"$UP --disks 1G; learn one; pids > ../before; forget
        test "$(kvmc snapshot save --note 'the first')" = s1 || fail name
        # None is saved before all stand, and none goes on before all are saved.
        test "$(count stop) $(count cont) $(count blockdev-snapshot)" = '3 3 6' || fail "$(order)"
        test $(last stop) -lt $(first xen-save-devices-state) || fail "$(order)"
        test $(last blockdev-snapshot) -lt $(first cont) || fail "$(order)"
        test $(last xen-save-devices-state) -lt $(first cont) || fail "$(order)"
        pids > ../after; same ../before ../after 'the QEMUs go on'
        knows one; learn two; kvmc snapshot save second; knows two; learn three
        kvmc snapshot ls > ../ls; cat ../ls
        grep -q '^s1 .*the first$' ../ls || fail ls; grep -q '^second \*.* s1' ../ls || fail ls
        images; forget
        kvmc snapshot rollback s1
        test "$(count migrate-incoming) $(count cont) $(count stop)" = '3 3 0' || fail "$(order)"
        test $(last migrate-incoming) -lt $(first cont) || fail "$(order)"
        knows one; all_ready; images
        test ! -e $K/restoring.json || fail 'it is still to be restored'
        kvmc snapshot rollback second; knows two; all_ready
        # Saved disks outlive a stop, and a stopped cluster goes back too.
        kvmc stop; kvmc snapshot rollback s1; knows one; all_ready; images
        kvmc snapshot rm s1 second; images
        # What no snapshot needs is merged when nobody uses it.
        kvmc stop; images; test "$(ls $K/nodes/worker0/*.qcow2 | wc -l)" = 2 || fail "$(ls $K/nodes/worker0)"
        kvmc start --cold; all_ready
        kvmc status | grep -q 'snapshot' && fail 'status names a snapshot that is gone'
        kvmc down; test ! -e $K || fail 'down leaves something'"#,
    );
}

#[test]
fn saved_memory_goes_only_to_the_nodes_that_it_is_of() {
    runs(
        r#"says() { want=$1; shift; ! "$@" 2> ../said || fail "$* was done"; grep -qF -- "$want" ../said || { cat ../said; fail "$* did not say: $want"; }; }
        $UP; learn one; kvmc snapshot save a
        kvmc rm master1; says 'which the cluster does not have' kvmc snapshot rollback a
        # A node that is made anew has the name, the size and the first image's name of the one before.
        kvmc scale masters=2 --cold; all_ready; pids > ../before
        says 'snapshot `a` needs another machine for node `master1`' kvmc snapshot rollback a
        pids > ../after; same ../before ../after 'the QEMUs go on'; learn two
        # The state of a suspended cluster fits its present nodes, all of them, and no verb spoils it on the way.
        kvmc stop --suspend
        says 'which fits only the nodes that it has' kvmc scale workers=2
        says 'which fits only the nodes that it has' kvmc rm worker0
        says 'only as a whole' kvmc start --cold worker0
        says 'needs another machine' kvmc snapshot rollback a
        kvmc start; knows two; all_ready; images
        # What the cluster goes back to cannot be removed under it.
        kvmc snapshot save b; kvmc stop; ip link add k80 type bridge
        says 'k80' kvmc snapshot rollback b
        says 'is going back to snapshot `b`' kvmc snapshot rm b
        ip link delete k80; kvmc start; knows two; all_ready; images"#,
    );
}

#[test]
fn p54_a_rollback_is_no_death_and_starts_no_restart_policy() {
    runs(
        r#"$UP --set restart=always 2>/dev/null || $UP; learn one
        kvmc snapshot save a; sleep 1
        kvmc snapshot rollback a; knows one; all_ready
        kvmc events > ../events; cat ../events
        ! grep -qE 'restart|ended|paused|lost|resumed' ../events || fail 'a rollback looks like a death'
        grep -q snapshot ../events || fail 'no event tells of the snapshot'
        grep -q restored ../events || fail 'no event tells of the rollback'"#,
    );
}

#[test]
fn p45_p53_guests_go_on_when_the_verb_or_the_keeper_is_killed() {
    runs(
        r#"$UP; learn one; kvmc snapshot save a
        echo 'xen-save-devices-state-takes 3000' > ../bin/script
        for who in verb keeper; do
          forget; kvmc snapshot save b > ../said 2>&1 & pid=$!
          tries=0; until test "$(count xen-save-devices-state)" = 3; do tries=$((tries + 1)); test $tries -lt 200 || fail 'they do not stand'; sleep 0.05; done
          kvmc status 2>/dev/null | grep -q paused && fail 'a standstill looks like a pause'
          case $who in
            verb) kill -9 $pid ;;
            keeper) kill -9 $(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' $K/keeper.json) ;;
          esac
          wait $pid && fail 'it was not ended' || true
          cat ../said
          tries=0; until test "$(count cont)" -ge 3; do tries=$((tries + 1)); test $tries -lt 200 || fail "no guest goes on after the $who: $(order)"; sleep 0.05; done
          all_ready
          test ! -e $K/nodes/master0/pausing || fail 'a mark is left'
        done
        rm ../bin/script
        kvmc snapshot ls > ../ls; cat ../ls; test $(wc -l < ../ls) = 2 || fail 'a part of a snapshot is listed'
        kvmc snapshot save c; images; knows one
        kvmc snapshot rollback a; knows one; all_ready; images
        kvmc events > ../events; ! grep -q paused ../events || fail "$(cat ../events)""#,
    );
}

#[test]
fn p52_a_full_disk_costs_the_save_and_nothing_else() {
    runs(
        r#"$UP; learn one; pids > ../before
        mkdir -p $K/snapshots; mount -t tmpfs -o size=4M none $K/snapshots
        # What fits by the figures, and no more when it is written.
        echo 'xen-save-devices-state-takes 1000' > ../bin/script; forget
        kvmc snapshot save full 2> ../said & pid=$!
        tries=0; until test "$(count stop)" = 3; do tries=$((tries + 1)); test $tries -lt 200 || fail 'they do not stand'; sleep 0.05; done
        dd if=/dev/zero of=$K/snapshots/.saving/filled bs=4k 2>/dev/null || true
        ! wait $pid || fail 'it was saved'; cat ../said; rm ../bin/script
        grep -qi 'no space' ../said || fail 'it does not say why'
        test -z "$(ls -A $K/snapshots)" || fail "$(ls -A $K/snapshots)"
        # What does not fit by the figures is refused before anything stops.
        mount -o remount,size=16k $K/snapshots; forget
        ! kvmc snapshot save full 2> ../said || fail 'it was saved'; cat ../said
        grep -q 'no space to save 3 nodes: they may take .* is free' ../said || fail 'it does not say what is missing'
        grep -q 'save-disk-short' ../said || fail 'it has no code'
        ! kvmc stop --suspend 2> ../said || fail 'it was suspended'; grep -q 'no space to save 3 nodes' ../said || fail "$(cat ../said)"
        test "$(count stop)" = 0 || fail 'they stood still'
        umount $K/snapshots
        pids > ../after; same ../before ../after 'the QEMUs go on'; all_ready; images
        kvmc snapshot save a; kvmc snapshot rollback a; knows one; all_ready"#,
    );
}

#[test]
fn p50_p51_a_snapshot_is_private_and_refused_where_it_does_not_fit() {
    runs(
        r#"$UP; learn one; kvmc snapshot save a; pids > ../before
        test -z "$(find $K/snapshots -type f ! -perm 600)" || fail 'others may read it'
        test -z "$(find $K/snapshots -type d ! -perm 700)" || fail 'others may enter it'
        refused() { ! kvmc snapshot rollback a 2> ../said || fail 'it was restored'; cat ../said; grep -q "$1" ../said || fail "it does not say: $1"; }
        touch -d '2001-01-01' ../bin/qemu-system-x86_64; refused 'another QEMU for node `master0`'
        touch -r $K/nodes/master0/disk.qcow2 ../bin/qemu-system-x86_64
        kvmc snapshot rm a; kvmc snapshot save a
        cp -a $K/snapshots/a/worker0.stream ../kept
        printf x | dd of=$K/snapshots/a/worker0.stream bs=1 seek=40 conv=notrunc status=none
        refused 'worker0.stream'
        cp -a ../kept $K/snapshots/a/worker0.stream
        pids > ../after; same ../before ../after 'the QEMUs that were to be replaced'
        kvmc scale workers=2 --cold; refused 'which snapshot `a` does not have'
        kvmc rm worker1; kvmc snapshot rollback a; knows one; all_ready
        kvmc down; test ! -e $K || fail 'down leaves something'"#,
    );
}

#[test]
fn wrong_requests_change_nothing() {
    runs(
        r#"refused() { # CODE WORDS VERB...
          code=0; want=$1; words=$2; shift 2
          kvmc "$@" > ../said 2>&1 || code=$?; cat ../said
          test $code = $want || fail "$* ended with $code"
          grep -q "$words" ../said || fail "$* does not say: $words"
          ! grep -q panicked ../said || fail 'it panicked'
        }
        refused 4 'no cluster' snapshot save; refused 4 'no cluster' snapshot ls
        $UP; kvmc snapshot save a
        refused 2 'expected 1 to 64' snapshot save ../x
        refused 2 'expected 1 to 64' snapshot rollback .saving
        refused 1 'has a snapshot `a` already' snapshot save a
        refused 4 'has no snapshot `b`; expected a' snapshot rollback b
        refused 4 'has no snapshot `b`' snapshot rm b
        refused 2 'note' snapshot save c --note "$(head -c 2000 /dev/zero | tr '\0' x)"
        refused 2 '0 is not in' snapshot save c --keep 0
        kvmc stop worker0; refused 1 'worker0 is stopped' snapshot save c
        kvmc start worker0
        for n in 1 2 3; do kvmc snapshot save --keep 2 2>/dev/null; done
        test "$(kvmc snapshot ls | awk 'NR > 1 { print $1 }' | tr '\n' ' ')" = 'a s2 s3 ' || fail "$(kvmc snapshot ls)"
        kvmc snapshot ls --json | python3 -c 'import json, sys; assert [s["name"] for s in json.load(sys.stdin)["snapshots"]] == ["a", "s2", "s3"]'
        images
        kvmc stop; refused 1 'is stopped; only a running one' snapshot save c"#,
    );
}

#[test]
fn what_nodes_have_written_since_a_snapshot_is_told() {
    runs(
        r#"$UP --disks 1G; kvmc snapshot save a
        kvmc snapshot diff a > ../diff; cat ../diff
        test "$(grep -c ' 0K  *0$' ../diff)" = 6 || fail 'something changed by itself'
        kvmc stop
        top=$(ls $K/nodes/master1/disk.*.qcow2)
        qemu-io -f qcow2 -c 'write -P 7 1M 100k' $top > ../qemu-io
        qemu-io -f qcow2 -c 'write -P 7 0 4k' $(ls $K/nodes/worker0/extra1.*.qcow2) >> ../qemu-io
        kvmc snapshot diff a > ../diff; cat ../diff
        grep -q '^master1  *disk  *100K  *0$' ../diff || fail 'the disk'
        grep -q '^worker0  *extra1  *4K  *unknown: it has no ext2' ../diff || fail 'the extra disk'
        test "$(grep -c ' 0K  *0$' ../diff)" = 4 || fail 'the others'
        kvmc snapshot diff a --json | python3 -c 'import json, sys
nodes = {n["node"]: {d["disk"]: d["bytes"] for d in n["disks"]} for n in json.load(sys.stdin)["nodes"]}
assert nodes["master1"] == {"disk": 102400, "extra1": 0}, nodes'
        kvmc df > ../df; cat ../df; grep -q '^snapshot  *k80/a ' ../df || fail 'df'
        # What the nodes wrote is gone after a rollback.
        kvmc snapshot rollback a; all_ready
        kvmc snapshot diff a | grep -c ' 0K  *0$' | grep -q '^6$' || fail 'after the rollback'
        ! kvmc snapshot diff b 2> ../said || fail 'of no snapshot'"#,
    );
}

#[test]
fn an_exported_snapshot_is_imported_again_and_only_where_it_fits() {
    runs(
        r#"refused() { ! kvmc snapshot import $1 2> ../said || fail 'it was imported'; cat ../said; grep -q "$2" ../said || fail "it does not say: $2"; }
        $UP --disks 1G; learn one; kvmc snapshot save a; learn two; kvmc snapshot save b
        kvmc snapshot export a ../a.tar; kvmc snapshot export a ../a.tar.zst; ls -l ../a.tar*
        test "$(stat -c %a ../a.tar ../a.tar.zst | sort -u)" = 600 || fail 'others may read it'
        test $(stat -c %s ../a.tar.zst) -lt $(stat -c %s ../a.tar) || fail 'it is not packed'
        ! kvmc snapshot export a ../a.tar 2> ../said || fail 'it was replaced'
        tar tf ../a.tar | sed 's|/.*||' | sort -u | tr '\n' ' ' | grep -q 'images kvmc-snapshot.json nodes streams ' || fail "$(tar tf ../a.tar)"
        refused ../a.tar 'has a snapshot `a` already'
        kvmc snapshot rm a; learn three
        # Damage at any place, and what is no such file.
        for at in 3000 300000 $(($(stat -c %s ../a.tar) - 3000)); do
          cp ../a.tar ../damaged.tar; printf 'damage' | dd of=../damaged.tar bs=1 seek=$at conv=notrunc status=none
          if kvmc snapshot import ../damaged.tar 2> ../said; then
            kvmc snapshot rm a; cmp ../damaged.tar ../a.tar > /dev/null || fail "damage at $at goes unnoticed"
          fi
          test ! -e $K/snapshots/.saving || fail 'a part is left'; images
        done
        refused inventory 'is not an exported snapshot'
        test "$(kvmc snapshot import ../a.tar.zst)" = a || fail name
        images; kvmc snapshot ls; test ! -e $K/snapshots/.saving || fail 'a part is left'
        test -z "$(find $K/snapshots -type f ! -perm 600)" || fail 'others may read it'
        kvmc snapshot rollback a; knows one; all_ready; images
        kvmc snapshot rollback b; knows two; all_ready; images
        # What claims to hold more than there is room for writes nothing, whatever it holds.
        kvmc snapshot rm a
        python3 - ../a.tar ../bomb.tar <<'PY'
import io, json, sys, tarfile
old = tarfile.open(sys.argv[1])
with tarfile.open(sys.argv[2], "w") as new:
    for member in old:
        data = old.extractfile(member).read()
        if member.name == "kvmc-snapshot.json":
            contents = json.loads(data)
            contents["files"].append({"name": "streams/more", "size": 1 << 60, "digest": "0" * 64})
            data = json.dumps(contents).encode()
            member.size = len(data)
        new.addfile(member, io.BytesIO(data))
PY
        refused ../bomb.tar 'no space to import ../bomb.tar: what it holds may take .* is free'
        grep -q 'save-disk-short' ../said || fail 'it has no code'
        test ! -e $K/snapshots/.saving || fail 'something was written'; images
        test "$(kvmc snapshot import ../a.tar)" = a || fail 'the true one'
        kvmc down; $UP --disks 1G; refused ../a.tar 'is of another cluster'
        test ! -e $K/snapshots || test -z "$(ls -A $K/snapshots)" || fail 'something is left'"#,
    );
}

#[test]
fn p56_a_suspended_cluster_outlives_a_reboot_of_the_host() {
    runs(
        r#"host > ../before
        reboot() { # What a reboot leaves: files, of another boot and of a network namespace that is no more.
          kill -9 $(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' $K/keeper.json $K/nodes/*/process.json 2>/dev/null) 2>/dev/null || true
          for l in $(ip -o link | sed -n 's/^[0-9]*: \(k80[^:@]*\).*/\1/p'); do ip link del $l 2>/dev/null || true; done
          nft flush ruleset; echo 0 > /proc/sys/net/ipv4/ip_forward
          sed -i 's/"boot_id": "[^"]*"/"boot_id": "an-earlier-one"/; s/"namespace": [0-9]*/"namespace": 1/' $(find $K -name '*.json' ! -name snapshot.json) $(ls $KVMC_STATE_DIR/host.json 2>/dev/null)
        }
        facts() { cat $K/known_hosts $K/inventory; cat $K/leases* 2>/dev/null | sort; grep -hE '"(address|mac|uuid|machine_id)"' $K/cluster.json; cksum < $K/secrets.json; }
        $UP --disks 1G; learn one; all_ready; facts > ../facts
        kvmc stop --suspend; test ! -e $K/nodes/master0/qmp.sock || fail 'a socket is left'
        test -z "$(ip -o link show type bridge)" || fail 'a bridge is left'
        reboot; kvmc status > ../status; cat ../status; grep -q suspended ../status || fail 'status does not tell'
        forget; kvmc start
        test "$(count migrate-incoming)" = 3 || fail 'they did not go on from their memory'
        knows one; all_ready; images; facts > ../again; same ../facts ../again 'addresses, keys and leases'
        test ! -e $K/suspended && test ! -e $K/restoring.json || fail 'the memory that has gone on is still there'
        # At shutdown, the unit suspends where it was told to, and resumes with the host.
        learn two; kvmc service stop --suspend > ../said 2>&1; cat ../said; grep -q 'suspended 3 nodes' ../said || fail 'it was not suspended'
        reboot; forget; kvmc service start
        test "$(count migrate-incoming)" = 3 || fail 'they did not go on from their memory'
        knows two; all_ready; images
        # One that cannot be suspended is shut down.
        kvmc stop worker0; kvmc service stop --suspend > ../said 2>&1 || true; cat ../said
        grep -q 'is shut down, because it cannot be suspended' ../said || fail 'it does not say why'
        test "$(kvmc status | grep -c '  *stopped')" = 3 || fail 'it runs'
        kvmc service start; kvmc start; all_ready; images
        kvmc down; host > ../after; same ../before ../after 'the host after all of it'"#,
    );
}

#[test]
fn connections_of_before_are_cut_off_at_a_rollback_and_later_ones_pass() {
    runs(
        r#"cat > ../hold.py <<'PY'
# Holds a connection, and writes what the other end does to it.
import os, signal, socket, sys
address, port, said = sys.argv[1:]
signal.alarm(120)
s = socket.create_connection((address, int(port)), 10)
def say(word): open(said, "a").write(word + "\n")
s.sendall(b"x"); assert s.recv(9) == b"x"
say("open %d" % s.getsockname()[1])
s.settimeout(0.2)
try:
    while not os.path.exists("../over"):
        if "speaks" in said: s.sendall(b"y")
        try: what = s.recv(9)
        except TimeoutError: continue
        if not what: break
    say("end")
except ConnectionResetError: say("reset")
PY
        trap 'code=$?; touch ../over; kill ${server:-} 2>/dev/null || true; kvmc down >/dev/null 2>&1 || true; exit $code' EXIT
        until_says() { tries=0; until grep -q "$2" ../said.$1 2>/dev/null; do tries=$((tries + 1)); test $tries -lt 200 || fail "$1: $(cat ../said.$1)"; sleep 0.05; done; }
        tracked() { grep -c "sport=$(sed -n 's/open //p' ../said.$1) dport=$2 " /proc/net/nf_conntrack || true; }
        hold() { # NAME ADDRESS PORT COMMAND...
          name=$1; at=$2; port=$3; shift 3; rm -f ../said.$name; "$@" python3 ../hold.py $at $port ../said.$name & until_says $name open
        }
        $UP --forward 2223:worker0:22; learn one; kvmc snapshot save a
        python3 -m http.server --bind 203.0.113.2 7001 > ../server 2>&1 & server=$!
        tries=0; until ss -Hltn | grep -q :7001; do tries=$((tries + 1)); test $tries -lt 400 || fail "no server: $(cat ../server)"; sleep 0.05; done
        for way in 'snapshot rollback a' 'try --always -- sleep 2'; do
          all_ready; echo 'worker0 echo yes' > ../bin/script
          hold relayed 127.0.0.1 2223 env; hold speaks 203.0.113.2 2223 outside; rm -f ../said.other
          outside python3 -c 'import os, socket, time; s = socket.create_connection(("203.0.113.2", 7001)); open("../said.other", "w").write("open %d" % s.getsockname()[1])
while not os.path.exists("../over"): time.sleep(0.2)' &
          until_says other open
          test "$(tracked speaks 2223) $(tracked other 7001)" = '1 1' || fail "the control: $(cat /proc/net/nf_conntrack)"
          ! grep reset ../said.* || fail 'a connection ends by itself'
          kvmc $way || fail "$way"
          until_says relayed reset; until_says speaks reset
          test "$(tracked other 7001)" = 1 || fail "a connection of others is gone: $(cat /proc/net/nf_conntrack)"
          rm ../bin/script; knows one
        done
        all_ready; echo 'worker0 echo yes' > ../bin/script
        # The host forgets one that says nothing.
        hold silent 203.0.113.2 2223 outside; test "$(tracked silent 2223)" = 1 || fail 'the control'
        kvmc snapshot rollback a
        test "$(tracked silent 2223)" = 0 || fail "$(cat /proc/net/nf_conntrack)"
        hold again 127.0.0.1 2223 env; hold more 203.0.113.2 2223 outside
        kvmc down"#,
    );
}
