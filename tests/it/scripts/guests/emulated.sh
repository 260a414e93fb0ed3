# A cluster of the other architecture: cold and warm, its clocks, its random numbers, its restart.
uplink
host > ../before
case $(uname -m) in x86_64) foreign=arm64 machine=aarch64 ;; *) foreign=amd64 machine=x86_64 ;; esac
export CPU_ARCHITECTURE=$foreign
kvmc up $SMALL --dry-run --masters 2 --workers 0 --load-balancers 0 | grep -q 'build the template' && fail "there is no template of $foreign"
up="kvmc up $SMALL --masters 2 --workers 0 --load-balancers 0"
if $up --accel kvm 2> ../said; then fail "KVM for another architecture"; fi
grep -q "KVM was requested but cannot be used: $foreign guests" ../said || fail "why not KVM: $(cat ../said)"

seconds() { sed -n 's/.*all ready in \([0-9]*\).*/\1/p' "$1"; }
# Clocks are right a while after the identity, also on a busy host.
in_time() {
  n=0
  until kvmc status --json | python3 -c '
import json, sys
nodes = json.load(sys.stdin)["nodes"]
v = [n["vitals"] for n in nodes]
assert all(x["steal"] is not None for x in v), v
sys.exit(not all(x["clock_drift"] is not None and abs(x["clock_drift"]) < 0.1 + x["clock_drift_error"] for x in v))'; do
    n=$((n + 1)); test $n -lt 20 || fail "$1: $(kvmc status)"; sleep 2
  done
}
works() {
  for n in master0 master1; do
    kvmc ssh $n -- 'uname -m; hostname; cat /etc/machine-id /proc/sys/kernel/random/boot_id /etc/ssh/ssh_host_ed25519_key.pub; head -c 32 /dev/urandom | od -An -tx1 -w32' > ../is.$n
    test "$(sed -n 1,2p ../is.$n | tr '\n' ' ')" = "$machine $n " || fail "$1: $n is $(cat ../is.$n)"
  done
  sed 1d ../is.master0 > ../a; sed 1d ../is.master1 > ../b
  sort ../a ../b | uniq -d | grep . && fail "$1: nodes share something"
  test "$(ansible -i inventory all -m ping | grep -c SUCCESS)" = 2 || fail "$1: ansible ping"
  in_time "$1"
  echo "ok: $1"
}
$up --cold 2> ../cold; cat ../cold
grep -q "the nodes run slowly, emulated by TCG ($foreign guests" ../cold || fail "it does not say that it emulates"
kvmc status | grep -q 'STEAL *DRIFT' || fail "status does not show steal and drift"
works "cold"
kvmc stop; kvmc start
works "after stop and start"
kvmc down
$up; kvmc down
$up 2> ../warm; cat ../warm
grep -q 'master1 *woken' ../warm || fail "it was not woken"
works "warm"
echo "cold $(seconds ../cold) s, warm $(seconds ../warm) s"
kvmc down
host > ../after
same ../before ../after "the host after down"
