# P15: checks nodes that woke from a frozen machine: at once, and after a reboot, stop and start.
uplink
TWO="${SMALL%1}2"
up="kvmc up $TWO --masters 1 --workers 1 --load-balancers 0"
$up 2> ../said || { cat ../said; exit 1; }
cat ../said
# Reads the list of held programs, systemd among them. The agent empties it two seconds after all nodes are ready, so a busy
# host may be too late.
for n in master0 worker0; do
  kvmc ssh $n -- 'cat /run/kvmc/held 2>/dev/null; true' > ../held
  if test -s ../held; then grep -q init.scope ../held || fail "systemd of $n went on all the time: $(cat ../held)"; else echo "too late to see what $n held"; fi
done
# Nodes wake on one processor, with addresses from the host. networkd asks for them two seconds later, so this check comes
# first.
network='ip -4 -o addr show eth0 | grep -o "inet [0-9./]*"; ip route show default; cat /sys/class/net/eth0/mtu'
for n in master0 worker0; do kvmc ssh $n -- "$network" > ../network.$n; done
# Nodes get their other processors well before the agent's own time-out, ten seconds after they are ready.
for n in master0 worker0; do
  tries=0; until test "$(kvmc ssh $n -- nproc)" = 2; do
    tries=$((tries + 1)); test $tries -lt 6 || fail "processors of $n: $(kvmc ssh $n -- cat /sys/devices/system/cpu/online)"; sleep 0.3
  done
done
export ANSIBLE_HOST_KEY_CHECKING=True
test "$(ansible -i inventory all -m ping | grep -c SUCCESS)" = 2 || fail "ansible right after up"
grep -q 'worker0 *woken' ../said || fail "it did not wake"
for n in master0 worker0; do
  own=$(sed -n 's/^inet \(.*\)\/24$/\1/p' ../network.$n)
  printf 'inet %s/24\ndefault via 192.168.80.1 dev eth0 proto dhcp src %s metric 1024 \n1400\n' "$own" "$own" > ../wanted
  same ../wanted ../network.$n "the network of $n"
  tries=0; until kvmc ssh $n -- ip -4 addr show eth0 | grep -q dynamic; do
    tries=$((tries + 1)); test $tries -lt 60 || fail "$n has no lease: $(kvmc ssh $n -- networkctl status eth0 --no-pager)"; sleep 0.5
  done
  kvmc ssh $n -- "$network" > ../network.again
  same ../network.$n ../network.again "with its lease, the network of $n"
  leased=$(kvmc ssh $n -- 'stat -c %.3Y /run/systemd/netif/leases/*')
  python3 - $n "$leased" "$KVMC_STATE_DIR/clusters/k80/events.jsonl" <<'READY' || fail "$n was not ready before it had its lease, at $leased"
import json, sys
events = map(json.loads, open(sys.argv[3]))
ready = next(e["time"] for e in events if (e["node"], e["event"]) == (sys.argv[1], "ready"))
sys.exit(not float(sys.argv[2]) > ready + 1)
READY
done
# Without IPv6 in the cluster, sshd listens only by IPv4, see docs/EMULATION.md.
for n in master0 worker0; do test "$(kvmc ssh $n -- 'ss -Hltn sport = :22 | grep -c .')" = 1 || fail "sshd of $n listens twice"; done
for n in master0 worker0; do
  test "$(kvmc ssh $n -- cat /sys/fs/cgroup/init.scope/cgroup.freeze)" = 0 || fail "systemd of $n still stands still"
done
for n in master0 worker0; do
  kvmc ssh $n -- 'date +%s.%N' > ../time
  python3 -c 'import sys,time; d=time.time()-float(open("../time").read()); sys.exit(not -1 < d < 3)' || fail "the clock of $n: $(cat ../time)"
  kvmc ssh $n -- systemctl is-system-running > ../running || true
  test "$(cat ../running)" = running || fail "systemd of $n says $(cat ../running): $(kvmc ssh $n -- systemctl --failed --no-legend)"
done
echo "ok: clocks, and systemd is content"

