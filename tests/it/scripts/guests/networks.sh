# Three clusters at once on real guests. One, with two nodes, has two networks, IPv6 and forwards.
trap 'code=$?; kill ${server:-} 2>/dev/null || true; for c in a b c; do kvmc down --cluster $c >/dev/null 2>&1 || true; done; exit $code' EXIT
uplink
ip -6 addr add 2001:db8::2/64 dev up0 nodad; ip -6 route add default via 2001:db8::1
outside ip -6 addr add 2001:db8::1/64 dev in0 nodad
ipv6() { for f in forwarding accept_ra; do grep -H . /proc/sys/net/ipv6/conf/*/$f; done; ip -6 route; }
sleep 2
mkdir a b c
host > ../before; ipv6 > ../before6
cat > a/kvmc.toml <<'TOML'
cluster = "a"
masters = 1
workers = 1
load_balancers = 0
vcpus = 1
master_ram = "256M"
worker_ram = "256M"
forward = ["8080:worker0:80", "5353:worker0:53/udp"]
[network]
bridge = "a80"
subnet = "10.80.1.0/24"
ipv6 = true
[[networks]]
name = "storage"
subnet = "10.80.2.0/24"
ipv6 = true
TOML
one() { kvmc up --cluster $1 --bridge ${1}80 --subnet 10.80.$2.0/24 --masters 1 --workers 0 --load-balancers 0 --vcpus 1 --master-ram 256M; }
(cd a; kvmc up) > ../up.a 2>&1 & a=$!
(cd b; one b 3) > ../up.b 2>&1 & b=$!
(cd c; one c 4) > ../up.c 2>&1 & c=$!
for pid in $a $b $c; do wait $pid || { cat ../up.*; fail "one of three at once"; }; done
cat ../up.a
grep -q 'woken' ../up.a || fail "no node of two cards was woken"
echo "ok: three clusters at once"

cd a
kvmc status --json > ../../status
field() { python3 -c 'import json,sys; s=json.load(open("../../status")); n=next(n for n in s["nodes"] if n["name"] == sys.argv[1])["nics"][int(sys.argv[2])]; print(n[sys.argv[3]])' "$@"; }
for node in master0 worker0; do
  kvmc ssh $node -- 'ip -o addr; ip route; ip -6 route; cat /etc/resolv.conf' > ../../seen
  for number in 0 1; do
    for what in address address6; do
      grep -q "eth$number .*$(field $node $number $what)/" ../../seen || { cat ../../seen; fail "$what of $node in network $number"; }
    done
    kvmc ssh $node -- cat /sys/class/net/eth$number/address | grep -q "$(field $node $number mac)" || fail "the MAC of eth$number"
  done
  test "$(grep -c '^default' ../../seen)" = 2 || { cat ../../seen; fail "$node has other than one default route a family"; }
  grep '^default' ../../seen | grep -v 'dev eth0' && fail "a default route by the second card of $node"
done
echo "ok: each node has its address in each network, IPv4 and IPv6, and one way out"
peer() { field worker0 $1 $2; }
kvmc ssh master0 -- "for to in $(peer 0 address) $(peer 1 address) $(peer 0 address6) $(peer 1 address6); do ping -c 1 -W 5 \$to >/dev/null || { echo \$to; exit 1; }; done" || fail "nodes do not reach each other in each network"
# Without IPv6, sshd listens only by IPv4, see docs/EMULATION.md.
kvmc ssh master0 -- "python3 -c 'import socket, sys; sys.exit(socket.create_connection((\"$(peer 0 address6)\", 22), 20).recv(4) != b\"SSH-\")'" || fail "no ssh by IPv6"

cat > ../../seen.py <<'PY'
import http.server, socket
class Seen(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(self.client_address[0].encode())
class Server(http.server.HTTPServer):
    address_family = socket.AF_INET6
Server(("2001:db8::1", 8000), Seen).serve_forever()
PY
# Not by `outside`: the pid would be that of its shell.
ip netns exec outside python3 ../../seen.py >/dev/null 2>&1 &
server=$!
sleep 1
test "$(kvmc ssh master0 -- 'python3 -c "import urllib.request as u; print(u.urlopen(\"http://[2001:db8::1]:8000/\", timeout=20).read().decode())"')" = 2001:db8::2 || fail "IPv6 to the outside"
kill $server
echo "ok: IPv6 to the outside, by the host's address"

kvmc ssh worker0 -- 'sudo systemd-run -q python3 -c "
import http.server, socket, threading
def udp():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind((\"\", 53))
    while True: s.sendto(b\"pong\", s.recvfrom(9)[1])
threading.Thread(target=udp, daemon=True).start()
http.server.HTTPServer((\"\", 80), http.server.SimpleHTTPRequestHandler).serve_forever()"; for n in 1 2 3 4 5 6 7 8 9; do python3 -c "import socket; socket.create_connection((\"127.0.0.1\", 80))" 2>/dev/null && break; sleep 1; done'
get='import sys,urllib.request as u; print(u.urlopen("http://%s:%s/" % tuple(sys.argv[1:]), timeout=20).status)'
udp='import socket,sys; s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.settimeout(10); s.sendto(b"x",(sys.argv[1],int(sys.argv[2]))); print(s.recv(9).decode())'
test "$(python3 -c "$get" localhost 8080)" = 200 || fail "http://localhost:8080"
test "$(outside python3 -c "$get" 203.0.113.2 8080)" = 200 || fail "8080 from outside"
test "$(python3 -c "$udp" 127.0.0.1 5353)" = pong || fail "UDP on loopback"
test "$(outside python3 -c "$udp" 203.0.113.2 5353)" = pong || fail "UDP from outside"
kvmc forward add 8081:worker0:80
test "$(outside python3 -c "$get" 203.0.113.2 8081)" = 200 || fail "8081, added while it runs"
echo "ok: forwards"
cd ..

kvmc down --cluster b
kvmc status --cluster a | grep -q 'worker0.*ready' || fail "a after b went"
(cd a; kvmc stop; kvmc start)
(cd a; kvmc status --json > ../../status; kvmc ssh master0 -- "ping -c 1 -W 5 $(cd ../a; field worker0 1 address6) >/dev/null") || fail "the second network after stop and start"
kvmc down --cluster a
kvmc status --cluster c | grep -q 'master0.*ready' || fail "c after a went"
kvmc down --cluster c
host > ../after; same ../before ../after "the host after three clusters"
ipv6 | diff ../before6 - || fail "IPv6 of the host after three clusters"
echo "ok: IPv6 of the host is as it was"
