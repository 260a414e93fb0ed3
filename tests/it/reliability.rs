//! The promises about state, locks and signals, on the tests' fake QEMU. See docs/RELIABILITY.md.

use super::fake;

const UP: &str = "kvmc up --accel tcg $SMALL --masters 1 --workers 1 --load-balancers 0 --cold";

fn runs(script: &str) -> String {
    fake::runs(&fake::bench(), &script.replace("@UP", UP))
}

#[test]
fn p1_a_record_that_names_a_strangers_pid_harms_nobody() {
    let said = runs(
        r#"host > ../before
        @UP
        node=$KVMC_STATE_DIR/clusters/k80/nodes/master0
        kill -9 "$(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' $node/process.json)"
        sleep 300 & stranger=$!
        # The stranger's pid with the earlier process's start time, then with its own.
        sed -i "s/\"pid\": [0-9]*/\"pid\": $stranger/" $node/process.json
        kvmc status | grep 'master0 *stopped' || fail 'a stranger is taken for a node'
        start=$(sed 's/.*) //' /proc/$stranger/stat | cut -d' ' -f20)
        sed -i "s/\"start_time\": [0-9]*/\"start_time\": $start/" $node/process.json
        kvmc status | grep 'master0 *stopped' || fail 'a stranger is taken for a node'
        # A process with the uuid in its arguments, such as a search for it.
        uuid=$(sed -n 's/.*"uuid": "\(.*\)".*/\1/p' $KVMC_STATE_DIR/clusters/k80/cluster.json | head -n 1)
        python3 -c 'import time; time.sleep(300)' -uuid "$uuid" & search=$!
        kvmc down
        kill -0 $stranger || fail 'the stranger was killed'
        kill -0 $search || fail 'the search was killed'
        kill $stranger $search; wait $stranger $search || true
        host > ../after; same ../before ../after 'the host after down'"#,
    );
    assert!(said.contains("(1 node was running)"), "{said}");
}

#[test]
fn p4_what_was_on_before_stays_on_and_rules_of_others_stay() {
    runs(
        r#"echo 1 > /proc/sys/net/ipv4/ip_forward
        nft 'add table inet other; add chain inet other c { type filter hook forward priority 5; }'
        ip link add other0 type bridge
        host > ../before
        @UP; kvmc stop; kvmc up; kvmc down
        test $(cat /proc/sys/net/ipv4/ip_forward) = 1 || fail forwarding
        host > ../after; same ../before ../after 'the host after down'"#,
    );
}

/// For example Docker, started while a cluster ran: it found forwarding on, and now relies on it.
#[test]
fn p4_forwarding_that_others_have_come_to_need_stays_on() {
    runs(
        r#"forwarding() { cat /proc/sys/net/ipv4/ip_forward; }
        rule() { iptables -t nat $1 POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE; }
        stays() { # VERB...: it leaves forwarding on, and says for whom and what to do.
          kvmc "$@" 2> ../said; cat ../said
          test $(forwarding) = 1 || fail "$1 switched off what others need"
          grep -q "ip_forward stays on, because others need it now ($who.*sysctl -w net.ipv4.ip_forward=0" ../said || fail "$1 does not tell"
        }
        host > ../before
        @UP; test $(forwarding) = 1 || fail 'it was not switched on'
        rule -A; who='iptables (nft): -A POSTROUTING -s 172.17.0.0'
        stays stop
        # From now on forwarding belongs to the other program, whatever happens.
        kvmc start; kvmc down; test $(forwarding) = 1 || fail 'down after start'
        rule -C || fail "the other's rule"
        echo 0 > /proc/sys/net/ipv4/ip_forward
        # A program that translated before worked without forwarding, and can do so again.
        @UP; kvmc down; test $(forwarding) = 0 || fail 'one that was there before counts'
        @UP; rule -D; nft 'add table ip pods; add chain ip pods post { type nat hook postrouting priority 100; }; add rule ip pods post ip saddr 10.0.0.0/8 masquerade'
        who='nft: table ip pods, chain post'
        stays down
        nft delete table ip pods; echo 0 > /proc/sys/net/ipv4/ip_forward
        # A router without translation.
        @UP; iptables -A FORWARD -i wg0 -j ACCEPT; who='iptables (nft) accepts packets of wg0'
        stays down
        iptables -D FORWARD -i wg0 -j ACCEPT; echo 0 > /proc/sys/net/ipv4/ip_forward
        # The cluster of another state folder.
        @UP; other=$(cd ..; pwd)/other; mkdir -p $other ../project2; ln -s "$(readlink $KVMC_STATE_DIR/images)" $other/images
        (cd ../project2; KVMC_STATE_DIR=$other @UP --cluster far --bridge k81 --subnet 192.168.81.0/24)
        who='nft: table inet kvmc_k81'
        stays down
        (cd ../project2; KVMC_STATE_DIR=$other kvmc --cluster far down)
        rmdir ../project2; echo 0 > /proc/sys/net/ipv4/ip_forward
        iptables -t nat -F; nft delete table ip nat; nft delete table ip filter
        host > ../after; same ../before ../after 'the host after all of it'"#,
    );
}

