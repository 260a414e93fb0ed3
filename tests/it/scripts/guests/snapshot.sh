# P46, P47, P48, P55, P56: real guests go on from what was saved, three times, with other random numbers and the host's clock.
uplink
host > ../before
kvmc up --accel tcg $SMALL --masters 1 --workers 1 --load-balancers 0 2> ../said || { cat ../said; exit 1; }
K=$KVMC_STATE_DIR/clusters/k80
# Counts in memory, and draws random bytes with each number.
cat > ../count.py <<'PY'
import os, time
n = 0
while True:
    n += 1
    with open("/dev/shm/drawn", "a") as drawn:
        drawn.write("%d %s\n" % (n, os.urandom(16).hex()))
    time.sleep(0.1)
PY
for n in master0 worker0; do
  kvmc cp ../count.py $n:count.py
  kvmc ssh $n -- 'nohup python3 count.py >/dev/null 2>&1 & cat /proc/sys/kernel/random/boot_id > boot; echo one > file; sync'
done
counted() { kvmc ssh $1 -- "tail -n 1 /dev/shm/drawn | cut -d' ' -f1"; }
drawn() { kvmc ssh $1 -- "awk '\$1 > $2 { print \$2 }' /dev/shm/drawn"; }
clock() { # the guest's clock becomes the host's
  n=0; until python3 -c "import sys; sys.exit(abs($(date +%s) - $(kvmc ssh $1 -- date +%s)) > 2)"; do
    n=$((n + 1)); test $n -lt 30 || fail "the clock of $1 is $(kvmc ssh $1 -- date), here it is $(date)"; sleep 1
  done
}
# goes_on NODE LEAST MOST: it counts on from the saved number.
goes_on() {
  now=$(counted $1); echo "$1 counts $now, after $2"
  test $now -ge $2 && test $now -lt $3 || fail "$1 does not go on from $2: $now, was $3"
  test "$(kvmc ssh $1 -- cat file)" = one || fail "the disk of $1 is not the saved one"
  kvmc ssh $1 -- 'cmp boot /proc/sys/kernel/random/boot_id' || fail "$1 has booted"
}
sleep 1; m=$(counted master0); w=$(counted worker0)
kvmc snapshot save before --note 'two nodes'
kvmc snapshot ls
for n in master0 worker0; do kvmc ssh $n -- 'echo two > file; sync'; done
sleep 15
round=0
for round in 1 2 3; do
  most=$(counted master0)
  test $round != 1 || { test $most -gt $((m + 60)) || fail "it counts too slowly: $m, $most"; first=$most; }
  kvmc snapshot rollback before
  goes_on master0 $m $first; goes_on worker0 $w 100000
  clock master0
  # What was drawn before the snapshot, and during it, is the same each time.
  drawn master0 $((m + 40)) > ../drawn.$round; wc -l < ../drawn.$round
  kvmc ssh master0 -- 'echo three > file; sync'
done
sleep 6; drawn master0 $((m + 40)) > ../drawn.4
test -s ../drawn.4 || fail 'nothing was drawn'
test -z "$(sort ../drawn.1 ../drawn.2 ../drawn.4 | uniq -d)" || fail 'two restores share random bytes'
kvmc status; kvmc events | grep -c restored

# A command that fails is undone, by machines that stood by.
ports() { ip -o link show master k80 | cut -d: -f2 | sort | tr -d '\n'; }
ports > ../ports; m=$(counted master0)
code=0; kvmc try --shell "kvmc ssh worker0 -- 'sudo rm -rf /usr/bin/python3* /etc/ssh; echo two > file; sync'; sleep 4; exit 7" > ../said 2>&1 || code=$?
cat ../said; test $code = 7 || fail "try ended with $code"
grep -q 'all is undone by the machines that stood by' ../said || fail 'no machine stood by'
grep 'worker0  *wrote' ../said | grep -q 'removed' || fail 'it does not tell what was removed'
goes_on worker0 $w 100000; kvmc ssh worker0 -- python3 --version; test $(counted master0) -ge $m || fail "master0 does not go on from $m"; clock master0
ports > ../ports.now; same ../ports ../ports.now 'the taps have the same names'
# Nodes reach each other by the new taps.
kvmc ssh master0 -- "python3 -c 'import socket; socket.create_connection((\"worker0\", 22), 20)'" || fail 'master0 is cut off'
# What has taken over is saved and undone as before, and a command that succeeds changes nothing.
kvmc try --always -- sleep 4; goes_on worker0 $w 100000
kvmc try -- kvmc ssh worker0 -- true
test -z "$(find $K -name 'standby*')" || fail 'something that stood by is left'
test "$(kvmc snapshot ls | wc -l)" = 2 || fail "try leaves a snapshot: $(kvmc snapshot ls)"

