//! What a QEMU may do on the host. A program that runs in QEMU's place, with its very confinement, tries what must not
//! work (tests/fake-qemu/probe.rs). See docs/SECURITY.md.

use super::fake;

/// Starts two nodes, and names to master0's program what belongs to worker0 and to the host.
const WORLD: &str = r#"
host > ../before
kvmc up --accel tcg $SMALL --masters 1 --workers 1 --load-balancers 0 --restart always --cold 2> /dev/null
nodes=$KVMC_STATE_DIR/clusters/k80/nodes; bin=$(cd ../bin; pwd)
pid() { sed -n 's/.*"pid": \([0-9]*\).*/\1/p' $nodes/$1/process.json; }
keeper=$(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' $KVMC_STATE_DIR/clusters/k80/keeper.json)
python3 -c '
import socket, time
tcp = socket.create_server(("0.0.0.0", 9999))
unix = socket.socket(socket.AF_UNIX); unix.bind("\0kvmc-probe"); unix.listen()
time.sleep(600)' & server=$!
until ss -Hltn sport = :9999 | grep -q 9999; do sleep 0.05; done
secret=$(realpath $(mktemp -p ..)); chmod 666 $secret
cat > ../bin/script <<SCRIPT
probe-open disk=$nodes/worker0/disk.qcow2 console=$nodes/worker0/console.sock secrets=$KVMC_STATE_DIR/clusters/k80/secrets.json open-to-all=$secret
probe-pid neighbour=$(pid worker0) keeper=$keeper
probe-tcp loopback=127.0.0.1:9999 host=192.168.80.1:9999 uplink=203.0.113.2:9999
probe-unix qmp=$nodes/worker0/qmp.sock console=$nodes/worker0/console.sock keeper=$KVMC_STATE_DIR/clusters/k80/keeper.sock
probe-abstract abstract=kvmc-probe
SCRIPT
for f in probe.master0 start.master0 probe.; do : > ../bin/$f; chmod 666 ../bin/$f; done
# Tells master0's program to try everything.
probe() { : > ../bin/probe.master0; echo "probe $1" > ../bin/do.master0; answered probe.master0; }
answered() { n=0; until grep -q '^done' ../bin/$1; do n=$((n + 1)); test $n -lt 600 || fail "no answer in $1: $(cat ../bin/$1)"; sleep 0.05; done; }
said() { sed -n "s|^$2: ||p" ../bin/$1; }
is() { test "$(said $1 "$2")" = "$3" || fail "$1: $2: $(said $1 "$2"), and not $3"; }
# None of it worked, and each was tried.
none() { f=$1; shift; for what; do
  got=$(said $f "$what"); case $got in E[A-Z]*) ;; *) fail "$f: $what: ${got:-not tried}" ;; esac; done; }
"#;

/// All that must not work, at the start of a QEMU and after it.
const NOTHING: &str = r#"
nothing() {
  none $1 'open /etc/passwd' 'open /etc/shadow' 'open /dev/mem' 'open /dev/kmsg' 'open /sys/kernel' 'open /proc/meminfo' \
    'read disk' 'write disk' 'read console' 'write console' 'read secrets' 'write secrets' 'read open-to-all' 'write open-to-all' \
    'create in /' 'create in /tmp' 'run /bin/sh' 'run /usr/bin/env' 'run /usr/bin/python3' 'run /usr/bin/su' \
    'signal neighbour' 'trace neighbour' 'read memory of neighbour' 'open memory of neighbour' \
    'signal keeper' 'trace keeper' 'read memory of keeper' 'open memory of keeper' \
    mount 'unshare user' 'unshare net' 'setuid 0' 'setgid 0' chroot keyring bpf userfaultfd \
    'tcp to loopback' 'tcp to host' 'tcp to uplink' 'udp socket' 'netlink socket' 'packet socket' 'vsock socket' 'alg socket' \
    'connect to qmp' 'connect to console' 'connect to keeper' 'connect to abstract' 'raise the core limit'
  is $1 'own pid' 1; is $1 'host name' kvmc; is $1 'core written' false
  test "$(said $1 'processes seen')" -le 1 || fail "$1 sees $(said $1 'processes seen') processes"
  bomb=$(said $1 'fork bomb'); test $bomb -gt 100 && test $bomb -lt 2048 || fail "a fork bomb of $bomb"
  files=$(said $1 'open files'); test $files -gt 100 && test $files -le 4096 || fail "$files open files"
}
"#;

