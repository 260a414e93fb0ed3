//! Deaths, stops and restarts of nodes, on the tests' fake QEMU.

use super::fake;
use super::support::{Bench, script};

/// Shell functions that the scripts below share.
const WORDS: &str = r#"
node() { kvmc status --json 2>/dev/null | python3 -c '
import json, sys
node = next(n for n in json.load(sys.stdin)["nodes"] if n["name"] == sys.argv[1])
value = node[sys.argv[2]]
print(value if isinstance(value, (str, int)) else json.dumps(value))' "$1" "$2"; }
until_is() {
  left=$(( $1 * 10 ))
  until case "$(node $2 state)" in *"$3"*) true ;; *) false ;; esac; do
    left=$((left - 1)); test $left -gt 0 || { kvmc status; cat $K/events.jsonl; fail "$2 did not become $3"; }
    sleep 0.1
  done
  echo "$2: $(node $2 state)"
}
act() { echo "$2" > ../bin/do.$1; }
K=$KVMC_STATE_DIR/clusters/k80
UP="kvmc up --accel tcg $SMALL --load-balancers 0"
"#;

fn runs(script: &str) -> String {
    runs_in(&fake::bench(), script)
}

fn runs_in(bench: &Bench, script: &str) -> String {
    fake::runs(bench, &format!("{WORDS}\n{script}"))
}

#[test]
fn p20_p24_deaths_are_told_apart_and_break_no_other_node() {
    runs(
        r#"$UP --masters 5 --workers 1
        act master0 poweroff; act master1 panic; act master2 'exit 7'
        kill -9 $(node master3 pid); kill -TERM $(node master4 pid)
        until_is 10 master0 'the guest powered off'
        until_is 10 master1 "the guest's kernel panicked"
        until_is 10 master2 'QEMU ended with exit status 7'
        until_is 10 master3 'killed by signal 9'
        until_is 10 master4 'a signal asked QEMU to end'
        until_is 1 worker0 ready
        case "$(node master1 last_end)" in *'"panicked"'*time*) ;; *) fail "$(node master1 last_end)" ;; esac
        # status also knows it without the keeper.
        kill -9 $(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' $K/keeper.json)
        until_is 1 master1 "ago: the guest's kernel panicked"
        kill -9 $(node worker0 pid)
        until_is 5 worker0 'QEMU ended while no keeper ran'
        $UP; test "$(kvmc status 2>/dev/null | grep -c 'ready')" = 6 || fail 'up brings all back'
        until_is 1 master3 'ready ('
        grep -q '"event":"ended".*powered off' $K/events.jsonl || fail events"#,
    );
}

#[test]
fn a_node_that_fails_starts_again_by_its_roles_policy() {
    runs(
        r#"$UP --masters 1 --workers 2 --worker-restart on-failure
        old=$(node worker0 pid)
        kill -9 $old
        until_is 15 worker0 'ready (' # and what it came back from
        test "$(node worker0 pid)" != $old || fail 'the same process'
        kill -9 $(node master0 pid); until_is 5 master0 'killed by signal 9'
        act worker1 poweroff; until_is 5 worker1 'the guest powered off'
        sleep 2
        until_is 1 master0 'stopped ('; until_is 1 worker1 'stopped ('
        grep -q '"event":"restarting".*the keeper restarts it in 1 s' $K/events.jsonl || fail events
        # The policy of a running cluster can change.
        $UP --worker-restart always; until_is 1 worker1 ready
        act worker1 'poweroff now'; sleep 0.5; until_is 15 worker1 'ready ('
        kvmc stop
        test "$(kvmc status 2>/dev/null | grep -c stopped)" = 3 || fail 'stop is not undone by a policy'"#,
    );
}

