# P2. After Ctrl-C and SIGTERM before the nodes boot, nothing is left. Later everything stays, and `up` continues
# from there. The same holds after SIGKILL.
uplink
host > ../before
here=$(cd .. && pwd)
up="kvmc up $SMALL --masters 1 --workers 0 --load-balancers 0 --accel tcg"
nft=$(command -v nft)
# The test's own nft, before the real one in PATH.
fake_nft() { printf '#!/bin/sh\n%s\nexec %s "$@"\n' "$1" "$nft" > ../bin/nft; chmod 755 ../bin/nft; }
until_there() { n=0; until "$@"; do n=$((n + 1)); test $n -lt 1800 || fail "no success of: $*: $(cat ../said)"; sleep 0.1; done; }
# Emptied before each command in the background, since the command itself would empty it too late.
ended_130() { code=0; wait $1 || code=$?; cat ../said; test $code = 130 || fail "ended with $code"; }

fake_nft "test \"\$1\" != -f || { touch $here/applying; sleep 1; }"
for signal in INT TERM; do
  rm -f ../applying
  PATH="$here/bin:$PATH" $up 2> ../said &
  pid=$!
  until_there test -e ../applying
  kill -$signal $pid
  ended_130 $pid
  grep -q 'everything that was made is removed' ../said || fail "it does not say what is left"
  host > ../after
  same ../before ../after "the host after $signal during the steps"
done

# kvmc looks at the rules a second time under the lock, before it records anything. It skips this look if the
# first was a moment ago.
fake_nft "case \"\$*\" in '-j list ruleset') echo >> $here/looks; test \$(wc -l < $here/looks) = 1 || exit 7; sleep 2.2 ;; esac"
if PATH="$here/bin:$PATH" $up 2> ../said; then fail "nft's failure was not seen"; fi
cat ../said
grep -q 'exit status: 7' ../said || fail "nft's status"
test "$(wc -l < ../looks)" = 2 || fail "nft failed elsewhere"
host > ../after
same ../before ../after "the host after a failure between lock and record"
# The bench also has that folder in its PATH.
rm ../bin/nft

for signal in INT TERM; do
  : > ../said; $up 2> ../said &
  pid=$!
  until_there grep -q 'master0 *started' ../said
  kill -$signal $pid
  ended_130 $pid
  grep -q 'completes the cluster' ../said || fail "it does not say how to go on"
  kvmc status | grep -q 'master0 *running' || fail "the node did not stay"
  $up
  kvmc down
  host > ../after
  same ../before ../after "the host after $signal while booting, up and down"
done

# The guest's view of a cluster's permanent data.
life() { kvmc ssh master0 -- 'hostname; cat /etc/machine-id /etc/ssh/ssh_host_*.pub; hostname -I'; cat inventory; }
$up 2> ../said || { cat ../said; exit 1; }
kvmc down
for stage in cloned woken; do
  : > ../said; $up 2> ../said &
  pid=$!
  until_there grep -q "master0 *$stage" ../said
  kill -9 $pid; wait $pid 2>/dev/null || true
  cat ../said
  cp inventory ../inventory
  kvmc status | grep -q master0 || fail "status after kill -9 at $stage"
  $up 2> ../said || { cat ../said; fail "up after kill -9 at $stage"; }
  life > ../life
  cmp -s inventory ../inventory || fail "up made another cluster"
  kvmc ssh master0 -- 'echo kept > kept; sync'
  kvmc up; life > ../life.now; same ../life ../life.now "the node after kill -9 at $stage"
  kvmc down
  host > ../after
  same ../before ../after "the host after kill -9 at $stage, up and down"
done
