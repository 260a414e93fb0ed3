# busybox udhcpc. It does not accept leases shorter than two minutes, so the test tells it when to renew.
LEASE=60
. "$CLIENTS/common.sh"
cat > script <<'SCRIPT'
#!/bin/sh
case "$1" in
  bound|renew) ip addr replace "$ip/24" dev "$interface" ;;
  deconfig) ip addr flush dev "$interface" ;;
esac
echo "$1 $ip" >> events.log
SCRIPT
chmod 755 script
client() { start udhcpc -f -R -a300 -i eth0 -s "$PWD/script"; }
renew() { sleep 1.1; kill -USR1 $client; }
rebind() { renew; }
stop() { kill -TERM $client; }
serve $LEASE
client
lives 10 30 stop
wait $client || true
conflict client
