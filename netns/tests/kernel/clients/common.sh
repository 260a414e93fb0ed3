# Sourced by the scripts. Makes a bridge with the server, in the script's own namespaces. The client is in namespace `c`
# behind a port of the bridge. A machine that takes addresses of others is behind another port. All processes end with
# the script.
exec 2>&1
mount -t tmpfs none /run
mkdir -p /run/netns
fail() { echo "FAILED: $*"; for log in *.log; do echo "--- $log"; tail -n 60 "$log"; done; exit 1; }
MAC=02:00:00:00:02:09
SQUATTER=02:00:00:00:02:66
ip link set lo up
ip link add br0 address 02:00:00:00:02:01 type bridge
ip addr add 192.0.2.1/24 dev br0; ip link set br0 up
port() {
  ip netns add "$1"; ip link add "p-$1" type veth peer name eth0 address "$2" netns "$1"
  ip link set "p-$1" master br0 up; ip -n "$1" link set lo up
}
port c $MAC
port squat $SQUATTER
in_c() { ip netns exec c "$@"; }
# start COMMAND...: starts the client, whose process is $client.
start() { ( exec ip netns exec c "$@" >> client.log 2>&1 ) & client=$!; }

# within SECONDS COMMAND...: repeats the command until it succeeds; after the time the test fails.
within() {
  tries=$(($1 * 5)); shift
  while ! "$@"; do
    tries=$((tries - 1)); [ $tries -gt 0 ] || fail "in vain: $*"
    sleep 0.2
  done
}
# serve LEASE_SECONDS [RESERVATION]: starts the server on the existing lease file.
serve() {
  : > server.log
  "$SERVE" br0 192.0.2.1/24 leases "$@" >> server.log &
  server=$!
  within 10 grep -q serving server.log
}
crash() { kill -9 $server; wait $server 2>/dev/null || true; }
# Prints the client's unexpired lease on disk: its address and its end.
lease() {
  python3 - leases "$MAC" <<'PY'
import json, os, sys, time
held = {}
for line in open(sys.argv[1]) if os.path.exists(sys.argv[1]) else []:
    change = json.loads(line)
    if "ended" in change: held.pop(change["ended"], None)
    else: held[change["lease"]["address"]] = change["lease"]
for lease in held.values():
    if lease["mac"] == sys.argv[2] and lease["expires"] > time.time():
        print(lease["address"], lease["expires"])
PY
}
leased() { test -n "$(lease)"; }
released() { ! leased; }
# Checks that the client uses the parameters of its first lease.
configured() { in_c ip -o -4 addr show eth0 | grep -q "inet $(lease | cut -d' ' -f1)/"; }
# Checks that the lease of the same address ends later than in $before.
extended() {
  now=$(lease)
  test -n "$now" && test "${now% *}" = "${before% *}" && test "${now#* }" -gt "${before#* }"
}
# From here on only broadcasts reach the server, so requests of a client with a lease are REBINDING.
broadcasts_only() {
  nft add table inet t
  nft add chain inet t in '{ type filter hook input priority 0; }'
  nft add rule inet t in ip daddr 192.0.2.1 udp dport 67 drop
}
# lives SECONDS_TO_RENEW SECONDS_TO_REBIND RELEASE...: the course of every client that has just started.
lives() {
  to_renew=$1 to_rebind=$2; shift 2
  within 30 leased; within 10 configured
  echo "ok: leased $(lease)"
  before=$(lease); renew; within "$to_renew" extended
  echo "ok: renewed"
  crash; broadcasts_only; serve "$LEASE"
  test "$(lease)" || fail "the lease did not outlive the server"
  before=$(lease); rebind; within "$to_rebind" extended
  nft delete table inet t
  echo "ok: rebound, after the server was killed"
  "$@"; within 10 released
  echo "ok: released"
  crash
}
# conflict: another machine has the client's address. The server cannot know this, and learns it from the client.
conflict() {
  rm -f leases
  squats() { ip -n squat addr replace 192.0.2.77/24 dev eth0; ip -n squat link set eth0 up; }
  test "${DEFERRED:-}" || squats
  serve "$LEASE" $MAC=192.0.2.77=node
  "$@"
  declined() { grep -q 'Declined.*Some("node")' server.log; }
  if test "${DEFERRED:-}"; then
    uses() { in_c ip -o -4 addr show eth0 | grep -q 'inet 192.0.2.77/'; }
    within 40 uses
    squats
    # The machine defends its claim once, RFC 5227 section 2.4.
    claims() { ip netns exec squat python3 "$CLIENTS/claim.py" eth0 192.0.2.77; declined; }
    within 40 claims
  fi
  within 40 declined
  within 5 grep -q "InUse.*Some(\"node\").*$SQUATTER" server.log
  echo "ok: declined, and told who has the address"
}
ip -n c link set eth0 up
