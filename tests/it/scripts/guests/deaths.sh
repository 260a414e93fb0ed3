# P7, P20, P22: deaths of nodes, the data that stays, and restarts. Disks are on a file system that fills up.
uplink
host > ../before
clusters=$KVMC_STATE_DIR/clusters
mkdir -p "$clusters"; mount -t tmpfs -o size=160M none "$clusters"
up="kvmc up $SMALL --masters 1 --workers 1 --load-balancers 0 --accel tcg --worker-restart on-failure"
node() { kvmc status --json 2>/dev/null | python3 -c '
import json, sys
node = next(n for n in json.load(sys.stdin)["nodes"] if n["name"] == sys.argv[1])
print(node[sys.argv[2]])' "$1" "$2"; }
# until_is SECONDS NODE WORDS: waits until the node's state contains these words.
until_is() {
  left=$(( $1 * 2 ))
  until case "$(node $2 state)" in *"$3"*) true ;; *) false ;; esac; do
    left=$((left - 1)); test $left -gt 0 || { kvmc status; cat "$clusters"/k80/events.jsonl; fail "$2 did not become \`$3\`"; }
    sleep 0.5
  done
  echo "ok: $2 is $(node $2 state)"
}
$up 2> ../said || { cat ../said; exit 1; }

# P22: the guest stands still instead of an error of its disk, and continues by itself.
kvmc ssh master0 -- 'dd if=/dev/urandom of=big bs=1M count=256 conv=fsync 2>/dev/null && sha256sum < big && echo through' > ../dd &
writer=$!
until_is 90 master0 "paused: no space on $clusters"
df --output=avail "$clusters" | tail -n 1
kvmc status | grep -q 'worker0 *ready\|worker0 *paused' || fail "the others"
for f in "$clusters"/k80/*.json "$clusters"/k80/nodes/*/*.json; do
  python3 -m json.tool "$f" >/dev/null || fail "$f on a full disk"
done
mount -o remount,size=1G "$clusters"
until_is 30 master0 ready
wait $writer || fail "the guest saw an error"
grep -q through ../dd || fail "the guest's write: $(cat ../dd)"

# P20: a panic and its restart, during the following steps.
timeout 20 kvmc ssh worker0 -- 'sudo sh -c "sleep 1; echo c > /proc/sysrq-trigger" >/dev/null 2>&1 &' || true
until_is 30 worker0 "the guest's kernel panicked"

# P7: data that fsync promised is there after SIGKILL of QEMU, and the image is clean.
kvmc ssh master0 -- python3 -uc '"
import os
f = os.open(\"log\", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
n = 0
while True:
    n += 1
    os.write(f, b\"%d\\n\" % n)
    os.fsync(f)
    print(n)
"' > ../acked 2>/dev/null &
writing=$!
n=0; until test "$(wc -l < ../acked)" -ge 20; do n=$((n + 1)); test $n -lt 600 || fail "nothing was written"; sleep 0.1; done
kill -9 "$(node master0 pid)"
until_is 30 master0 "killed by signal 9"
# The ssh client does not notice the end, and would wait for long.
kill $writing; wait $writing || true
disk=$clusters/k80/nodes/master0/disk.qcow2
qemu-img check "$disk" || fail "the image after SIGKILL"
promised=$(grep -c . ../acked)
until_is 200 worker0 ready
kvmc status | grep -q "worker0 *ready (.*ago: the guest's kernel panicked)" || fail "the panic is forgotten"
$up 2> ../said || { cat ../said; exit 1; }
kept=$(kvmc ssh master0 -- cat log | wc -l)
test "$kept" -ge "$promised" || fail "$promised lines were promised, $kept are there"
test "$(kvmc ssh master0 -- 'sha256sum < big')" = "$(head -n 1 ../dd)" || fail "the file from before the kill"
echo "ok: of $promised promised lines $kept are there"

# P20: the other causes of an end.
kvmc ssh master0 -- 'sudo systemctl reboot' || true
until_is 60 master0 "the guest rebooted"
until_is 200 master0 "ready"
kill "$(node master0 pid)"
until_is 20 master0 "a signal asked QEMU to end"
timeout 20 kvmc ssh worker0 -- 'sudo systemctl poweroff' || true
until_is 60 worker0 "the guest powered off"
sleep 3
until_is 1 worker0 "the guest powered off"
test "$(node worker0 last_end | grep -c powered-off)" = 1 || fail "the cause in JSON: $(node worker0 last_end)"
grep master0 "$clusters/k80/events.jsonl"; grep -o '"event":"[a-z-]*"' "$clusters/k80/events.jsonl" | sort | uniq -c
kvmc down
umount "$clusters"; rmdir "$clusters"
host > ../after
same ../before ../after "the host after deaths and down"
