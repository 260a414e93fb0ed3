# dhcpcd. It refuses leases shorter than 20 seconds.
LEASE=20
. "$CLIENTS/common.sh"
mkdir -p lib; mount --bind lib /var/lib/dhcpcd 2>/dev/null || { mkdir -p /var/lib/dhcpcd; mount --bind lib /var/lib/dhcpcd; }
client() { start dhcpcd -4 -B -f /dev/null -c /bin/true --noipv4ll eth0; }
renew() { sleep 1.1; in_c dhcpcd -4 -N eth0 >> client.log; }
rebind() { sleep 1.1; in_c dhcpcd -4 -n eth0 >> client.log; }
release() { in_c dhcpcd -4 -k eth0 >> client.log; }
serve $LEASE
client
lives 15 15 release
wait $client || true
rm -f lib/*
conflict client
