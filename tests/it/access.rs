//! Verbs that reach into nodes: `exec`, `ip`, `cp`, `console`, `logs`, `ssh-config`. The fake QEMU has no sshd, so a fake
//! ssh and scp stand for the nodes.

use std::os::unix::fs::PermissionsExt;

use super::fake;
use super::support::Bench;

/// Runs the command on this host, in a folder of the node. Files below `../ssh` make a node fail.
const SSH: &str = r#"#!/bin/bash
log=/dev/stderr subsystem=
while :; do case $1 in
  -E) log=$2; shift 2 ;;
  -F) test -r "$2" || exit 254; shift 2 ;;
  -o) shift 2 ;;
  -s) subsystem=yes; shift ;;
  -F*|-o*|-2|-x|-a) shift ;;
  --) shift; break ;;
  *) echo "an option that ssh does not have: $1" >&2; exit 254 ;;
esac; done
node=$1; shift
cd "${0%/*}/../ssh" || exit 254
echo $$ > ../pid.$node
if test -e nopython.$node; then export PATH=/none; fi
if test -e hang.$node; then echo $$ > hangs.$node; exec sleep 600; fi
if test -e gone.$node; then echo "ssh: connect to host $node port 22: No route to host" >> "$log"; exit 255; fi
/bin/mkdir -p $node; cd $node; export NODE=$node
if test -n "$subsystem"; then exec /usr/lib/openssh/sftp-server; fi
exec /bin/sh -c "$*"
"#;
/// Copies within this host; `NODE:PATH` is a path in the node's folder.
const SCP: &str = r#"#!/bin/bash
while :; do case $1 in
  -F|-o) shift 2 ;;
  -r|-p|-3) shift ;;
  --) shift; break ;;
  *) echo "an option that scp does not have: $1" >&2; exit 254 ;;