# P55: a fork goes on beside it with the same names, addresses and keys. Both write, and neither sees the other.
kvmc status > ../first; began=$(date +%s.%N)
kvmc fork --from before x; x() { kvmc --cluster x "$@"; }
echo "the fork took $(python3 -c "import time; print(round(time.time() - $began, 2))") s"; x status --wide; kvmc df
goes_on worker0 $w 100000
for n in master0 worker0; do
  for what in hostname 'hostname -I' 'cat /etc/machine-id' 'cat /etc/ssh/ssh_host_ed25519_key.pub' 'cat boot' 'cat /sys/class/net/eth0/address'; do
    test "$(x ssh $n -- $what)" = "$(kvmc ssh $n -- $what)" || fail "$what of $n: $(x ssh $n -- $what)"
  done
  x ssh $n -- 'cmp boot /proc/sys/kernel/random/boot_id' || fail "$n of the fork has booted"
done
x exec master0 -- 'echo fork > file; sync'; kvmc ssh master0 -- 'echo first > file; sync'
test "$(x ssh master0 -- cat file) $(kvmc ssh master0 -- cat file)" = 'fork first' || fail 'they share a disk'
echo copied > ../copied; x cp ../copied worker0:copied; test "$(x ssh worker0 -- cat copied)" = copied || fail 'cp'
! kvmc ssh worker0 -- test -e copied || fail 'the first cluster has what was copied to the fork'
# Each worker writes down the datagrams that come; only the fork's master sends some.
cat > ../hear.py <<'PY'
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", 7777))
while True:
    open("heard", "a").write(s.recv(99).decode() + "\n")
PY
cat > ../say.py <<'PY'
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for n in range(20): s.sendto(sys.argv[1].encode(), ("worker0", 7777))
PY
for c in k80 x; do
  kvmc --cluster $c cp ../hear.py worker0:; kvmc --cluster $c cp ../say.py master0:
  kvmc --cluster $c ssh worker0 -- 'nohup python3 hear.py >/dev/null 2>&1 &'
done
sleep 2; x ssh master0 -- python3 say.py fork; sleep 1
x ssh worker0 -- grep -q fork heard || fail 'the nodes of the fork do not reach each other'
! kvmc ssh worker0 -- grep -q fork heard || fail 'a datagram of the fork reached the first cluster'
kvmc ssh master0 -- python3 say.py first; sleep 1
kvmc ssh worker0 -- grep -q first heard || fail 'the control was not heard'
! x ssh worker0 -- grep -q first heard || fail 'a datagram of the first cluster reached the fork'
sleep 6; x ssh master0 -- "awk '\$1 > $((m + 40)) { print \$2 }' /dev/shm/drawn" > ../drawn.fork; drawn master0 $((m + 40)) > ../drawn.first
test -s ../drawn.fork && test -s ../drawn.first || fail 'nothing was drawn'
test -z "$(sort ../drawn.fork ../drawn.first ../drawn.1 | uniq -d)" || fail 'the fork shares random bytes'
a=$(x ssh master0 -- tail -n 1 /dev/shm/drawn); sleep 2; test "$a" != "$(x ssh master0 -- tail -n 1 /dev/shm/drawn)" || fail 'the fork stands'
x down; kvmc ssh worker0 -- true

# Suspended, it leaves only files, and goes on from them after a reboot of the host: another boot, another network namespace,
# no rule, no forwarding.
reboot() {
  nft flush ruleset; echo 0 > /proc/sys/net/ipv4/ip_forward
  sed -i 's/"boot_id": "[^"]*"/"boot_id": "an-earlier-one"/; s/"namespace": [0-9]*/"namespace": 1/' \
    $(find $K -name '*.json' ! -name snapshot.json) $(ls $KVMC_STATE_DIR/host.json 2>/dev/null)
}
facts() {
  for n in master0 worker0; do
    kvmc ssh $n -- 'hostname; hostname -I; cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub boot; cat /sys/class/net/eth0/address'
  done
  cat known_hosts inventory; sort $K/leases* 2>/dev/null | sed 's/"expires[^,}]*//'
}
facts > ../facts; m=$(counted master0); w=$(counted worker0)
kvmc ssh master0 -- 'echo one > file; sync'; kvmc stop --suspend
kvmc status | grep -q suspended || fail 'status does not tell'
test -z "$(ip -o link show type bridge)" || fail 'a bridge is left'
reboot; kvmc status | grep -q suspended || fail 'status does not tell after a reboot'
sleep 3
kvmc start
goes_on master0 $m 100000; goes_on worker0 $w 100000; clock master0; clock worker0
facts > ../facts.now; same ../facts ../facts.now 'names, addresses, keys and leases after a reboot of the host'
# A certificate from after the suspension is valid by the clocks of all nodes.
ssh-keygen -q -t ed25519 -N '' -f ../ca; ssh-keygen -q -s ../ca -I now -n admin -V -1m:+10m ../ca.pub
for n in master0 worker0; do
  valid=$(ssh-keygen -L -f ../ca-cert.pub | sed -n 's/ *Valid: from \(.*\) to \(.*\)/\1 \2/p'); set -- $valid
  kvmc ssh $n -- "now=\$(TZ=$(date +%Z) date +%FT%T); test \$now \> $1 && test \$now \< $2" || fail "$n finds a new certificate invalid: $valid"
done
test ! -e $K/suspended || fail 'the memory that has gone on is still there'
kvmc down
host > ../after; same ../before ../after 'the host after down'