/// The record is lost, cut, emptied or garbled. kvmc names it, shows the copy, does not overwrite it, and removes or repairs
/// the cluster.
#[test]
fn p8_a_record_that_cannot_be_read_is_never_nothing() {
    let said = runs(
        r#"host > ../before
        record=$KVMC_STATE_DIR/clusters/k80/cluster.json
        for harm in "rm $record" ": > $record" "truncate -s 100 $record" "sed -i s/phase/fase/ $record" "chmod 0 $record; rm $record; mkdir $record"; do
          @UP > /dev/null 2>&1
          pids=$(kvmc status --json | grep '"pid"')
          eval "$harm"
          kvmc status 2>&1 | tee ../status
          grep -q 'cluster.json' ../status || fail 'the file is not named'
          test $(grep -c 'ready' ../status) = 2 || fail 'the nodes are not shown'
          code=0; kvmc up --cold > ../said 2>&1 || code=$?
          cat ../said
          test $code != 0 && grep -q 'cluster.json' ../said && grep -q 'doctor --fix' ../said || fail 'up goes on'
          test "$(kvmc status --json | grep '"pid"')" = "$pids" || fail 'nodes were made anew'
          case $harm in
            *mkdir*) ;;
            rm*|sed*) kvmc doctor --fix 2>&1 | grep 'generation' || fail 'the copy is not put back'
              kvmc up --cold
              test "$(kvmc status --json | grep '"pid"')" = "$pids" || fail 'nodes were made anew' ;;
          esac
          rmdir $record 2>/dev/null || true
          kvmc down
          host > ../after; same ../before ../after "the host after down, and before: $harm"
        done
        # The record, its copy and even the folder are lost.
        for harm in "rm $record*" "until rm -r $KVMC_STATE_DIR/clusters; do :; done"; do
          mkdir -p ../project2; cd ../project2
          @UP > /dev/null 2>&1
          eval "$harm"
          kvmc status 2>&1 | tee ../status
          grep -q 'master0 *running (pid' ../status || fail 'what is seen is not shown'
          if @UP > ../said 2>&1; then fail 'a second cluster was made over it'; fi
          cat ../said; grep -q 'kvmc down. removes' ../said || fail 'no way out is told'
          case $harm in *-r*) kvmc doctor --fix | grep 'removed a QEMU' || fail doctor ;; *) kvmc down ;; esac
          if kvmc status; then fail 'there is still a cluster'; fi
          cd ../project; rm -rf ../project2
          host > ../after; same ../before ../after "the host after $harm"
        done"#,
    );
    assert!(said.contains("`down` uses its last good copy"), "{said}");
}

