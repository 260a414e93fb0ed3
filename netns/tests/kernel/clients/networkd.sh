# systemd-networkd without the rest of systemd. As in a container, it does not wait for udev to set up links.
LEASE=12
. "$CLIENTS/common.sh"
mkdir -p /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp /run/systemd/network /run/dbus
cat > /run/systemd/network/10-eth0.network <<'CONFIG'
[Match]
Name=eth0
[Network]
DHCP=ipv4
LinkLocalAddressing=no
IPv6AcceptRA=no
[DHCPv4]
ClientIdentifier=mac
SendDecline=yes
CONFIG
chmod -R a+rX /run/systemd; chown -R systemd-network /run/systemd/netif
client() {
  # A read-only /sys shows that there is no udev to wait for.
  start sh -c 'mount -o remount,ro,bind /sys; SYSTEMD_LOG_LEVEL=debug exec /lib/systemd/systemd-networkd'
}
renew() { :; }
rebind() { :; }
stop() { kill -TERM $client; }
serve $LEASE
client
lives 20 20 stop
wait $client || true
in_c ip addr flush dev eth0
# It probes for longer than a short lease lasts.
LEASE=60
# networkd before 260 cannot decline a conflict that it finds by probing: it sends the message from an address that it
# does not have yet. So the other machine comes later, and the declined address is in use.
DEFERRED=1 conflict client