esac; done
base="${0%/*}/../ssh"
for path; do
  case $path in ./*|/*) paths+=("$path") ;; *) paths+=("$base/${path%%:*}/${path#*:}"); mkdir -p "$base/${path%%:*}" ;; esac
done
for node in $(cd $base; ls | sed -n 's/^gone\.//p'); do
  case " $* " in *" $node:"*) printf 'ssh: connect to host %s port 22: No route to host\r\nscp: Connection closed\r\n' $node >&2; exit 255 ;; esac
done
if test -e $base/slow; then echo $$ > $base/copies; exec sleep 600; fi
if test -e $base/fills; then for last; do :; done; echo half > "${paths[-1]}"; echo 'scp: write remote: Failure' >&2; exit 1; fi
exec cp -r "${paths[@]}"
"#;

pub(super) const UP: &str = "kvmc up --accel tcg $SMALL --masters 1 --workers 2 --load-balancers 0 2>/dev/null
  K=$KVMC_STATE_DIR/clusters/k80
  pid() { kvmc status --json 2>/dev/null | python3 -c 'import json, sys; print(next(n[\"pid\"] for n in json.load(sys.stdin)[\"nodes\"] if n[\"name\"] == sys.argv[1]))' $1; }
  until_there() { n=0; until test -e $1; do n=$((n + 1)); test $n -lt 200 || fail \"no $1\"; sleep 0.05; done; }
  fails() { want=$1; words=$2; shift 2; code=0; \"$@\" > ../out 2> ../err || code=$?
    test $code = $want || { cat ../out ../err; fail \"$* ended with $code, not $want\"; }
    grep -qF -- \"$words\" ../err || { cat ../err; fail \"$* did not say: $words\"; }; }";

pub(super) fn bench() -> Bench {
    let bench = fake::bench();
    for (name, text) in [("ssh", SSH), ("scp", SCP)] {
        let path = bench.dir().join("bin").join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    std::fs::create_dir(bench.dir().join("ssh")).unwrap();
    bench
}

pub(super) fn runs(script: &str) -> String {
    fake::runs(&bench(), &format!("{UP}\n{script}"))
}

#[test]
fn a_command_runs_on_nodes_at_once_and_the_worst_exit_code_counts() {
    runs(
        r#"kvmc exec -- 'echo $NODE; printf "a\nb"; echo e >&2' > ../out 2> ../err
        sort ../out > ../sorted
        printf '%s\n' 'master0 | a' 'master0 | b' 'master0 | master0' 'worker0 | a' 'worker0 | b' 'worker0 | worker0' 'worker1 | a' 'worker1 | b' 'worker1 | worker1' > ../expected
        same ../expected ../sorted 'the output of all nodes'
        test "$(sort ../err | tr '\n' ' ')" = 'master0 | e worker0 | e worker1 | e ' || fail "stderr: $(cat ../err)"
        test "$(echo typed | kvmc exec master0 -- cat)" = 'master0 | typed' || fail 'stdin of one node'
        test -z "$(echo typed | kvmc exec workers -- cat)" || fail 'stdin of several nodes'
        test "$(echo typed | kvmc exec --stdin workers -- cat | sort | tr '\n' ' ')" = 'worker0 | typed worker1 | typed ' || fail 'stdin of each node'
        test "$({ echo late; sleep 0.5; echo later; } | kvmc exec --stdin -- 'head -n 1; cat >&2' 2>/dev/null | grep -c 'late$')" = 3 || fail 'stdin as it comes'
        head -c 3000000 /dev/urandom > ../random; sum=$(cksum < ../random)
        test "$(kvmc exec --stdin -- cksum < ../random | grep -c "| $sum")" = 3 || fail 'a file as stdin'
        test "$(cat ../random | kvmc exec --stdin -- cksum | grep -c "| $sum")" = 3 || fail 'a pipe as stdin'
        # A node that does not read delays no other.
        touch ../ssh/hang.worker0
        code=0; cat ../random | timeout 30 kvmc exec --stdin --timeout 4 -- cksum > ../out 2>/dev/null || code=$?
        test $code = 124 && test "$(grep -c "| $sum" ../out)" = 2 || fail "stdin beside a node that hangs: $code, $(cat ../out)"
        until_gone $(cat ../ssh/hangs.worker0); rm ../ssh/hang*
        kvmc exec master0 -- "head -c 3000 /dev/zero | tr '\0' '\377'; printf '\0\n'" > ../bytes
        test "$(tail -c 3002 ../bytes | head -c 3000 | tr -d '\377' | wc -c)" = 0 && test "$(wc -c < ../bytes)" = 3012 || fail bytes
        # Words of the command that look like options are the node's.
        test "$(kvmc exec master0 -- echo -F -x)" = 'master0 | -F -x' || fail 'options'
        test "$(kvmc ssh master0 -- echo -F -x)" = '-F -x' || fail 'options of ssh'
        kvmc exec workers -- true
        fails 7 'worker1 ended with 7' kvmc exec workers -- 'case $NODE in worker1) exit 7 ;; worker0) exit 3 ;; esac'
        fails 4 'did you mean `worker1`?' kvmc exec wroker1 -- true
        fails 2 'COMMAND' kvmc exec worker1
        # The others go on without a node that is not reached, has ended, or hangs.
        touch ../ssh/gone.worker0
        fails 255 'worker0 cannot be reached: connect to host worker0 port 22: No route to host' kvmc exec -- 'echo $NODE'
        test "$(wc -l < ../out)" = 2 || fail "$(cat ../out)"
        rm ../ssh/gone.worker0; touch ../ssh/hang.worker0
        fails 124 'worker0 did not end within 1 s' kvmc exec --timeout 1 -- 'echo $NODE'
        test "$(wc -l < ../out)" = 2 || fail "$(cat ../out)"
        until_gone $(cat ../ssh/hangs.worker0); rm ../ssh/hang* 
        kill -9 $(pid worker0); n=0; until kvmc status | grep -q 'worker0 *stopped.*signal 9'; do n=$((n + 1)); test $n -lt 100; sleep 0.1; done
        fails 255 'worker0 does not run: killed by signal 9' kvmc exec -- 'echo $NODE'
        test "$(wc -l < ../out)" = 2 || fail "$(cat ../out)"
        fails 255 'worker0 does not run' kvmc exec --json -- 'echo $NODE; echo e >&2; exit 3'
        python3 -c '
import json
got = [(o["node"], o["exit_code"], o["stdout"], o["stderr"], o["error"] is None) for o in json.load(open("../out"))]
assert got == [("master0", 3, "master0\n", "e\n", True), ("worker0", 255, "", "", False), ("worker1", 3, "worker1\n", "e\n", True)], got'
        # A reader that goes away ends the commands.
        { code=0; timeout 10 kvmc exec workers -- yes || code=$?; echo $code > ../ended; } | head -n 1 > ../one
        test "$(wc -l < ../one)" = 1 || fail 'one line'; test "$(cat ../ended)" != 124 || fail 'the commands go on'
        kvmc stop 2>/dev/null; fails 1 'cluster `k80` is stopped' kvmc exec -- true"#,
    );
}

#[test]
fn ctrl_c_ends_commands_and_copies_and_names_the_nodes() {
    runs(
        r#"touch ../ssh/hang.worker0 ../ssh/hang.worker1
        kvmc exec -- 'echo $NODE' > ../out 2> ../err & exec_pid=$!
        until_there ../ssh/hangs.worker0; until_there ../ssh/hangs.worker1; sleep 0.3
        kill -INT $exec_pid; code=0; wait $exec_pid || code=$?
        test $code = 130 || fail "ended with $code"
        grep -q '^interrupted; the command may still run on worker0, worker1$' ../err || fail "$(cat ../err)"
        for n in worker0 worker1; do until_gone $(cat ../ssh/hangs.$n); done
        rm ../ssh/hang*; touch ../ssh/slow; echo x > file
        kvmc cp file workers:/tmp > ../out 2> ../err & cp_pid=$!
        until_there ../ssh/copies; sleep 0.3
        kill -INT $cp_pid; code=0; wait $cp_pid || code=$?
        test $code = 130 || fail "ended with $code"
        grep -q 'interrupted; what was copied of worker0, worker1 may be incomplete' ../err || fail "$(cat ../err)"
        until_gone $(cat ../ssh/copies)"#,
    );
}

#[test]
fn files_and_folders_go_both_ways_and_what_cannot_go_is_refused_before() {
    runs(
        r#"mkdir folder; echo one > folder/a; echo two > 'b: c'; mkdir -p ../ssh/worker0 ../ssh/worker1 ../ssh/master0
        kvmc cp 'b: c' workers:x 2>/dev/null; kvmc cp -r folder ./folder/a worker0:. 
        test "$(cat ../ssh/worker0/x ../ssh/worker1/x ../ssh/worker0/folder/a ../ssh/worker0/a | tr '\n' ' ')" = 'two two one one ' || fail 'to nodes'
        kvmc cp workers:x out 2>/dev/null; test "$(cat out/worker0/x out/worker1/x | tr '\n' ' ')" = 'two two ' || fail 'from a group'
        echo three > ../ssh/worker1/z; kvmc cp worker0:x worker1:z out; test "$(cat out/x out/z | tr '\n' ' ')" = 'two three ' || fail 'from nodes'
        kvmc cp worker0:folder master0:new; test "$(cat ../ssh/master0/new/a)" = one || fail 'from node to node'
        before=$(find . ../ssh | sort | cksum)
        fails 1 '`none` does not exist' kvmc cp none worker0:x
        fails 4 'did you mean `worker0`?' kvmc cp folder wroker0:x
        fails 2 'both sides of the copy' kvmc cp folder other
        fails 2 'is on 2 nodes' kvmc cp workers:x master0:x
        fails 2 '`worker0:x` and `worker1:x` would both become `x` in `out`' kvmc cp worker0:x worker1:x out
        fails 1 'worker0: `x` is a file, which a folder cannot replace' kvmc cp folder worker0:x
        fails 1 'there is no folder for `no/x`' kvmc cp folder worker0:no/x
        fails 1 'several sources need a folder' kvmc cp folder/a 'b: c' worker0:x
        fails 1 'is a file; each node' kvmc cp workers:x 'b: c'
        truncate -s 8T huge; fails 1 ' is free on ' kvmc cp huge worker0:x; rm huge
        touch ../ssh/gone.worker1
        fails 3 'worker1: connect to host worker1 port 22: No route to host' kvmc cp 'b: c' workers:x
        rm ../ssh/gone.worker1
        test "$(find . ../ssh | sort | cksum)" = "$before" || fail 'a refused copy changed something'
        # A copy that fails leaves no half of a file.
        touch ../ssh/fills; fails 1 'worker0: write remote: Failure' kvmc cp worker0:x half; test ! -e half || fail 'a half stays'
        rm ../ssh/fills
        kill -9 $(pid worker1); n=0; until kvmc status | grep -q 'worker1 *stopped.*signal 9'; do n=$((n + 1)); test $n -lt 100; sleep 0.1; done
        fails 3 'worker1: the node does not run: killed by signal 9' kvmc cp 'b: c' workers:y
        test -e ../ssh/worker0/y || fail 'the others go on'
        fails 1 'worker1: the node does not run' kvmc cp worker1:x master0:y"#,
    );
}

#[test]
fn addresses_are_shown_of_one_node_of_groups_and_of_a_stopped_cluster() {
    runs(
        r#"test "$(kvmc ip worker0)" = 192.168.80.3 || fail "$(kvmc ip worker0)"
        test "$(kvmc ip workers | wc -l)" = 3 && test "$(kvmc ip | wc -l)" = 4 || fail "$(kvmc ip)"
        kvmc stop 2>/dev/null
        kvmc ip --json master0 | python3 -c 'import json, sys; node, = json.load(sys.stdin); assert node["addresses"][0]["address"] == "192.168.80.2", node'
        fails 4 'did you mean `worker0`?' kvmc ip wroker0"#,
    );
}

#[test]
fn a_console_is_used_in_a_terminal_across_restarts_of_node_and_keeper() {
    let bench = bench();
    let script = super::support::scripts().join("console.py");
    fake::runs(
        &bench,
        &format!(
            "{UP}
        python3 {} master0 fake
        kvmc console --history master0 | grep -q 'Linux version' || fail history
        echo 'from a pipe' | timeout 5 kvmc console master0 > ../piped 2> ../err || true
        grep -q 'from a pipe' ../piped || fail \"piped: $(cat ../piped ../err)\"
        fails 4 'no node `master9`' kvmc console master9
        kvmc console master0 > ../out 2> ../err < /dev/null & console=$!; sleep 0.5
        kvmc stop 2>/dev/null; wait $console || fail \"the console ended with $?\"
        grep -q 'cluster `k80` is stopped' ../err || fail \"$(cat ../err)\"
        fails 1 'cluster `k80` is stopped' kvmc console master0
        kvmc console --history master0 | grep -q 'Linux version' || fail 'the history of a stopped node'
        kvmc start 2>/dev/null; kvmc console worker1 > ../out 2> ../err < /dev/null & console=$!; sleep 0.5
        kvmc rm worker1 2>/dev/null; wait $console || fail \"the console ended with $?\"
        grep -q 'worker1 is removed' ../err || fail \"$(cat ../err)\"",
            script.display()
        ),
    );
}

#[test]
fn logs_are_merged_plain_and_followed_across_restarts() {
    runs(
        r#"echo hello | timeout 3 kvmc console master0 >/dev/null 2>&1 || true
        kvmc logs > ../out
        grep -Eq '^20.*Z master0 console \| hello$' ../out || fail "$(cat ../out)"
        grep -Eq '^20.*Z worker1 keeper  \| ready' ../out || fail "$(cat ../out)"
        sort -s -k1,1 ../out > ../sorted; same ../sorted ../out 'the order of time'
        kvmc logs worker0 | grep -q 'master0' && fail 'other nodes'
        test "$(kvmc logs -n 1 | wc -l)" -le 4 || fail 'the last lines'
        test -z "$(kvmc logs --since 2038-01-01T00:00:00Z)" || fail since
        fails 2 'is no age or time' kvmc logs --since soon
        kvmc logs -f -n 0 master0 > ../follows 2>&1 & follows=$!
        printf 'title \033]0;x\a\033[31mred\n' | timeout 3 kvmc console master0 >/dev/null 2>&1 || true
        kill -9 $(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' $K/keeper.json); kvmc up 2>/dev/null
        echo after the keeper | timeout 3 kvmc console master0 >/dev/null 2>&1 || true
        echo reboot > ../bin/do.master0
        n=0; until grep -q 'Linux version' ../follows; do n=$((n + 1)); test $n -lt 200 || { cat ../follows; fail 'no reboot'; }; sleep 0.1; done
        n=0; until grep -q 'keeper  | ready' ../follows; do n=$((n + 1)); test $n -lt 200 || { cat ../follows; fail 'not ready'; }; sleep 0.1; done
        kill -INT $follows; code=0; wait $follows || code=$?; test $code = 130 || fail "ended with $code"
        grep -q 'master0 console | title red$' ../follows && grep -q 'console | after the keeper$' ../follows || { cat ../follows; fail 'what was typed'; }
        grep -q "$(printf '\033')" ../follows ../out && fail 'an escape sequence'
        kvmc logs --raw master0 | grep -q "$(printf '\033')" || fail raw
        kvmc logs -f > ../follows 2>&1 & follows=$!; sleep 0.5; kvmc down 2>/dev/null
        wait $follows || fail "$?"; grep -q 'is removed' ../follows || fail "$(tail -n 3 ../follows)""#,
    );
}

#[test]
fn the_users_ssh_config_gets_the_line_of_each_cluster_and_loses_it() {
    runs(
        r#"home=$(cd ../home; pwd); chmod 755 ..; mount --bind ../home /root; mkdir ../user; chown 1234:1234 ../user
        cp /etc/passwd ../passwd; echo "someone:x:1234:1234::$(cd ..; pwd)/user:/bin/sh" >> ../passwd; mount --bind ../passwd /etc/passwd
        kvmc ssh-config install; kvmc ssh-config install 2>&1 | grep -q already || fail 'twice'
        test "$(stat -c %a $home/.ssh $home/.ssh/config | tr '\n' ' ')" = '700 600 ' || fail modes
        test "$(/usr/bin/ssh -G worker0 | sed -n 's/^hostname //p')" = 192.168.80.3 || fail "$(cat $home/.ssh/config)"
        test "$(/usr/bin/ssh -G worker0.k80.internal | sed -n 's/^user //p')" = admin || fail "$(cat $home/.ssh/config)"
        kvmc ssh-config remove; test ! -s $home/.ssh/config || fail "$(cat $home/.ssh/config)"
        kvmc ssh-config remove 2>&1 | grep -q 'does not include' || fail 'remove twice'
        # The user behind sudo, whose file is a link.
        export SUDO_UID=1234 SUDO_GID=1234
        setpriv --reuid 1234 --regid 1234 --clear-groups sh -c 'mkdir -m 700 ../user/.ssh; printf "Host mine\n  User me\n" > ../user/dots; chmod 640 ../user/dots; ln -s ../dots ../user/.ssh/config'
        cp ../user/dots ../dots
        kvmc ssh-config install
        test -L ../user/.ssh/config && test "$(stat -c '%U %a' ../user/dots)" = 'someone 640' || fail 'the link'
        test "$(head -n 2 ../user/dots | grep -c "^Include \"$PWD/ssh_config\"")" = 1 && tail -n 2 ../user/dots | cmp - ../dots || fail "$(cat ../user/dots)"
        kvmc --cluster lab up --accel tcg $SMALL --masters 1 --workers 0 --load-balancers 0 --bridge lab --subnet 10.9.0.0/24 --files lab 2>/dev/null
        kvmc --cluster lab ssh-config install; test "$(grep -c ^Include ../user/dots)" = 2 || fail "$(cat ../user/dots)"
        kvmc --cluster lab down 2>/dev/null; test "$(grep -c ^Include ../user/dots)" = 1 || fail 'down leaves the line'
        kvmc down 2>/dev/null; cmp ../user/dots ../dots || fail 'down leaves the line of the first'
        # Files of others stay as they are.
        kvmc up --accel tcg $SMALL --masters 1 --workers 0 --load-balancers 0 2>/dev/null
        rm ../user/.ssh/config; cp /etc/shadow ../shadow
        ln -s /etc/shadow ../user/.ssh/config; fails 1 '/etc/shadow belongs to another user' kvmc ssh-config install
        cmp /etc/shadow ../shadow || fail shadow
        rm ../user/.ssh/config; mkdir ../user/.ssh/config; fails 1 'is not a file' kvmc ssh-config install
        rmdir ../user/.ssh/config; ln -s nowhere ../user/.ssh/config; fails 1 'leads nowhere' kvmc ssh-config install"#,
    );
}
