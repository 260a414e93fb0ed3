//! `kvmc try`, on the tests' fake QEMU: machines stand by, and take the places of the others when the command fails.

use super::fake;
use super::snapshots::WORDS;

/// Shell functions that the scripts below share.
const OF_TRY: &str = r#"
# A command goes on until the machines stand by, that is, until all have loaded their states.
LOADED='n=0; until test "$(grep -c migrate-incoming ../bin/order)" = 3 || test $n -gt 100; do n=$((n + 1)); sleep 0.05; done; sleep 0.2'
tries() { # CODE ARGUMENTS
  code=0; want=$1; shift; forget
  kvmc try "$@" > ../said 2>&1 || code=$?
  cat ../said; test $code = $want || fail "try ended with $code"
}
uuids() { grep -hoE '"uuid": "[^"]*"' $K/cluster.json | cut -d'"' -f4 > ../uuids; }
qemus() { uuids; cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' '\n' | grep -cxFf ../uuids || true; }
taps() { ip -o link show master k80 | cut -d: -f2 | sort | tr -d '\n'; }
tidy() {
  tries=0; until test "$(qemus)" = 3; do tries=$((tries + 1)); test $tries -lt 100 || fail "$(qemus) QEMUs of 3 nodes run"; sleep 0.05; done
  test -z "$(find $K -name 'standby*')" || fail "$(find $K -name 'standby*')"
  test "$(ip -o link | grep -c kvms)" = 0 || fail "$(ip -o link)"
  images
}
"#;

fn runs(script: &str) -> String {
    fake::runs(&fake::bench(), &format!("{WORDS}\n{OF_TRY}\n{script}"))
}

#[test]
fn machines_that_stand_by_take_over_when_the_command_fails() {
    runs(
        r#"$UP --disks 1G; learn one; pids > ../before; taps > ../taps; cat ../taps
        tries 7 --shell "$LOADED; cp ../bin/order ../order.ran; exit 7"
        grep -q 'by the machines that stood by' ../said || fail 'they did not take over'
        grep -q 'machines stood by after' ../said || fail 'it does not say when they were ready'
        # They were loaded while the command ran, and afterwards only went on.
        sed "1,$(wc -l < ../order.ran)d" ../bin/order > ../after; cat ../after
        test "$(grep -c ' cont$' ../after)" = 3 || fail 'not all go on'
        test "$(grep -vc ' cont$' ../after)" = 0 || fail 'they did more than go on'
        pids > ../now; ! grep -qFf ../before ../now || fail 'a QEMU was not replaced'
        taps > ../taps.now; same ../taps ../taps.now 'the taps have the same names'
        knows one; all_ready; tidy
        test "$(kvmc snapshot ls | wc -l)" = 0 || fail "a snapshot is left: $(kvmc snapshot ls)"
        # Again, with those that stood by before.
        learn two; tries 0 --always --shell "$LOADED"; knows two; all_ready; tidy
        kvmc events > ../events; ! grep -qE 'restart|ended|paused|lost|resumed' ../events || fail "$(cat ../events)"
        test "$(grep -c restored ../events)" = 2 || fail 'no event tells of the rollbacks'
        python3 -c "import socket; assert socket.create_connection(('$(kvmc ip master1)', 22), 5).recv(4) == b'SSH-'" || fail 'a node is cut off'
        kvmc restart master1; all_ready; kvmc stop; kvmc start --cold; all_ready; tidy
        kvmc down; test ! -e $K || fail 'down leaves something'"#,
    );
}

#[test]
fn a_command_that_succeeds_leaves_the_nodes_and_nothing_else() {
    runs(
        r#"$UP; learn one; pids > ../before
        tries 0 --shell "$LOADED; test \"\$KVMC_CLUSTER\" = k80 && test -s \"\$ANSIBLE_INVENTORY\""
        grep -q 'goes on with what it did' ../said || fail 'it does not say so'
        test "$(count migrate-incoming)" = 3 || fail 'no machine stood by'
        pids > ../after; same ../before ../after 'the QEMUs go on'; all_ready; tidy
        # What the nodes write meanwhile is told.
        tries 0 --shell 'for n in master0 worker0; do top=$(ls -t '$K'/nodes/$n/disk.*.qcow2 | tail -n 1); done'
        test "$(grep -c 'wrote nothing' ../said)" = 3 || fail 'it does not tell what changed'
        tries 0 --keep -- true; test "$(count migrate-incoming)" = 0 || fail 'a machine stood by for nothing'
        kvmc snapshot ls | grep -q '^try-' || fail 'the snapshot is gone'; kvmc snapshot rm $(kvmc snapshot ls | sed -n 's/^\(try-[0-9]*\).*/\1/p')
        tries 1 -- ../no-such-program; grep -q 'cannot be run' ../said || fail 'it does not say why'
        pids > ../after; same ../before ../after 'the QEMUs go on'; tidy
        test "$(kvmc snapshot ls | wc -l)" = 0 || fail 'a snapshot is left'"#,
    );
}

#[test]
fn without_memory_or_with_a_lost_machine_the_rollback_is_a_plain_one() {
    runs(
        r#"$UP; learn one
        # A host with less memory than three more nodes may take.
        sed 's/^MemAvailable:.*/MemAvailable: 1048576 kB/' /proc/meminfo > ../meminfo; mount --bind ../meminfo /proc/meminfo
        tries 3 --shell 'sleep 0.3; exit 3'; umount /proc/meminfo
        grep -q 'no machines stand by, .* may take 1.6G of memory, 1.0G is available' ../said || fail 'it does not say why'
        ! grep -q 'by the machines' ../said || fail 'machines stood by'
        test "$(count migrate-incoming)" = 3 || fail 'no plain rollback'
        knows one; all_ready; tidy
        # One of them ends while the command runs.
        tries 3 --shell "$LOADED; kill -9 \$(sed -n 's/.*\"pid\": \([0-9]*\).*/\1/p' $K/nodes/master1/standby/process.json); sleep 0.2; exit 3"
        grep -q 'a plain rollback, .*master1 has ended' ../said || fail 'it does not say why'
        knows one; all_ready; tidy
        # The command changes the cluster.
        tries 1 --shell "$LOADED; kvmc scale workers=2 --cold"' >/dev/null 2>&1; exit 3'
        grep -q 'snapshot rollback try-' ../said || fail 'it does not say what to do'
        kvmc rm worker1; kvmc snapshot rollback $(kvmc snapshot ls | sed -n 's/^\(try-[0-9]*\).*/\1/p'); knows one; all_ready; tidy
        tries 3 --shell "$LOADED; kvmc stop; exit 3"; knows one; all_ready; tidy
        tries 3 --shell "$LOADED; kvmc snapshot save; exit 3"; knows one; all_ready; tidy"#,
    );
}

#[test]
fn p46_a_killed_try_leaves_no_machine_that_stands_by() {
    runs(
        r#"$UP; learn one; pids > ../before
        for who in try both; do
          forget; kvmc try --shell "$LOADED; sleep 2" > ../said 2>&1 & pid=$!
          n=0; until test "$(count migrate-incoming)" = 3; do n=$((n + 1)); test $n -lt 200 || { cat ../said; fail 'no machine stands by'; }; sleep 0.05; done
          test "$(qemus)" = 6 || fail "$(qemus) QEMUs"
          case $who in both) kill -9 $(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' $K/keeper.json) ;; esac
          kill -9 $pid; wait $pid || true
          case $who in
            # The keeper ends them.
            try) n=0; until test "$(qemus)" = 3; do n=$((n + 1)); test $n -lt 100 || fail "$(qemus) QEMUs"; sleep 0.05; done ;;
          esac
          # The keeper has the lock until they have wholly ended.
          kvmc snapshot ls > ../ls; kvmc --wait 10 snapshot rm $(sed -n 's/^\(try-[0-9]*\).*/\1/p' ../ls)
          tidy; kvmc start; pids > ../after; same ../before ../after 'the QEMUs go on'; all_ready
        done
        # Ctrl-C ends the command and brings the cluster back.
        learn two; forget; setsid sh -c "trap - INT; exec kvmc try --shell '$LOADED; exec sleep 60'" > ../said 2>&1 & pid=$!
        n=0; until test "$(count migrate-incoming)" = 3; do n=$((n + 1)); test $n -lt 200 || { cat ../said; fail 'no machine stands by'; }; sleep 0.05; done
        sleep 0.5; kill -INT -$pid
        code=0; wait $pid || code=$?; cat ../said; test $code = 130 || fail "it ended with $code"
        grep -q 'interrupted; all is undone' ../said || fail 'it does not say so'
        knows two; all_ready; tidy
        # SIGTERM to try alone ends the command too.
        learn four; forget; kvmc try --shell 'sleep 60 & wait' > ../said 2>&1 & pid=$!
        sleep 1; kill $pid; code=0; wait $pid || code=$?; cat ../said; test $code = 130 || fail "it ended with $code"
        knows four; all_ready; tidy"#,
    );
}
