# A cluster beside a real systemd, which is pid 1 of a pid, mount and cgroup namespace below this script's. It knows only
# the units that are written here, so it starts nothing of the machine's.
uplink
top=$(cd ..; pwd); units=$top/units; group=
mkdir -p $units $top/cgroup
trap 'code=$?; kill -9 ${outer:-} 2>/dev/null || true; end_group; exit $code' EXIT
end_group() {
  test -z "$group" || {
    echo 1 > $group/cgroup.kill 2>/dev/null || true
    n=0; until rmdir $(find $group -depth -type d) 2>/dev/null || test ! -e $group; do n=$((n + 1)); test $n -lt 100 || break; sleep 0.05; done
  }
  umount -l $top/cgroup 2>/dev/null || true
}
unit() { cat > $units/$1; }
for name in sysinit basic shutdown; do printf '[Unit]\nDefaultDependencies=no\n' | unit $name.target; done
printf '[Unit]\nDefaultDependencies=no\nWants=dbus.socket\n' | unit start.target
printf '[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream=/run/dbus/system_bus_socket\n' | unit dbus.socket
cat > $top/bus.conf <<'CONFIG'
<busconfig><type>system</type><listen>systemd:</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/></policy></busconfig>
CONFIG
unit dbus.service <<UNIT
[Unit]
DefaultDependencies=no
Requires=dbus.socket
[Service]
Type=notify
ExecStart=/usr/bin/dbus-daemon --config-file=$top/bus.conf --nofork --nopidfile --systemd-activation
UNIT
UP="kvmc up --accel tcg $SMALL --masters 1 --load-balancers 0 --cold"
program() { printf '[Service]\nType=oneshot\nRemainAfterExit=yes\nWorkingDirectory=%s\nEnvironment="PATH=%s" "HOME=%s" KVMC_STATE_DIR=%s\nStandardError=append:%s/%s.log\nStandardOutput=append:%s/%s.log\n' \
  "$PWD" "$PATH" "$HOME" "$KVMC_STATE_DIR" "$top" $1 "$top" $1; }
{ program ci; echo "ExecStart=$(command -v kvmc) ${UP#kvmc } --workers 0"; } | unit ci.service
{ program kvmc; echo 'ExecStart=true'; echo "ExecStop=$(command -v kvmc) service stop"; } | unit kvmc.service

# A cgroup of the test's own, whichever hierarchies the machine has.
mount -t cgroup2 cgroup2 $top/cgroup || { echo "skipped: this machine mounts no cgroup v2"; exit 0; }
group=$top/cgroup/kvmc-test-$$; mkdir $group
cat > $top/boot <<'BOOT'
echo $$ > $GROUP/cgroup.procs
exec unshare --pid --fork --mount --cgroup --uts --ipc --kill-child sh -euc '
  mount -t tmpfs none /run; mount -t proc proc /proc
  for folder in fs kernel; do mount --bind /proc/sys/$folder /proc/sys/$folder; mount -o remount,bind,ro /proc/sys/$folder; done
  mount --bind /dev/null /dev/console
  umount -l /sys/fs/cgroup || true
  mount -t tmpfs none /sys/fs/cgroup 2>/dev/null || true; mount -t cgroup2 cgroup2 /sys/fs/cgroup
  container=kvmc SYSTEMD_UNIT_PATH=$UNITS:/run/systemd/transient exec /lib/systemd/systemd --system --unit=start.target --log-target=console --show-status=false'
BOOT
GROUP=$group UNITS=$units sh $top/boot > $top/systemd.log 2>&1 & outer=$!
eventually() { left=$(($1 * 20)); shift; until "$@"; do left=$((left - 1)); test $left -gt 0 || return 1; sleep 0.05; done; }
first() { systemd=$(cat /proc/$outer/task/$outer/children | tr -d ' '); test -n "$systemd"; }
eventually 5 first || fail "no namespace: $(cat $top/systemd.log)"
inside() { nsenter -t $systemd -m -p -C --wd=$PWD -- "$@"; }
runs() { inside systemctl is-system-running 2>/dev/null | grep -qx running; }
eventually 60 runs || { cat $top/systemd.log; fail "systemd does not start"; }
trap 'code=$?; inside kvmc down >/dev/null 2>&1 || true; kill -9 $outer 2>/dev/null || true; end_group; exit $code' EXIT

