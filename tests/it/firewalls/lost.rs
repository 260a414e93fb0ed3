//! Lost rules, rules of unknown programs, and a keeper at rest.

use super::{DOCKER, runs};

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
         # Without a keeper the rules stay lost. status says so, and up restores them.
         keeper=$(sed -n 's/.*\"pid\": \\([0-9]*\\).*/\\1/p' $KVMC_STATE_DIR/clusters/k80/keeper.json)
         kill -STOP $keeper
         nft flush ruleset
         kvmc status 2>&1 | grep 'NAT rules (nft table inet kvmc_k80) missing' || fail 'status'
         kvmc up --accel tcg 2>&1 || true
         whole || fail 'up'
         test \"$(pids)\" = \"$before\" || fail 'a node was touched by up'
         kill -CONT $keeper 2>/dev/null || true; lives 'after up'",
    );
    assert!(
        said.contains("restored rules that another program had removed"),
        "{said}"
    );
}

/// A keeper at rest runs no program, even when others change things other than rules. It still sees a changed rule.
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
        # The keeper looks once, after its start.
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
fn p10_a_table_of_nobody_we_know_is_named_and_nothing_is_made() {
    let said = runs(
        "nft add table inet corp; nft add chain inet corp fwd2 '{ type filter hook forward priority 0; policy drop; }'
         host > ../before
         code=0; $UP 2> ../said || code=$?
         cat ../said; test $code = 1 || fail \"it ended with $code\"
         host > ../after; same ../before ../after 'nothing was made'
         # The hint's command works.
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
           # A zombie has no command line.
           test -z \"$(tr -d '\\0' 2>/dev/null < /proc/$pid/cmdline)\" || fail \"$f goes on\"
         done
         rm -rf inventory id_rsa* ssh_config known_hosts"
    ));
}