/// `KVMC_ROUNDS=200 cargo test --test it p9_ -- --nocapture` runs all rounds.
#[test]
fn p9_any_verbs_at_once_corrupt_nothing_and_status_never_fails() {
    let rounds = std::env::var("KVMC_ROUNDS").unwrap_or_else(|_| "5".to_owned());
    let script = r#"host > ../before
        # The allowed answers: the lock's holder, or that there is no cluster, or no longer one.
        allowed='locked by|no cluster|was removed while|partly removed|is already stopped'
        verbs() { # NAME VERB...: each round, either done or refused with a reason that is allowed
          name=$1; shift; n=0
          while [ $n -lt ROUNDS ]; do
            n=$((n + 1)); code=0
            "$@" > ../said.$name 2>&1 || code=$?
            if [ $code != 0 ] && ! grep -qE "$allowed" ../said.$name || grep -q panicked ../said.$name; then
              echo "round $n of $*: $code"; cat ../said.$name; return 1
            fi
          done
        }
        (ended=0; verbs up1 @UP > ../out.up1 2>&1 || ended=$?; echo $ended > ../rc.up1) &
        (ended=0; verbs up2 @UP --wait 60 > ../out.up2 2>&1 || ended=$?; echo $ended > ../rc.up2) &
        (ended=0; verbs down kvmc down --wait 60 > ../out.down 2>&1 || ended=$?; echo $ended > ../rc.down) &
        while [ ! -e ../rc.up1 ] || [ ! -e ../rc.up2 ] || [ ! -e ../rc.down ]; do
          code=0; kvmc status > ../said.status 2>&1 || code=$?
          if [ $code != 0 ] && ! grep -q 'there is no cluster' ../said.status; then cat ../said.status; fail "status: $code"; fi
          echo >> ../looks
        done
        wait
        for n in up1 up2 down; do test $(cat ../rc.$n) = 0 || { cat ../out.$n; fail "$n"; }; done
        @UP > ../said 2>&1 || { cat ../said; fail 'up at the end'; }
        test $(kvmc status 2>/dev/null | grep -c ready) = 2 || fail 'status at the end'
        kvmc down
        host > ../after; same ../before ../after 'the host after it all'
        echo "looks: $(wc -l < ../looks)""#;
    runs(&script.replace("ROUNDS", &rounds));
}

#[test]
fn p9_the_lock_says_who_holds_it_and_a_dead_holder_frees_it() {
    runs(
        r#"mkfifo ../hold
        printf '#!/bin/sh\nread x < %s\nexec /usr/sbin/nft "$@"\n' "$(cd ..; pwd)/hold" > ../bin/nft; chmod 755 ../bin/nft
        # The first two calls of nft come before the lock.
        @UP > ../said.up 2>&1 & pid=$!
        n=0
        until grep -qs "kvmc up, since" $KVMC_STATE_DIR/clusters/k80/lock; do
          n=$((n + 1)); test $n -lt 200 || fail "no lock: $(cat ../said.up)"
          timeout 0.1 sh -c 'echo > ../hold' || true
        done
        code=0; kvmc down > ../said 2>&1 || code=$?
        cat ../said
        test $code = 1 && grep -Eq "locked by pid $pid \(kvmc up, since [0-9:]+ UTC\)" ../said || fail 'who holds it'
        kvmc status 2>&1 | tee ../status; grep -q "another verb works on it: pid $pid (kvmc up" ../status || fail 'status does not tell'
        kill -9 $pid; wait $pid 2>/dev/null || true
        # The nft that it started still waits.
        timeout 1 sh -c 'echo > ../hold' || true
        rm ../bin/nft ../hold
        kvmc down"#,
    );
}

#[test]
fn p2_an_up_that_is_told_to_stop_while_it_waits_for_the_lock_has_touched_nothing() {
    runs(
        r#"host > ../before
        mkdir -p $KVMC_STATE_DIR/clusters/k80
        exec 9> $KVMC_STATE_DIR/clusters/k80/lock; flock 9
        @UP --wait 60 > ../said 2>&1 9>&- & pid=$!
        # SIGINT is the second bit of the caught signals.
        n=0; until [ $((0x$(sed -n 's/SigCgt:.*\(.\)$/\1/p' /proc/$pid/status) & 2)) = 2 ]; do
          n=$((n + 1)); test $n -lt 200 || fail "it does not listen: $(cat ../said)"; sleep 0.1
        done
        sleep 1
        kill -INT $pid; code=0; wait $pid || code=$?
        cat ../said
        test $code = 130 && grep -qx 'interrupted; the cluster is unchanged' ../said || fail "it ended with $code"
        test "$(ls -A $KVMC_STATE_DIR/clusters/k80)" = lock || fail "$(ls -A $KVMC_STATE_DIR/clusters/k80)"
        rm -r $KVMC_STATE_DIR/clusters
        host > ../after; same ../before ../after 'the host after it'"#,
    );
}

