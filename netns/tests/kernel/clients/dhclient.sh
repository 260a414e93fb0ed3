# ISC dhclient 4.
LEASE=12
. "$CLIENTS/common.sh"
cat > script <<'SCRIPT'
#!/bin/sh
case "$reason" in
  BOUND|RENEW|REBIND|REBOOT)
    # The scripts of distributions probe the address. Their exit status makes the client decline.
    if ! python3 "$CLIENTS/free.py" "$interface" "$new_ip_address"; then exit 1; fi
    ip addr replace "$new_ip_address/24" dev "$interface" ;;
  RELEASE|EXPIRE|STOP|FAIL) ip addr flush dev "$interface" ;;
esac
echo "$reason $new_ip_address" >> "$HERE/events.log"
SCRIPT
chmod 755 script
client() { in_c dhclient -4 -cf "$PWD/isc.conf" -sf "$PWD/script" -lf "$PWD/isc.leases" -pf "$PWD/isc.pid" -e CLIENTS="$CLIENTS" -e HERE="$PWD" "$@" eth0 >> client.log; }
echo 'initial-interval 1; backoff-cutoff 2;' > isc.conf
: > isc.leases
renew() { :; }
rebind() { :; }
serve $LEASE
client -nw
lives 20 20 client -r
grep -q '^RENEW 192' events.log || fail "did not renew"
# A machine that starts again requests its earlier address: INIT-REBOOT.
serve 60
client -1; before=$(lease); kill "$(cat isc.pid)"; sleep 1.1
client -1; within 5 extended
grep -q '^REBOOT 192' events.log || fail "did not come back by INIT-REBOOT"
echo "ok: came back by INIT-REBOOT"
kill "$(cat isc.pid)"; crash
: > isc.leases
conflict client -nw
