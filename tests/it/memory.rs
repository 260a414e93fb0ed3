//! P23: kvmc checks memory before it starts a node, and reports a death for lack of memory as such.

use super::fake;

fn runs(script: &str) -> String {
    let words = r#"
        UP="kvmc up --accel tcg $SMALL --load-balancers 0 --workers 0"
        refused() { # WORDS COMMAND...
          words=$1; shift; code=0
          "$@" > ../said 2>&1 || code=$?
          cat ../said
          test $code = 1 || fail "$*: ended with $code"
          grep -qE "$words" ../said || fail "$*: no \`$words\`"
          grep -q 'lower MASTER_RAM.* pass --overcommit' ../said || fail 'no cure'
        }
"#;
    fake::runs(&fake::bench(), &format!("{words}{script}"))
}

#[test]
fn p23_what_cannot_fit_is_refused_with_the_numbers_unless_overcommit_is_asked_for() {
    runs(
        r#"host > ../before
        # Replaces the kernel's figures in this mount namespace.
        cp /proc/meminfo ../meminfo; mount --bind ../meminfo /proc/meminfo
        has() { sed "s/^MemAvailable:.*/MemAvailable: $(($1 * 1024)) kB/" ../meminfo > ../now; cat ../now > ../meminfo; }
        has 700
        refused '3 nodes need 1.[0-9]G of memory, 700M is available' $UP --masters 3 --cold
        host > ../after; same ../before ../after 'the host after a refusal'
        refused '3 nodes need' $UP --masters 3 --cold --dry-run
        $UP --masters 3 --cold --overcommit 2> ../said; cat ../said
        grep -q '3 nodes need 1.[0-9]G of memory, 700M is available; continuing because of --overcommit' ../said || fail 'the warning'
        # Running nodes need no further memory, and `start` checks it too.
        $UP --masters 3 --cold
        kvmc stop; refused '3 nodes need' kvmc start
        has 1000; refused '3 nodes need 1.[0-9]G of memory, 1000M is available' kvmc start
        has 4000; kvmc start --cold; kvmc stop; kvmc start --overcommit --cold 2>&1 | tee ../said
        if grep -q 'nodes need' ../said; then fail 'a warning of nothing'; fi
        kvmc down
        # Pages that woken nodes share count once: 250 MiB of the frozen memory, for the second and third node.
        $UP --masters 1 > /dev/null 2>&1; kvmc down
        ram=$(ls $KVMC_STATE_DIR/warm/*/ram); chmod 600 $ram; cp $ram ../ram
        head -c 262144000 /dev/zero | tr '\0' x | dd of=$ram conv=notrunc status=none
        has 900
        refused '3 nodes need [0-9.]*[MG] of memory \(5[0-9][0-9]M less than without sharing\), 900M' $UP --masters 3
        cp ../ram $ram
        host > ../after; same ../before ../after 'the host after all of it'"#,
    );
}

#[test]
fn p23_a_limited_cgroup_counts_as_a_smaller_host() {
    runs(
        r#"groups=/sys/fs/cgroup; mount -t tmpfs none $groups
        grep -q '^0::' /proc/self/cgroup || fail 'a kernel without cgroup2'
        echo $((600 << 20)) > $groups/memory.max
        echo $((500 << 20)) > $groups/memory.current
        echo "inactive_file $((200 << 20))" > $groups/memory.stat
        refused '1 nodes need [0-9.]*M of memory, 300M is available in the cgroup /sys/fs/cgroup$|; lower' $UP --masters 1 --cold
        grep -q "300M is available in the cgroup $groups; .*raise the cgroup's limit" ../said || fail 'what bounds it'
        echo max > $groups/memory.max
        $UP --masters 1 --cold; kvmc down"#,
    );
}

/// In a real cgroup with a real limit, if the test can make one.
#[test]
fn p23_a_node_killed_for_memory_is_named_as_such() {
    let said = runs(
        r#"group=
        for base in /sys/fs/cgroup/memory /sys/fs/cgroup; do
          g=$base/kvmc-test-$$
          mkdir $g 2>/dev/null || continue
          for limit in memory.limit_in_bytes memory.max; do
            if [ -e $g/$limit ] && echo $((192 << 20)) > $g/$limit 2>/dev/null && sh -c "echo \$\$ > $g/cgroup.procs" 2>/dev/null; then group=$g; fi
          done
          [ -z "$group" ] || break
          rmdir $g
        done
        if [ -z "$group" ]; then echo 'SKIPPED: no cgroup with a memory limit can be made here'; exit 0; fi
        trap 'code=$?; kvmc down >/dev/null 2>&1 || true; sleep 0.5; rmdir $group || true; exit $code' EXIT
        [ ! -e $group/memory.swap.max ] || echo 0 > $group/memory.swap.max
        sh -c "echo \$\$ > $group/cgroup.procs; exec $UP --masters 2 --cold --overcommit"
        echo 'eat 1000' > ../bin/do.master0
        n=0; until kvmc status | tee ../status | grep -q "master0 *stopped.*killed by the host's kernel because memory ran out"; do
          n=$((n + 1)); test $n -lt 100 || fail "it is not named: $(cat ../status)"; sleep 0.1
        done
        cat ../status
        grep -q 'master1 *ready' ../status || fail 'the other one'
        grep -q '"event":"ended".*memory ran out' $KVMC_STATE_DIR/clusters/k80/events.jsonl || fail events"#,
    );
    if said.contains("SKIPPED") {
        println!("skipped: no cgroup with a memory limit can be made here");
    }
}