#[test]
fn p2_the_second_ctrl_c_is_immediate_and_the_terminals_end_kills_nothing() {
    runs(
        r#"host > ../before
        # A guest with a long boot.
        echo 'boot 600000' > ../bin/script
        @UP > ../said 2>&1 & pid=$!
        n=0; until grep -q 'started' ../said; do n=$((n + 1)); test $n -lt 200 || fail 'not started'; sleep 0.1; done
        kill -s HUP $pid; sleep 0.3
        kill -0 $pid || fail 'it died with its terminal'
        kill -INT $pid; code=0; wait $pid || code=$?
        cat ../said
        test $code = 130 && grep -q 'completes the cluster' ../said || fail "ended with $code"
        echo 'boot 30' > ../bin/script
        kvmc down
        # The second signal ends a step that the first cannot interrupt.
        printf '#!/bin/sh\nsleep 5\nexec /usr/sbin/nft "$@"\n' > ../bin/nft; chmod 755 ../bin/nft
        @UP > ../said 2>&1 & pid=$!
        n=0; until [ -e $KVMC_STATE_DIR/clusters/k80/lock ]; do n=$((n + 1)); test $n -lt 600 || fail "no lock"; sleep 0.1; done
        kill -INT $pid; sleep 0.5; kill -0 $pid || fail 'the first was immediate'
        began=$(date +%s%N); kill -INT $pid; code=0; wait $pid || code=$?
        test $code = 130 || fail "ended with $code"
        test $(( ($(date +%s%N) - began) / 1000000 )) -lt 1000 || fail 'the second had to wait'
        rm ../bin/nft; sleep 5
        kvmc down
        host > ../after; same ../before ../after 'the host after two interrupts'"#,
    );
}

/// Objects of another state folder stay, alive or dead, and so do objects that only look alike.
#[test]
fn doctor_removes_the_remains_of_its_own_clusters_only() {
    runs(
        r#"other=$(cd ..; pwd)/other; mkdir -p $other ../project2; ln -s "$(readlink $KVMC_STATE_DIR/images)" $other/images
        (cd ../project2; KVMC_STATE_DIR=$other @UP --cluster far --bridge k81 --subnet 192.168.81.0/24)
        @UP
        ip link add k82 type bridge; ip link set k82 alias "kvmc:k80:/elsewhere"
        until rm -r $KVMC_STATE_DIR/clusters; do :; done
        code=0; kvmc doctor > ../said || code=$?
        cat ../said
        test $code != 0 && grep -q 'remains of a removed cluster: a QEMU of master0' ../said || fail 'doctor tells nothing'
        kvmc doctor --fix > ../said; cat ../said
        if ip link show k80 2>/dev/null; then fail 'the bridge stays'; fi
        ip link show k82 || fail 'a bridge of another state folder went'
        test "$(KVMC_STATE_DIR=$other kvmc --cluster far status | grep -c ready)" = 2 || fail "another state folder's cluster"
        (cd ../project2; KVMC_STATE_DIR=$other kvmc --cluster far down)"#,
    );
}