# The cluster's, and those of nodes.
scopes() { inside systemctl list-units --all --plain --no-legend 'kvmc-*.scope' | cut -d' ' -f1; }
scope() { scopes | grep -vE -- '-(master|worker)[0-9]+\.scope$' || true; }
ready() { test "$(inside kvmc status | grep -c ' ready ')" = $1; }
# The cgroups of keeper and nodes, each once.
groups() { for p in $(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' $KVMC_STATE_DIR/clusters/k80/keeper.json $KVMC_STATE_DIR/clusters/k80/nodes/*/process.json); do
  inside grep '^0:' /proc/$p/cgroup; done | sort | uniq -c | tr -s ' '; }
# The keeper in the cluster's scope, and these nodes each in its own. It moves there a moment after its start.
apart() { test "$(groups)" = "$({ echo "$unit"; for node; do echo "${unit%.scope}-$node.scope"; done; } | sort | sed 's|^| 1 0::/system.slice/|')"; }
# The session's shell goes on, as a user's does.
session() { inside systemd-run --quiet --scope --unit=$1 --slice=user-1000.slice -- sh -euc "sleep 1000 > /dev/null 2>&1 & $2" > ../said 2>&1 || { cat ../said; fail "$2"; }; cat ../said; }

# A service, as of a CI's runner.
inside systemctl start ci.service || { cat $top/ci.log $top/systemd.log; fail "ci.service"; }
cat $top/ci.log; unit=$(scope)
expr "$unit" : 'kvmc-k80-[0-9a-f]*\.scope$' > /dev/null || fail "the scope: $unit"
if grep -q 'gives kvmc no scope' $top/ci.log; then fail "systemd refused"; fi
eventually 5 apart master0 || fail "keeper and node are in: $(groups)"
inside systemctl show -p MemoryMax,CPUWeight,IOWeight,TasksMax,Before ${unit%.scope}-master0.scope | tee ../properties
for word in MemoryMax=1644167168 CPUWeight=100 IOWeight=100 TasksMax=2048 Before=.*ci.service Before=.*kvmc.service; do
  grep -q "$word" ../properties || fail "the node's scope has no $word"
done
inside systemctl show -p Before,Delegate,TasksMax,CollectMode $unit | tee ../properties
for word in Before=.*kvmc.service Before=.*ci.service Delegate=yes TasksMax=infinity CollectMode=inactive-or-failed; do
  grep -q "$word" ../properties || fail "the scope has no $word"
done
inside systemctl stop ci.service
ready 1 || fail "the node ended with the service: $(inside kvmc status)"
echo "ok: a service that ends leaves the nodes"

# A login session. The new node goes where the others are.
session session-7 "$UP --workers 1"
inside systemctl stop session-7.scope
ready 2 || fail "the node ended with the session: $(inside kvmc status)"
eventually 5 apart master0 worker0 || fail "keeper and nodes are in: $(groups)"
inside sh -c "kill -9 $(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' $KVMC_STATE_DIR/clusters/k80/keeper.json)"
session session-8 'kvmc forward add 8080:master0:80'
inside systemctl stop session-8.scope
eventually 5 apart master0 worker0 || fail "the new keeper is in: $(groups)"
echo "ok: sessions that end leave keeper and nodes"

# At shutdown systemd stops kvmc.service before the scope, so the guests power off.
inside systemctl start kvmc.service
inside systemctl start shutdown.target
gone() { test -z "$(scopes)"; }
eventually 60 gone || fail "the scope is left"
cat $top/kvmc.log
test "$(grep -c 'clean' $top/kvmc.log)" = 2 || fail "the nodes did not power off: $(cat $top/kvmc.log $top/systemd.log)"
inside systemctl stop kvmc.service; inside systemctl start start.target

# A scope that its user made, with limits of his own, is left as it is.
session own 'kvmc start --cold'
eventually 5 apart master0 worker0 || fail "keeper and nodes are in: $(groups)"
inside systemctl stop own.scope; inside kvmc stop
eventually 10 gone || fail "the scope is left after stop"
inside systemd-run --quiet --scope --unit=lab kvmc start --cold
test "$(groups)" = " 3 0::/system.slice/lab.scope" || fail "keeper and nodes are in: $(groups)"
inside kvmc down
test -z "$(inside systemctl list-units --all --plain --no-legend '*.scope' | grep -v init.scope)" || fail "scopes are left"
echo "ok: scopes go with their last process"
kill -9 $outer; wait $outer 2>/dev/null || true