/// A woken QEMU has no kernel to reset to, so a reboot of its guest ends it, also before the node is ready.
#[test]
fn up_goes_on_with_a_node_whose_guest_reboots_before_it_is_ready() {
    runs(
        r#"# What was said before is no sign: a shell in the background empties its file when it comes to it.
        until_said() { n=0; until grep -q "$1" ../said; do n=$((n + 1)); test $n -lt 400 || { cat ../said; fail "no $1"; }; sleep 0.05; done; }
        $UP --masters 1 --workers 0 2>/dev/null; kvmc down # what it wakes from
        for how in started joined; do
          rm -f ../bin/do.master0; echo 'lease 60000' > ../bin/script
          : > ../said; $UP --masters 1 --workers 0 2> ../said & pid=$!
          until_said 'master0 *identity'
          if [ $how = joined ]; then
            kill -9 $pid; wait $pid 2>/dev/null || true
            : > ../said; $UP --masters 1 --workers 0 2> ../said & pid=$!
            until_said 'master0 *identity'
          fi
          old=$(node master0 pid)
          rm ../bin/script; act master0 reboot
          code=0; wait $pid || code=$?
          cat ../said
          test $code = 0 || fail "$how: up ended with $code"
          grep -q 'master0: the guest rebooted; kvmc boots it again' ../said || fail "$how: the reboot is not told"
          until_is 1 master0 ready
          new=$(node master0 pid); test $new != $old || fail 'the same process'
          # The keeper, which waited for the lock, does not start a second QEMU.
          sleep 1.5; test "$(node master0 pid)" = $new || fail 'it was started twice'
          until_is 1 master0 ready
          kvmc down
        done
        # A power-off is reported as such.
        echo 'lease 60000' > ../bin/script
        : > ../said; $UP --masters 1 --workers 0 2> ../said & pid=$!
        until_said 'master0 *identity'
        act master0 poweroff; code=0; wait $pid || code=$?
        cat ../said; test $code = 3 || fail "ended with $code"
        grep -q 'master0: QEMU ended: the guest powered off' ../said || fail 'the cause'"#,
    );
}

#[test]
fn a_node_of_an_earlier_template_is_told_of() {
    runs(
        r#"printf 'master1 old-agent yes\n' > ../bin/script
        $UP --masters 2 --workers 0
        kvmc status > ../said; cat ../said
        grep -q 'the agent of master1 is of an earlier kvmc' ../said || fail 'it is not told'
        rm ../bin/script; kvmc stop; kvmc start
        if kvmc status | grep 'earlier kvmc'; then fail 'it is told of a new one'; fi"#,
    );
}

#[test]
fn a_kernel_that_does_not_boot_is_told_of() {
    runs(
        r#"printf 'master1 kernel 6.12.99-amd64\n' > ../bin/script
        $UP --masters 2 --workers 0
        told() { kvmc status | grep -q 'a kernel that was installed does not boot: 6.12.99-amd64 in master1;.*kvmc up --image NAME'; }
        n=0; until told; do n=$((n + 1)); test $n -lt 80 || fail "$(kvmc status)"; sleep 0.5; done
        rm ../bin/script; kvmc stop; kvmc start
        if told; then fail 'it is told though it is gone'; fi"#,
    );
}

#[test]
fn p19_a_node_that_was_stopped_says_nothing_of_how_once_it_is_back() {
    runs(
        r#"$UP --masters 2 --workers 0
        act master1 poweroff; until_is 10 master1 'the guest powered off'
        kvmc stop; kvmc start
        until_is 5 master0 ready; until_is 5 master1 ready
        test "$(node master0 state)" = ready || fail "$(node master0 state)"
        case "$(node master1 state)" in 'ready ('*'the guest powered off)') ;; *) fail "$(node master1 state)" ;; esac
        kvmc stop; kvmc start; until_is 5 master1 ready
        test "$(node master1 state)" = ready || fail "$(node master1 state)""#,
    );
}