#[test]
fn p8_a_state_folder_of_the_first_format_is_opened() {
    let bench = fake::bare();
    let kept = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/format-1.tar.gz");
    let script = r#"mkdir -p $KVMC_STATE_DIR; tar -xzf KEPT -C $KVMC_STATE_DIR
        record=$KVMC_STATE_DIR/clusters/k80/cluster.json
        grep -q '"project": "/tmp/kvmc-format-1/project"' $record || fail 'another folder was kept'
        sed -i "s#/tmp/kvmc-format-1/project#$PWD#" $record
        life() { grep -ohE '"(address|mac|uuid|machine_id)": "[^"]*"|.*BEGIN.*|.*password.*' $record $KVMC_STATE_DIR/clusters/k80/secrets.json | sort -u; }
        life > ../life
        kvmc status; test $(kvmc status | grep -c stopped) = 2 || fail status
        kvmc start --cold
        test $(kvmc status | grep -c ready) = 2 || fail 'not ready'
        life > ../life.now; test -z "$(grep -vxFf ../life.now ../life)" || fail 'it is not the same cluster'
        kvmc stop
        # A record of a future format.
        sed -i 's/"format": 2/"format": 99/' $record
        for verb in up start stop down; do
          if kvmc $verb > ../said 2>&1; then fail "$verb takes a newer format"; fi
          grep -q 'format 99, but this kvmc knows formats up to 2' ../said || fail "$verb: $(cat ../said)"
        done
        kvmc status 2>&1 | grep 'format 99, but this kvmc knows formats up to 2' || fail 'status does not tell'
        sed -i 's/"format": 99/"format": 2/' $record
        kvmc down
        test ! -e $KVMC_STATE_DIR/clusters || fail 'down leaves it'"#;
    fake::runs(&bench, &script.replace("KEPT", &kept.display().to_string()));
}

/// By its record as that release wrote it, and by a stand-in for its keeper, which speaks protocol 1.
#[test]
fn p8_a_running_cluster_of_the_first_format_is_taken_over_with_no_node_touched() {
    let fixture =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/running-format-1.json");
    let script = r#"host > ../before
        K=$KVMC_STATE_DIR/clusters/k80 record=$KVMC_STATE_DIR/clusters/k80/cluster.json
        pid() { sed -n 's/.*"pid": \([0-9]*\).*/\1/p' $K/$1; }
        pids() { for n in master0 master1 worker0; do pid nodes/$n/process.json; done; }
        first_format() {
          kvmc up --accel tcg $SMALL --masters 2 --workers 1 --load-balancers 0 --network name=storage,subnet=10.81.0.0/24 --forward 8080:master0:80 2> /dev/null
          old=$(pid keeper.json); kill -9 $old; until_gone $old; rm $K/keeper.sock $K/keeper.json
          python3 $SCRIPTS/first_format.py record FIXTURE $record
          grep -q '"format": 1' $record || fail 'the record was not rewritten'
          cp $SCRIPTS/first_format.py ../keeper
          (cd ..; exec python3 keeper k80 --folder=$K) & old=$!
          n=0; until test -e $K/keeper.json; do n=$((n + 1)); test $n -lt 100 || fail 'no old keeper'; sleep 0.05; done
          cp inventory ../inventory.old; pids > ../pids
        }
        unchanged() {
          pids > ../pids.now; same ../pids ../pids.now "no node was touched by $1"
          same ../inventory.old inventory "the inventory after $1"
        }
        first_format
        kvmc status > ../said; cat ../said
        test $(grep -c ' ready ' ../said) = 3 || fail 'status does not read the old keeper'
        grep -q 'another version of kvmc; .kvmc up. replaces it' ../said || fail 'status does not tell'
        kill -0 $old || fail 'status ended the old keeper'
        kvmc up; unchanged up
        until_gone $old; test "$(pid keeper.json)" != $old || fail 'the old keeper stayed'
        grep -q '"format": 2' $record || fail 'the record was not migrated'
        kvmc status > ../said; cat ../said
        test $(grep -c ' ready ' ../said) = 3 && ! grep -q 'another version' ../said || fail 'the new keeper'
        test "$(kvmc forward ls | grep -c 8080)" = 1 || fail 'the forward was lost'
        kvmc stop; kvmc start 2> /dev/null
        test $(kvmc status | grep -c ' ready ') = 3 || fail 'stop and start after it'
        kvmc down
        # Without an up between.
        for verb in stop down; do
          first_format
          kvmc $verb; until_gone $old
          for p in $(cat ../pids); do test ! -e /proc/$p || until_gone $p; done
          kvmc down
        done
        host > ../after; same ../before ../after 'the host after all of it'"#;
    runs(&script.replace("FIXTURE", &fixture.display().to_string()));
}