frozen=$KVMC_STATE_DIR/warm
sums() { (cd "$frozen"; sha256sum */ram */state */disk.qcow2); }
sums > ../sums
test "$(find "$frozen"/*/ -type f -perm /222 | wc -l)" = 0 || fail "frozen files can be written: $(find "$frozen" -type f -perm /222)"

facts='hostname; cat /etc/machine-id; cat /sys/class/net/eth0/address; hostname -I; cat /etc/ssh/ssh_host_*.pub'
boot='cat /proc/sys/kernel/random/boot_id'
for n in master0 worker0; do kvmc ssh $n -- "$facts" > ../facts.$n; kvmc ssh $n -- "$boot" > ../boot.$n; done
sort ../facts.master0 ../facts.worker0 ../boot.master0 ../boot.worker0 | uniq -d | grep . && fail "nodes share something"
whole() { # The root file system fills the disk that was asked for.
  size=$(kvmc ssh $1 -- df -B1 --output=size / | tail -n 1)
  test "$size" -gt 3600000000 && test "$size" -le 4294967296 || fail "the file system of $1: $size"
}
for n in master0 worker0; do whole $n; done
# The nodes' journals restart a little later, with the nodes' own ids. The user may read them.
for n in master0 worker0; do
  id=$(kvmc ssh $n -- cat /etc/machine-id)
  tries=0; until kvmc ssh $n -- journalctl -q -b -n 1 -o export > ../journal && grep -q "^_MACHINE_ID=$id" ../journal; do
    tries=$((tries + 1)); test $tries -lt 30 || fail "the journal of $n: $(cat ../journal)"; sleep 1
  done
done
echo "ok: journals"
kvmc ssh worker0 -- 'echo kept > kept; sync; sudo systemctl reboot' || true
kill -9 "$(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' "$KVMC_STATE_DIR/clusters/k80/keeper.json")"
# The node's QEMU may end during this `up`, which then boots it again without an error.
$up
n=0; until kvmc ssh worker0 -- "$boot" > ../boot.again 2>/dev/null && ! cmp -s ../boot.worker0 ../boot.again; do
  n=$((n+1)); test $n -lt 300 || fail "worker0 did not come back: $(kvmc status)"; sleep 0.5
done
$up
kvmc ssh worker0 -- "$facts" > ../again
same ../facts.worker0 ../again "worker0 is the same after its reboot, with the keeper killed in between"
test "$(kvmc ssh worker0 -- cat kept)" = kept || fail "a file after the reboot"
# With a keeper too, which has to boot the node again: a woken QEMU has no whole kernel.
kvmc ssh master0 -- 'sudo systemctl reboot' || true
n=0; until kvmc status | grep -q 'master0 *running'; do n=$((n+1)); test $n -lt 100 || fail "no reboot seen"; sleep 0.3; done
n=0; until kvmc status | grep -q 'master0 *ready'; do n=$((n+1)); test $n -lt 400 || fail "master0 did not come back"; sleep 0.3; done
kvmc ssh master0 -- "$facts" > ../again
same ../facts.master0 ../again "master0 is the same after its reboot"
kvmc stop
kvmc start
for n in master0 worker0; do whole $n; kvmc ssh $n -- "$facts" > ../again.$n; same ../facts.$n ../again.$n "$n is the same after stop and start"; done
test "$(kvmc ssh worker0 -- cat kept)" = kept || fail "a file after stop and start"
kvmc down

sums > ../sums.after
same ../sums ../sums.after "what was frozen is as it was"
ram=$(find "$frozen" -name ram)
chmod 644 "$ram"
python3 -c 'import sys; f=open(sys.argv[1],"r+b"); f.seek(5<<20); b=f.read(1)[0]; f.seek(5<<20); f.write(bytes([b^1]))' "$ram"
chmod 444 "$ram"
kvmc up $TWO --masters 1 --workers 0 --load-balancers 0 2> ../said || { cat ../said; exit 1; }
cat ../said
grep -q "$ram has changed since it was frozen" ../said || fail "a flipped byte was not seen"
grep -q 'freezing a machine' ../said || fail "it was not frozen anew"
kvmc down
kvmc image prune --all
test -z "$(find "$frozen" -mindepth 1 ! -name '*.lock')" || fail "prune --all leaves $(ls "$frozen")"
echo "ok: a flipped byte"