fn runs(script: &str) -> String {
    fake::runs(&fake::bench(), &format!("{WORLD}{NOTHING}{script}"))
}

/// P37, P38: with the confinement of a node's QEMU, nothing works of what its user could do elsewhere on the host.
#[test]
fn p37_p38_a_hostile_qemu_gets_nowhere() {
    runs(
        r#"probe 1; cat ../bin/probe.master0; nothing probe.master0
        is probe.master0 'in /' PermissionDenied
        # From its first instruction on, before its root is emptied.
        echo 'probe-at-start yes' >> ../bin/script
        kvmc stop; kvmc start --cold 2> /dev/null; answered start.master0
        cat ../bin/start.master0; nothing start.master0
        # The keeper starts it as a verb does.
        : > ../bin/start.master0; echo 'exit 3' > ../bin/do.master0; answered start.master0; nothing start.master0
        # The same program and user without the confinement, which shows that the tries can succeed.
        kvmc stop; uid=$(sed -n 's/.*"uid": \([0-9]*\).*/\1/p' $KVMC_STATE_DIR/clusters/k80/cluster.json | head -n 1)
        rm -f /tmp/kvmc-probe
        setpriv --reuid $uid --regid $uid --clear-groups ../bin/qemu-system-x86_64 -probe
        cat ../bin/probe.
        for what in 'open /etc/passwd' 'read open-to-all' 'write open-to-all' 'create in /tmp' 'run /bin/sh' 'tcp to loopback' 'tcp to uplink' \
          'udp socket' 'netlink socket' 'connect to abstract'; do is probe. "$what" ok; done
        rm -f /tmp/kvmc-probe
        test "$(said probe. 'processes seen')" -gt 3 || fail 'it sees no processes'
        test "$(said probe. 'fork bomb')" -gt 2048 || fail 'a bound without confinement'
        kill $server; kvmc down; rm $secret
        host > ../after; same ../before ../after 'the host after all of it'"#,
    );
}

/// P37: what the kernel says of a running QEMU.
#[test]
fn p37_each_qemu_has_namespaces_limits_and_an_empty_root() {
    runs(
        r#"for node in master0 worker0; do
          p=$(pid $node)
          has() { grep -qE "^$1:[[:space:]]*$2\$" /proc/$p/status || fail "$node: $(grep "^$1:" /proc/$p/status), and not $2"; }
          for line in 'Groups ' 'CapInh 0+' 'CapPrm 0+' 'CapEff 0+' 'CapBnd 0+' 'CapAmb 0+' 'NoNewPrivs 1' 'Seccomp 2'; do has ${line% *} "${line#* }"; done
          has Uid '(1[0-9]{9})[[:space:]]+\1[[:space:]]+\1[[:space:]]+\1'; has NSpid "$p[[:space:]]+1"
          for ns in mnt pid ipc uts net; do
            test "$(readlink /proc/$p/ns/$ns)" != "$(readlink /proc/self/ns/$ns)" || fail "$node has the host's $ns namespace"
          done
          test "$(readlink /proc/$p/ns/user)" = "$(readlink /proc/self/ns/user)" || fail "$node has a user namespace, with capabilities inside"
          limit() { grep -qE "^Max $1 +$2 +$2 " /proc/$p/limits || fail "$node: $(grep "Max $1" /proc/$p/limits)"; }
          limit 'core file size' 1; limit processes '[0-9]{1,4}'; limit 'open files' '[0-9]{1,4}'; limit 'msgqueue size' 0
          # Only the folder of the tests is left, and nothing of it can be changed.
          test "$(cut -d' ' -f5 /proc/$p/mountinfo | sort | xargs)" = "/ $bin" || fail "$node: $(cat /proc/$p/mountinfo)"
          grep ' / / ro,' /proc/$p/mountinfo | grep -q 'tmpfs kvmc-world' || fail "$node: its root: $(cat /proc/$p/mountinfo)"
          test "$(nsenter --net=/proc/$p/ns/net ip -o link | wc -l)" = 1 || fail "$node has an interface"
          nsenter --net=/proc/$p/ns/net ip -o link | grep -q ' lo: .* state DOWN' || fail "$node has a loopback"
          tr '\0' '\n' < /proc/$p/environ | cut -d= -f1 | sort | xargs | grep -qx 'G_SLICE KVMC_MOUNTS MALLOC_ARENA_MAX PATH' || fail "$node: $(tr '\0' ' ' < /proc/$p/environ)"
        done
        test "$(readlink /proc/$(pid master0)/ns/mnt)" != "$(readlink /proc/$(pid worker0)/ns/mnt)" || fail 'they share a mount namespace'
        kvmc doctor | grep -E '^confinement +ok' || fail "$(kvmc doctor)"
        kill $server; kvmc down; rm $secret
        host > ../after; same ../before ../after 'the host after it'"#,
    );
}

