//! Rights, descriptors and outputs that a user's world gives to kvmc, on the tests' fake QEMU. See docs/OUTSIDE.md.

use super::fake;

const UP: &str = "kvmc up --accel tcg $SMALL --masters 1 --workers 1 --load-balancers 0 --cold";

fn runs(script: &str) {
    fake::runs(&fake::bench(), &script.replace("@UP", UP));
}

/// A user without root is told of sudo, and nothing of a whole cluster is called damaged.
#[test]
fn what_a_user_may_not_read_is_not_damaged() {
    runs(
        r#"@UP 2> /dev/null
        there=$(mktemp -d); chmod 755 $there
        trap 'code=$?; rm -r $there; kvmc down >/dev/null 2>&1; exit $code' EXIT
        cp $(command -v kvmc) $there/
        chmod 755 ../ $KVMC_STATE_DIR
        user() { code=0; (cd /; setpriv --reuid 65534 --regid 65534 --clear-groups env HOME=$there "$@") > ../said 2>&1 || code=$?; }
        for verb in status up stop start down; do
          user $there/kvmc $verb
          test $code != 0 || fail "$verb of root's cluster was done"
          grep -q 'sudo' ../said || fail "$verb does not name sudo: $(cat ../said)"
          if grep -qE 'damaged|remains|panicked' ../said; then fail "$verb calls it damaged: $(cat ../said)"; fi
        done
        test $(kvmc status | grep -c ' ready ') = 2 || fail "$(kvmc status)"
        # Root's own folder, which is not the user's.
        mount -t tmpfs none /var/lib; mkdir /var/lib/kvmc
        user env -u KVMC_STATE_DIR $there/kvmc status
        test $code = 4 && grep -q 'root has clusters of its own; .sudo kvmc status. shows them' ../said || fail "status: $(cat ../said)""#,
    );
}

/// A shell's `flock`, or a pipe that a reader waits at.
#[test]
fn keeper_and_qemu_inherit_no_descriptor() {
    runs(
        r#"exec 9> ../held; flock 9
        @UP 2> /dev/null
        exec 9>&-
        flock -n ../held true || fail 'the lock is still held'
        kvmc stop
        timeout 60 sh -c 'kvmc start 3>&1 2>/dev/null | cat' || fail 'the reader of a pipe waits'
        test $(kvmc status | grep -c ' ready ') = 2 || fail 'not ready'
        kvmc down"#,
    );
}

/// As with a container that was restarted on a kept state folder.
#[test]
fn a_cluster_whose_namespace_is_gone_starts_and_goes_where_one_is() {
    runs(
        r#"K=$KVMC_STATE_DIR/clusters/k80
        lose() {
          export SMALL; unshare --net sh -euc 'ip link set lo up; @UP 2> /dev/null'
          kvmc status 2>&1 | grep -q 'another network namespace' || fail 'it lives, and status does not tell'
          code=0; kvmc start 2> ../said || code=$?
          test $code != 0 && grep -q 'runs in another network namespace' ../said || fail "start: $(cat ../said)"
          for p in $(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' $K/keeper.json $K/nodes/*/process.json); do kill -9 $p; until_gone $p; done
        }
        host > ../before
        lose
        test $(kvmc status | grep -c 'stopped') = 2 || fail "status: $(kvmc status)"
        kvmc start 2> /dev/null
        test $(kvmc status | grep -c ' ready ') = 2 || fail "not ready: $(kvmc status)"
        kvmc down
        lose; kvmc stop; kvmc down
        lose; kvmc down
        host > ../after; same ../before ../after 'the host after all of it'"#,
    );
}

/// As in a rootless container.
#[test]
fn a_user_namespace_without_the_nodes_ids_is_refused() {
    runs(
        r#"unshare -U true 2> /dev/null || { echo 'skipped: the kernel makes no user namespace here, as in a chroot'; exit 0; }
        host > ../before
        # Root's program becomes root inside by the exec after its map is there.
        mapped() {
          map=$1; shift; rm -f ../go; mkfifo ../go
          unshare -U sh -c 'read go < ../go; exec "$@"' sh "$@" & pid=$!
          until test "$(readlink /proc/$pid/ns/user)" != "$(readlink /proc/self/ns/user)"; do sleep 0.05; done
          echo "$map" > /proc/$pid/uid_map; echo "$map" > /proc/$pid/gid_map
          echo > ../go; wait $pid
        }
        for map in '0 0 1' '0 0 65536' '0 0 1950000000'; do
          for verb in 'up --accel tcg' 'up --dry-run' doctor; do
            code=0; mapped "$map" kvmc $verb > ../said 2>&1 || code=$?
            test $code = 1 || fail "kvmc $verb ended with $code: $(cat ../said)"
            grep -q 'this user namespace lacks the ids 1900000000 to 1967108863, which nodes run as (uid_map and gid_map of /proc/self)' ../said ||
              fail "kvmc $verb: $(cat ../said)"
            grep -q 'run kvmc outside of it' ../said || fail "no way out: $(cat ../said)"
          done
        done
        host > ../after; same ../before ../after 'the host after what was refused'
        mapped '0 0 4294967295' kvmc doctor > ../said 2>&1 || true
        if grep 'lacks the ids' ../said; then fail 'a whole map is refused'; fi"#,
    );
}

#[test]
fn the_user_behind_doas_pkexec_or_sudo_owns_the_files() {
    runs(
        r#"uid=$(id -u nobody); gid=$(id -g nobody); root="0:0"
        owned() {
          wanted=$1; shift
          env "$@" kvmc up --accel tcg --masters 1 --workers 0 --load-balancers 0 --cold $SMALL 2> /dev/null
          for file in inventory id_rsa id_rsa.pub ssh_config known_hosts; do
            test "$(stat -c %u:%g $file)" = $wanted || fail "with $* $file is of $(stat -c %u:%g $file)"
          done
          kvmc down 2> /dev/null
        }
        owned $uid:$gid DOAS_USER=nobody
        owned $uid:$gid PKEXEC_UID=$uid
        owned $uid:5 SUDO_UID=$uid SUDO_GID=5
        for wrong in SUDO_UID=-1 SUDO_UID=4294967295 PKEXEC_UID=x DOAS_USER=nobody:x DOAS_USER= PKEXEC_UID=3999999999; do owned $root $wrong; done"#,
    );
}

#[test]
fn outputs_that_are_closed_or_full_stop_no_verb_and_a_full_one_is_told() {
    runs(
        r#"host > ../before
        @UP >&- 2>&-
        if kvmc status > /dev/full 2> /dev/full; then fail 'a full output is no error of status'; fi
        for verb in status config 'status --json' 'forward ls' 'image ls'; do
          code=0; kvmc $verb > /dev/full 2> ../said || code=$?
          test $code = 1 && grep -q 'cannot write to stdout: No space left' ../said || fail "$verb ends with $code: $(cat ../said)"
        done
        kvmc status | head -c 1 > /dev/null
        kvmc status 2> /dev/null | grep -c ready | grep 2
        kvmc stop > /dev/full 2>&-
        for n in 4 6 9 20; do
          code=0; prlimit --nofile=$n kvmc status 2> ../said || code=$?
          test $code = 1 && grep -q "may open only $n descriptors" ../said && grep -q 'hint: .ulimit -n' ../said || fail "$n descriptors: $(cat ../said)"
        done
        kvmc down >&- 2>&- <&-
        host > ../after; same ../before ../after 'the host after all of it'"#,
    );
}
