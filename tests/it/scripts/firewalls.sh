# Sourced by the tests of firewalls: stand-ins for nodes on the bridge, and checks of their connections.
mount -t tmpfs none /sys/fs/cgroup 2>/dev/null || true
BRIDGED=/proc/sys/net/bridge/bridge-nf-call-iptables
test -e $BRIDGED || modprobe br_netfilter || fail "this kernel has no br_netfilter"
echo 1 > $BRIDGED
UP="kvmc up --accel tcg $SMALL --masters 1 --workers 0 --load-balancers 0"
outside ip route add 192.168.80.0/24 via 203.0.113.2

# Sends 200 kB to every client.
SERVE='
import socket, sys, threading
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
server = socket.create_server((sys.argv[1], int(sys.argv[2])), family=family)
def serve(client):
    with client: client.sendall(b"x" * 200000)
while True: threading.Thread(target=serve, args=[server.accept()[0]], daemon=True).start()'
FETCH='
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 4) as server:
    got = 0
    while more := len(server.recv(65536)): got += more
assert got == 200000, got'

# port NAME ADDRESS: makes a namespace with a port of the bridge, as a node has one.
port() {
  ip netns add "$1"
  ip link add "v$1" type veth peer name eth0 netns "$1"
  ip link set "v$1" master k80 up
  ip -n "$1" link set lo up; ip -n "$1" link set eth0 up
  ip -n "$1" addr add "$2/24" dev eth0; ip -n "$1" route add default via 192.168.80.1
}
# serve NAMESPACE ADDRESS PORT: serves until the test ends. It closes its output, which would keep the test from ending.
serve() {
  where=$1; shift
  ip netns exec "$where" python3 -c "$SERVE" "$@" >/dev/null 2>&1 & SERVERS="${SERVERS:-} $!"
}
# fetch NAMESPACE ADDRESS PORT
fetch() { ip netns exec "$1" python3 -c "$FETCH" "$2" "$3" 2>../why; }
listens() { ip netns exec "$1" ss -Hltn | grep -q :8000; }
nodes() {
  port a 192.168.80.101; port b 192.168.80.102
  serve outside 203.0.113.1 8000
  serve b 192.168.80.102 8000
  eventually 10 listens outside; eventually 10 listens b
}
# Checks all connections that a cluster needs.
lives() {
  fetch a 203.0.113.1 8000 || { cat ../why; rules; fail "$1: no way out"; }
  fetch a 192.168.80.102 8000 || { cat ../why; rules; fail "$1: no way from node to node"; }
  ip netns exec a busybox udhcpc -f -n -q -t 4 -T 1 -i eth0 -s /bin/true >../why 2>&1 || { cat ../why; fail "$1: no DHCP"; }
  ip netns exec b busybox ping -c 1 -W 2 192.168.80.1 >/dev/null || fail "$1: the host does not answer"
  echo "ok: $1"
}
# Adds an IPv6 uplink, and applies IPv6 rules between ports of a bridge.
outside6() {
  ip -6 addr add 2001:db8::2/64 dev up0 nodad; ip -6 route add default via 2001:db8::1
  outside ip -6 addr add 2001:db8::1/64 dev in0 nodad
  echo 1 > /proc/sys/net/bridge/bridge-nf-call-ip6tables
}
six() { ip -n "$1" -6 -o addr show dev eth0 scope global | grep -v tentative | sed -n 's/.*inet6 \([^/]*\).*/\1/p' | head -n 1; }
has_six() { test "$(six "$1")"; }
routes_six() { ip -n "$1" -6 route show default | grep -q via; }
# Makes nodes with IPv6 addresses; after `$UP --ipv6`.
nodes6() {
  serve outside 2001:db8::1 8000; nodes
  eventually 15 has_six a; eventually 15 has_six b
  serve b "$(six b)" 8006; eventually 10 sh -c 'ip netns exec b ss -Hltn | grep -q :8006'
  gateway=$(ip -6 -o addr show dev k80 scope global | sed -n 's/.*inet6 \([^/]*\).*/\1/p')
  python3 -c "$SERVE" :: 8007 >/dev/null 2>&1 & SERVERS="${SERVERS:-} $!"
  eventually 10 sh -c 'ss -Hltn | grep -q :8007'
}
# Checks all connections that a cluster with IPv6 needs.
lives6() {
  lives "$1"
  # A guest that solicited while the host did not route gets another advertisement.
  eventually 10 routes_six a || fail "$1: no default route by IPv6"
  fetch a 2001:db8::1 8000 || { cat ../why; rules; fail "$1: no way out by IPv6"; }
  fetch a "$(six b)" 8006 || { cat ../why; rules; fail "$1: no way from node to node by IPv6"; }
  ip netns exec a dig @$gateway +short +tries=2 +timeout=4 master0.k80.internal AAAA | grep -q : || fail "$1: no DNS by IPv6"
  ! fetch a $gateway 8007 || fail "$1: a port of the host by IPv6"
}
# State beside the rules that must be as before.
also() { :; }
# All rules of all tables, without counters.
rules() {
  also
  # Table by table, since a tool that makes its table again moves it to the end.
  nft list tables | sort | while read -r table; do nft -s list $table 2>/dev/null; done
  for b in iptables-legacy iptables-nft ip6tables-legacy ip6tables-nft; do $b-save 2>/dev/null | sed 's/\[[0-9:]*\]//; /^#/d'; done
}
pids() { kvmc status --json | python3 -c 'import json,sys; print([n["pid"] for n in json.load(sys.stdin)["nodes"]])'; }
# eventually SECONDS COMMAND: repeats the command until it succeeds.
eventually() {
  left=$(( $1 * 10 )); shift
  until "$@"; do left=$((left - 1)); test $left -gt 0 || return 1; sleep 0.1; done
}
whole() { kvmc status --json | python3 -c 'import json,sys; sys.exit(json.load(sys.stdin)["firewall"]["missing"] != [])'; }
events() { cat "$KVMC_STATE_DIR/clusters/k80/events.jsonl"; }
trap 'code=$?; kill ${SERVERS:-} 2>/dev/null || true; kvmc down >/dev/null 2>&1 || true; exit $code' EXIT