/// Limits of the user that are lower than those of a QEMU stay: sudo forbids core dumps, and a container's root may not
/// raise limits.
#[test]
fn p37_a_user_with_lower_limits_starts_nodes() {
    fake::runs(
        &fake::bench(),
        r#"low="setpriv --bounding-set=-sys_resource prlimit --core=0:0 --msgqueue=0:0 --nproc=1000:1000 --nofile=2000:2000"
        $low kvmc up --accel tcg $SMALL --masters 1 --workers 0 --load-balancers 0 --cold 2> ../said || { cat ../said; fail 'up'; }
        kvmc status | grep -q ' ready ' || fail 'not ready'
        p=$(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' $KVMC_STATE_DIR/clusters/k80/nodes/master0/process.json)
        limit() { grep -qE "^Max $1 +$2 +$2 " /proc/$p/limits || fail "$(grep "Max $1" /proc/$p/limits)"; }
        limit 'core file size' 0; limit 'msgqueue size' 0; limit processes 1000; limit 'open files' 2000
        $low kvmc doctor | grep -E '^confinement +ok' || fail "$($low kvmc doctor)"
        kvmc down"#,
    );
}

/// A layer that a host lacks is told, and is no failure: as in a container without the right to make namespaces.
#[test]
fn p37_a_host_without_namespaces_runs_nodes_and_doctor_says_what_is_missing() {
    fake::runs(
        &fake::bench(),
        r#"less="setpriv --bounding-set -sys_admin --inh-caps -sys_admin"
        $less kvmc doctor > ../said 2>&1 || true
        cat ../said
        grep -E '^confinement +(warning|!)' ../said || fail 'it is not told'
        grep -q 'QEMU runs without mount namespace, empty root, PID namespace, IPC namespace, UTS namespace, network namespace' ../said || fail 'not which'
        $less kvmc up --accel tcg $SMALL --masters 1 --workers 0 --load-balancers 0 --cold 2> /dev/null
        p=$(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' $KVMC_STATE_DIR/clusters/k80/nodes/master0/process.json)
        test "$(readlink /proc/$p/ns/mnt)" = "$(readlink /proc/self/ns/mnt)" || fail 'a namespace without the right to make one'
        grep -q '^Seccomp:.2' /proc/$p/status && grep -q '^CapEff:.0*$' /proc/$p/status || fail "$(cat /proc/$p/status)"
        $less kvmc status 2>&1 | grep 'QEMU runs without' || fail "$($less kvmc status)"
        $less kvmc down"#,
    );
}

/// P39: private whatever the umask, the folder's mode before, and who made it.
#[test]
fn p39_files_are_private_whatever_the_umask_and_no_foreign_folder_is_used() {
    fake::runs(
        &fake::bench(),
        r#"UP="kvmc up --accel tcg $SMALL --masters 1 --workers 0 --load-balancers 0 --cold"
        chmod 777 $KVMC_STATE_DIR
        (umask 000; $UP 2> /dev/null)
        open=$(find $KVMC_STATE_DIR -not -type l -perm /077 -path "*clusters*" -o -maxdepth 0 -perm /077)
        test -z "$open" || fail "others may look into $(ls -ld $open)"
        test "$(stat -c %a $KVMC_STATE_DIR/clusters $KVMC_STATE_DIR/clusters/k80 | xargs)" = '700 700' || fail "$(ls -la $KVMC_STATE_DIR/clusters)"
        for file in inventory id_rsa; do case $(stat -c %a $file) in ?00) ;; *) fail "$(ls -l $file)" ;; esac; done
        # The keeper answers root alone, whatever the modes have become.
        asked() { "$@" python3 -c 'import socket, sys
s = socket.socket(socket.AF_UNIX); s.settimeout(5); s.connect(sys.argv[1])
try: s.sendall(b"{}\n"); print(len(s.recv(100)))
except (BrokenPipeError, ConnectionResetError): print(0)' $KVMC_STATE_DIR/clusters/k80/keeper.sock; }
        test "$(asked env)" -gt 0 || fail 'the keeper does not answer root'
        chmod 711 $KVMC_STATE_DIR $KVMC_STATE_DIR/clusters $KVMC_STATE_DIR/clusters/k80; chmod 666 $KVMC_STATE_DIR/clusters/k80/keeper.sock
        test "$(asked setpriv --reuid nobody --regid nogroup --clear-groups)" = 0 || fail 'the keeper answers another user'
        chmod 600 $KVMC_STATE_DIR/clusters/k80/keeper.sock; chmod 700 $KVMC_STATE_DIR $KVMC_STATE_DIR/clusters $KVMC_STATE_DIR/clusters/k80
        # A node's own user reaches none of it, whatever its modes.
        uid=$(sed -n 's/.*"uid": \([0-9]*\).*/\1/p' $KVMC_STATE_DIR/clusters/k80/cluster.json)
        for file in $(find -L $KVMC_STATE_DIR/clusters -type f -o -type s); do
          if setpriv --reuid $uid --regid $uid --clear-groups test -r $file; then fail "QEMU's user may read $file"; fi
        done
        kvmc down 2> /dev/null
        images=$(readlink $KVMC_STATE_DIR/images)
        # A folder that somebody else has made, and one that is a link to elsewhere.
        rm -r $KVMC_STATE_DIR; mkdir $KVMC_STATE_DIR; ln -s $images $KVMC_STATE_DIR/images; chown nobody $KVMC_STATE_DIR
        code=0; $UP 2> ../said || code=$?; cat ../said
        test $code != 0 && grep -q "$KVMC_STATE_DIR belongs to nobody" ../said && grep -q "chown root" ../said || fail 'a foreign folder is used'
        mv $KVMC_STATE_DIR $KVMC_STATE_DIR.real; chown root $KVMC_STATE_DIR.real; ln -s $KVMC_STATE_DIR.real $KVMC_STATE_DIR
        code=0; $UP 2> ../said || code=$?; cat ../said
        test $code != 0 && grep -q "$KVMC_STATE_DIR is not a folder" ../said || fail 'a link is followed'
        rm $KVMC_STATE_DIR; mv $KVMC_STATE_DIR.real $KVMC_STATE_DIR
        ln -s /tmp $KVMC_STATE_DIR/clusters
        code=0; $UP 2> ../said || code=$?; cat ../said
        test $code != 0 && grep -q "clusters is not a folder" ../said || fail 'a link inside is followed'
        rm $KVMC_STATE_DIR/clusters"#,
    );
}

/// P40: the password and the private keys are where they are meant to be, and nowhere else.
#[test]
fn p40_no_secret_is_in_arguments_environments_logs_or_events() {
    fake::runs(
        &fake::bench(),
        r#"kvmc --debug up --accel tcg $SMALL --masters 1 --workers 1 --load-balancers 0 --cold > ../said 2>&1
        kvmc --debug status > ../status 2>&1; kvmc --debug stop >> ../said 2>&1; kvmc --debug start >> ../said 2>&1
        kvmc support --output ../support.tar > /dev/null 2>&1 || kvmc support > /dev/null 2>&1 || true
        K=$KVMC_STATE_DIR/clusters/k80
        python3 - $K/secrets.json > ../needles <<'SECRETS'
import json, sys
secrets = json.load(open(sys.argv[1]))
print(secrets["password"]); print(secrets["password_hash"])
# A line from the middle of each private key.
for keys in [{"admin": secrets["admin"]}, *secrets["hosts"].values()]:
    for pair in keys.values():
        if pair:
            lines = pair["private"].strip().splitlines(); print(lines[len(lines) // 2])
SECRETS
        test $(wc -l < ../needles) -ge 9 || fail "$(wc -l < ../needles) secrets"
        for p in $(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' $K/keeper.json $K/nodes/*/process.json); do
          if tr '\0' '\n' < /proc/$p/cmdline | grep -qFf ../needles; then fail "the arguments of $p"; fi
          if tr '\0' '\n' < /proc/$p/environ | grep -qFf ../needles; then fail "the environment of $p"; fi
        done
        if grep -lFf ../needles ../said ../status; then fail 'it is printed'; fi
        # The password is in the inventory, and the key of the user beside it; the cluster keeps a copy of both.
        found=$(grep -rlFf ../needles $KVMC_STATE_DIR . | grep -v '/images/\|/keys/' | sed "s|$K/||" | sort | xargs)
        test "$found" = './id_rsa ./inventory id_rsa inventory secrets.json' || fail "secrets are in: $found"
        for f in $(find $KVMC_STATE_DIR -name 'kvmc.log*' -o -name '*.jsonl' -o -name 'qmp.log*'); do
          if grep -qFf ../needles $f; then fail "$f has a secret"; fi
        done
        kvmc down"#,
    );
}

/// P44: the table of rights is what is needed: without one of them kvmc says so, and with these alone all works.
#[test]
fn p44_root_is_used_for_what_the_table_says_and_for_no_more() {
    fake::runs(
        &fake::bench(),
        r#"needed='chown dac_override kill setgid setuid setpcap net_bind_service net_admin net_raw'
        for cap in $needed; do
          setpriv --bounding-set -$cap --inh-caps -$cap kvmc doctor > ../said 2>&1 || true
          name=CAP_$(echo $cap | tr a-z A-Z)
          grep -q "missing capabilities: $name$\|missing capabilities: $name[^_,]" ../said || fail "without $cap: $(grep -i rights ../said)"
        done
        only=$(for cap in $needed; do printf ',+%s' $cap; done)
        alone() { setpriv --bounding-set -all$only --inh-caps -all "$@"; }
        host > ../before
        alone kvmc up --accel tcg $SMALL --masters 1 --workers 1 --load-balancers 0 --cold
        test $(alone kvmc status | grep -c ' ready ') = 2 || fail "$(alone kvmc status)"
        alone kvmc stop; alone kvmc start --cold; alone kvmc down
        host > ../after; same ../before ../after 'the host after all of it'
        # Without root, it says what to do and changes nothing.
        there=$(mktemp -d); chmod 755 $there ..; cp $(command -v kvmc) $there/
        code=0; (cd /; setpriv --reuid 65534 --regid 65534 --clear-groups env HOME=$there $there/kvmc up) 2> ../said || code=$?
        rm -r $there
        test $code != 0 && grep -q 'sudo' ../said || fail "as nobody: $(cat ../said)"
        host > ../after; same ../before ../after 'the host after a user without rights'"#,
    );
}
