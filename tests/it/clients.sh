# ISC dhclient and busybox udhcpc on the bridge of a cluster whose node never starts to matter.
. "$(dirname "$0")/common.sh"
uplink
kvmc up $SMALL --masters 1 --workers 0 --load-balancers 0
for c in isc udhcpc; do
  ip netns add $c
  ip link add v$c type veth peer name eth0 netns $c
  ip link set v$c master k80 up
  ip -n $c link set lo up; ip -n $c link set eth0 up
done
leases() { python3 - "$KVMC_STATE_DIR/clusters/k80/leases" <<'PY'
import json, sys, time
held = {}
for line in open(sys.argv[1]):
    change = json.loads(line)
    if "ended" in change: held.pop(change["ended"], None)
    else: held[change["lease"]["address"]] = change["lease"]["expires"]
print(sum(expires > time.time() for expires in held.values()))
PY
}

cat > ../script <<'SCRIPT'
#!/bin/sh
case "$reason" in BOUND|RENEW|REBIND|REBOOT) ip addr replace "$new_ip_address/24" dev "$interface" ;; RELEASE|EXPIRE|STOP) ip addr flush dev "$interface" ;; esac
echo "$reason $new_ip_address $new_interface_mtu" >> "$LOG"
SCRIPT
chmod 755 ../script; chmod 755 ..
here=$(cd .. && pwd)
isc() { ip netns exec isc dhclient -4 -sf "$here/script" -lf "$here/isc.leases" -pf "$here/isc.pid" -e LOG="$here/isc.log" "$@"; }
touch ../isc.leases ../isc.log
isc -1 eth0
grep -q '^BOUND 192.168.80.' ../isc.log || fail "dhclient leased nothing: $(cat ../isc.log)"
test "$(leases)" = 1 || fail "the lease is not kept"
kill "$(cat ../isc.pid)"; sleep 0.5
isc -1 eth0
grep -Eq '^(REBOOT|RENEW) 192.168.80.' ../isc.log || fail "dhclient did not get its address again: $(cat ../isc.log)"
isc -r eth0
test "$(leases)" = 0 || fail "dhclient's release was not heard"
echo "ok: ISC dhclient"

cat > ../udhcpc.script <<'SCRIPT'
#!/bin/sh
case "$1" in bound|renew) ip addr replace "$ip/24" dev "$interface" ;; deconfig) ip addr flush dev "$interface" ;; esac
echo "$1 $ip" >> "$LOG"
SCRIPT
chmod 755 ../udhcpc.script
LOG="$here/udhcpc.log" ip netns exec udhcpc udhcpc -f -R -i eth0 -s "$here/udhcpc.script" >/dev/null 2>&1 &
sleep 3
client=$(pgrep -P $! udhcpc || echo $!)
grep -q '^bound 192.168.80.' ../udhcpc.log || fail "udhcpc leased nothing: $(cat ../udhcpc.log)"
kill -USR1 $client; sleep 2
grep -q '^renew 192.168.80.' ../udhcpc.log || fail "udhcpc did not renew: $(cat ../udhcpc.log)"
kill -TERM $client; sleep 1
test "$(leases)" = 0 || fail "udhcpc's release was not heard"
echo "ok: udhcpc"

# The node's own client is systemd-networkd.
kvmc ssh master0 -- 'sudo networkctl renew eth0; sleep 2; sudo networkctl --json=short status eth0 | python3 -c "import json,sys; print(json.load(sys.stdin)[\"AdministrativeState\"])"' > ../networkd
grep -q configured ../networkd || fail "systemd-networkd did not renew: $(cat ../networkd)"
grep -q . "$KVMC_STATE_DIR/clusters/k80/events.jsonl"
echo "ok: systemd-networkd"
kvmc down