#[test]
fn p19_stop_is_gentle_bounded_and_honest() {
    runs(
        r#"printf 'master1 deaf yes\nmaster4 kills slow.service\nmaster5 inhibited yes\n' > ../bin/script
        $UP --masters 6 --workers 0
        # Another client paused the node and left, while no keeper ran.
        keeper=$(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' $K/keeper.json)
        kill -9 $keeper; until_gone $keeper
        python3 - $K/nodes/master2/qmp.sock <<'PY'
import json, socket, sys
s = socket.socket(socket.AF_UNIX); s.settimeout(10); s.connect(sys.argv[1]); f = s.makefile("rw")
f.readline()
for name in ("qmp_capabilities", "stop"):
    f.write(json.dumps({"execute": name, "id": name}) + "\n"); f.flush()
    while json.loads(f.readline()).get("id") != name: pass
PY
        kill -STOP $(node master3 pid)
        began=$(date +%s)
        code=0; kvmc stop --timeout 5 2> ../said || code=$?
        took=$(( $(date +%s) - began ))
        cat ../said
        test $code = 1 || fail "forced ends with $code"
        test $took -le 40 || fail "it took $took s"
        grep -q 'master0 *clean' ../said || fail 'one that hears'
        grep -q 'master1 *forced: did not power off within 5 s' ../said || fail 'one that is deaf'
        grep -q 'master2 *clean' ../said || fail 'one that was paused'
        grep -q 'master3 *forced: .*QEMU had to be killed' ../said || fail 'one that is stopped'
        grep -q 'master4 *forced: systemd killed slow.service, which did not stop in time' ../said || fail 'one that killed'
        grep -q 'master5 *forced: .*an inhibitor in the guest blocks it' ../said || fail 'one that is inhibited'
        kvmc stop"#,
    );
}

#[test]
fn p21_a_host_that_rebooted_gets_everything_back() {
    runs(
        r#"host > ../before
        $UP --masters 2 --workers 0
        facts() { kvmc status --json 2>/dev/null | python3 -c 'import json, sys
for n in json.load(sys.stdin)["nodes"]: print(n["name"], n["address"], n["mac"])'; cat inventory; }
        facts > ../facts
        reboot() { # What a reboot leaves: files, of another boot and of a network namespace that is no more.
          kill -9 $(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' $K/keeper.json) $(cat $K/nodes/*/process.json | sed -n 's/.*"pid": \([0-9]*\).*/\1/p')
          sleep 0.3
          for l in $(ip -o link | sed -n 's/^[0-9]*: \(k80[^:@]*\).*/\1/p'); do ip link del $l 2>/dev/null || true; done
          nft flush ruleset; echo 0 > /proc/sys/net/ipv4/ip_forward
          sed -i 's/"boot_id": "[^"]*"/"boot_id": "an-earlier-one"/; s/"namespace": [0-9]*/"namespace": 1/' $K/*.json $K/nodes/*/*.json $KVMC_STATE_DIR/host.json
        }
        reboot
        kvmc status
        until_is 1 master0 'stopped (the host rebooted)'
        kvmc stop 2>&1 | grep -q 'is already stopped' || fail 'stop after a reboot'
        kvmc start
        until_is 1 master0 ready; facts > ../again; same ../facts ../again 'addresses and keys after a reboot'
        # The unit's two verbs start clusters that ran, and not those that their owner stopped.
        kvmc service stop; until_is 1 master1 stopped
        kvmc service start; until_is 1 master1 ready
        kvmc service start
        reboot; kvmc service start; until_is 1 master1 ready
        kvmc service stop; kvmc stop; kvmc service start
        until_is 1 master1 stopped
        facts > ../again; same ../facts ../again 'addresses and keys after all of it'
        kvmc start; reboot; kvmc down
        host > ../after; same ../before ../after 'the host after a reboot and down'"#,
    );
}

#[test]
fn p21_the_unit_is_installed_and_removed() {
    if !std::path::Path::new("/usr/bin/systemctl").exists() {
        println!("skipped: systemd is not installed");
        return;
    }
    runs(
        r#"mkdir -p /etc/systemd/system; mount -t tmpfs none /etc/systemd/system
        ls -A /etc/systemd/system > ../before
        kvmc service install
        test -L /etc/systemd/system/multi-user.target.wants/kvmc.service || fail 'it is not enabled'
        grep -q "KVMC_STATE_DIR=$KVMC_STATE_DIR" /etc/systemd/system/kvmc.service || fail 'the state folder'
        grep -q 'service stop$' /etc/systemd/system/kvmc.service || fail 'it suspends unasked'
        kvmc service install --suspend; grep -q 'service stop --suspend$' /etc/systemd/system/kvmc.service || fail 'it does not suspend'
        kvmc service install; kvmc service remove; kvmc service remove
        ls -A /etc/systemd/system > ../after; same ../before ../after 'the units after remove'"#,
    );
}

#[test]
fn p6_what_nodes_lie_on_is_refused_when_it_changed() {
    runs(
        r#"cp -rL $KVMC_STATE_DIR/images ../images; rm $KVMC_STATE_DIR/images; mv ../images $KVMC_STATE_DIR/images
        $UP --masters 1 --workers 1
        kvmc stop
        id=$(kvmc status --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["image"])')
        image=$KVMC_STATE_DIR/images/$id
        if kvmc image rm $id 2> ../said; then fail 'one in use was removed'; fi
        grep -q 'k80' ../said || fail 'its user is not named'
        refused() {
          if kvmc start 2> ../said; then fail "$1 was taken"; fi
          cat ../said
          grep -q "$2" ../said || fail "the file of $1"
          grep -q 'expected digest [0-9a-f]*, found' ../said || fail "the digests of $1"
          grep -q 'used by master0, worker0 of cluster `k80`' ../said || fail "the nodes on $1"
          test "$(node master0 state)" = stopped || fail 'it was started'
        }
        flip() { python3 -c 'import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(70000 if f.seek(0, 2) > 70000 else 100); b = f.read(1); f.seek(-1, 1); f.write(bytes([b[0] ^ 1]))' $1; }
        for file in $image/disk.qcow2 $image/initrd; do
          cp -a $file ../kept
          flip $file; refused 'a flipped byte' $(basename $file)
          flip $file; kvmc start; kvmc stop
          truncate -s 20 $file; refused 'a truncated file' $(basename $file)
          rm $file; refused 'a missing file' 'found no file'
          cp -a ../kept $file
        done
        frozen=$(ls $KVMC_STATE_DIR/warm/*/disk.qcow2 | head -n 1)
        flip $frozen; refused 'a frozen disk' $frozen
        flip $frozen; kvmc start
        # A restart by policy checks this too.
        $UP --worker-restart on-failure; flip $image/initrd; kill -9 $(node worker0 pid)
        until_is 10 worker0 'the keeper cannot restart it'
        until_is 1 worker0 'expected digest'
        until_is 1 master0 ready"#,
    );
}

#[test]
fn emulated_nodes_wake_four_at_once_for_each_core() {
    runs(
        r#"$UP --masters 1 --workers 0 2>/dev/null; kvmc down # what they wake from
        echo 'lease 400' > ../bin/script
        # Enough nodes for the bound to matter on a few cores.
        nodes=$((4 * $(nproc) + 3)); test $nodes -le 35 || nodes=35
        $UP --masters $nodes --workers 0 2> ../said; cat ../said
        test "$(grep -c 'woken$' ../said)" = $nodes || fail 'not all woke'
        python3 - "$(nproc)" $K/events.jsonl <<'PY'
import json, sys
cores, at_once, most = int(sys.argv[1]), 0, 0
for line in open(sys.argv[2]):
    at_once += {"woken": 1, "ready": -1}.get(json.loads(line)["event"], 0)
    most = max(most, at_once)
print("at most", most, "at once on", cores)
sys.exit(not min(cores, 34) < most <= 4 * cores)
PY"#,
    );
}

#[test]
fn p17_a_qemu_that_cannot_start_is_quoted_and_the_others_run() {
    runs(
        r#"$UP --masters 1 --workers 0
        printf 'worker0 exit 3 fake: cannot do it\n' > ../bin/script
        began=$(date +%s%N)
        if $UP --masters 1 --workers 2 2> ../said; then fail 'it was taken for running'; fi
        took=$(( ($(date +%s%N) - began) / 1000000 ))
        cat ../said
        grep -q 'worker0: QEMU ended: exit status: 3: fake: cannot do it' ../said || fail 'its own words'
        test $took -le 10000 || fail "it took $took ms"
        until_is 1 master0 ready; until_is 1 worker1 ready
        until_is 1 worker0 'QEMU ended with exit status 3: fake: cannot do it'"#,
    );
}

#[test]
fn p5_p24_a_disk_in_use_or_gone_fails_its_node_alone() {
    runs(
        r#"$UP --masters 3 --workers 0; kvmc stop
        python3 -c 'import fcntl, struct, sys, time
f = open(sys.argv[1], "r+b")
fcntl.fcntl(f, 37, struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, 101, 1, 0))
time.sleep(60)' $K/nodes/master1/disk.qcow2 &
        holder=$!
        sleep 0.5
        code=0; kvmc start 2> ../said || code=$?
        kill $holder; cat ../said
        test $code = 3 || fail "it ends with $code"
        grep -q "master1: .*nodes/master1/disk.qcow2 is in use by pid $holder" ../said || fail 'the holder'
        until_is 1 master0 ready; until_is 1 master2 ready; until_is 1 master1 stopped
        kvmc start; until_is 1 master1 ready"#,
    );
}

#[test]
fn p18_a_qemu_that_falls_silent_costs_its_deadline() {
    runs(
        r#"$UP --masters 2 --workers 0
        printf 'master1 mute yes\nmaster1 deaf yes\n' > ../bin/script
        began=$(date +%s); timeout 20 kvmc status; timeout 20 $UP
        test $(( $(date +%s) - began )) -le 15 || fail 'status and up'
        # Unknown events, an invalid line and a line without an end do not harm the other nodes.
        act master0 'event {"event": "OF_2040", "data": {"new": 1}}'
        sleep 0.3; until_is 1 master0 ready
        act master0 'event {"event": "STOP", "timestamp": 7}'; until_is 5 master0 'paused: stopped through QMP'
        act master0 'event {"event": "RESUME"}'; until_is 5 master0 ready
        act master0 'event not json'
        sleep 4; test "$(node master0 state)" = ready || fail "the loss is still told: $(node master0 state)"; test "$(node master0 pid)" -gt 0 || fail 'it was taken for dead'
        code=0; timeout 60 kvmc stop --timeout 3 2> ../said || code=$?; cat ../said
        test $code = 1 || fail "stop ends with $code"
        grep -q 'master0 *clean' ../said || fail 'the connection was not made again'"#,
    );
}

/// `KVMC_SOAK_ROUNDS=100 cargo test --test it soak -- --nocapture` is a long run.
#[test]
fn soak_rounds_with_a_random_kill_leave_nothing_and_the_keeper_does_not_grow() {
    runs(&script("soak.sh", &[]));
}
