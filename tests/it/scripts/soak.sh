# A soak on the fake QEMU. Each round runs up and down with three nodes, and kills one process at a random
# moment. Then the test kills the nodes of a long-lived cluster and watches its keeper.
#   KVMC_SOAK_ROUNDS   rounds (CI: few)
#   KVMC_SOAK_SEED     selects other random moments
# K, UP, act, node and until_is come from tests/it/lifecycle.rs.
rounds=${KVMC_SOAK_ROUNDS:-6}
seed=${KVMC_SOAK_SEED:-5077}
random() { seed=$(( (seed * 1103515245 + 12345) % 2147483648 )); echo $(( seed / 65536 % $1 )); }
number() { sed -n 's/.*"pid": \([0-9]*\).*/\1/p' "$1" 2>/dev/null || true; }
up="$UP --masters 3 --workers 0"
# Once warm, so that objects for all clusters exist before the comparison.
$up >/dev/null 2>&1; kvmc down 2>/dev/null
host > ../before
disk() { du -s --apparent-size "$KVMC_STATE_DIR/" | cut -f1; }
disk_before=$(disk)
round=0
while [ $round -lt $rounds ]; do
  round=$((round + 1))
  random 3 > ../victim; victim=$(cat ../victim); seed=$((seed + 1))
  pause=$(printf %02d $(random 60)); seed=$((seed + 1))
  $up > ../said 2>&1 &
  first=$!
  sleep 0.$pause
  case $victim in
    0) name=kvmc; pid=$first ;;
    1) name=keeper; pid=$(number $K/keeper.json) ;;
    *) name=QEMU; pid=$(number $K/nodes/master$((round % 3))/process.json) ;;
  esac
  [ -z "$pid" ] || kill -9 $pid 2>/dev/null || true
  wait $first 2>/dev/null || true
  if [ $((round % 2)) = 0 ]; then
    $up > ../said 2>&1 || { cat ../said; fail "round $round: up after kill -9 of $name at 0.$pause s"; }
    test "$(kvmc status 2>/dev/null | grep -c ' ready')" = 3 || { kvmc status; fail "round $round: not all are ready"; }
  fi
  kvmc status >/dev/null 2>../said || grep -q 'there is no cluster' ../said || { cat ../said; fail "round $round: status"; }
  kvmc down > ../said 2>&1 || { cat ../said; fail "round $round: down after kill -9 of $name at 0.$pause s"; }
  host > ../after
  same ../before ../after "round $round: the host after kill -9 of $name at 0.$pause s"
done
test "$(disk)" -le $((disk_before + 64)) || fail "the state folder grew from $disk_before to $(disk) KiB"

# The keeper's descriptors, memory and disk do not grow with the deaths of its nodes.
$up 2>/dev/null
keeper=$(number $K/keeper.json)
# The least of some looks: the keeper has more for a moment while it asks its nodes.
fds() { for _ in 1 2 3 4 5; do ls /proc/$keeper/fd | wc -l; sleep 0.3; done | sort -n | head -n 1; }
rss() { sed -n 's/VmRSS:[[:space:]]*\([0-9]*\).*/\1/p' /proc/$keeper/status; }
again() { # One node dies and is started again.
  kill -9 "$(number $K/nodes/master$(($1 % 3))/process.json)"
  until_gone=50; while kvmc status 2>/dev/null | grep "master$(($1 % 3))" | grep -q ' ready$'; do until_gone=$((until_gone - 1)); test $until_gone -gt 0 || break; sleep 0.05; done
  $up > ../said 2>&1 || { cat ../said; fail "up after a node's death"; }
}
for n in 1 2 3 4 5 6; do again $n; done
sleep 1
fds_before=$(fds); rss_before=$(rss); disk_before=$(disk)
n=0; while [ $n -lt $((rounds * 2)) ]; do n=$((n + 1)); again $n; done
sleep 1
test "$(number $K/keeper.json)" = $keeper || fail "the keeper is another one"
echo "keeper over $((rounds * 2)) restarts: $fds_before -> $(fds) descriptors, $rss_before -> $(rss) KiB, state $disk_before -> $(disk) KiB"
test "$(fds)" -le $((fds_before + 2)) || { ls -l /proc/$keeper/fd; fail "descriptors"; }
test "$(rss)" -le $((rss_before + 4096)) || fail "memory"
# Its logs are bounded; a restart writes a few lines.
test "$(disk)" -le $((disk_before + rounds * 2 * 16 + 64)) || fail "disk"
kvmc down
host > ../after; same ../before ../after "the host after the soak"
