# NetworkManager with its own client, on its own message bus.
LEASE=12
export LD_LIBRARY_PATH="$NM/usr/lib/$(uname -m)-linux-gnu"
. "$CLIENTS/common.sh"
mkdir -p /run/dbus /run/NetworkManager etc/conf.d etc/system-connections lib
cat > bus.conf <<'CONFIG'
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>
CONFIG
dbus-daemon --config-file="$PWD/bus.conf" --nofork --nopidfile >> bus.log &
within 5 test -S /run/dbus/system_bus_socket
cat > nm.conf <<'CONFIG'
[main]
plugins=keyfile
dhcp=internal
dns=none
rc-manager=unmanaged
auth-polkit=false
no-auto-default=*
[keyfile]
path=/run/connections
[logging]
level=DEBUG
domains=DHCP4,DEVICE,IP4,CORE
CONFIG
mkdir -p -m 700 /run/connections
cat > /run/connections/eth0.nmconnection <<'CONFIG'
[connection]
id=eth0
uuid=5b6e2a4e-93a3-4a0e-9d8d-0c7f6f6a0001
type=ethernet
interface-name=eth0
[ipv4]
method=auto
dad-timeout=500
[ipv6]
method=disabled
CONFIG
chmod 600 /run/connections/*
mount --bind lib /var/lib/NetworkManager 2>/dev/null || { mkdir -p /var/lib/NetworkManager; mount --bind lib /var/lib/NetworkManager; }
client() {
  start sh -c 'mount -o remount,ro,bind /sys; exec "$0" "$@"' "$NM/usr/sbin/NetworkManager" --no-daemon --config="$PWD/nm.conf" \
    --config-dir=/run/none --intern-config="$PWD/intern.conf" --state-file="$PWD/nm.state"
}
cli() { in_c "$NM/usr/bin/nmcli" "$@" >> client.log; }
renew() { :; }
rebind() { :; }
release() { cli device disconnect eth0; }
serve $LEASE
client
lives 20 20 release
kill $client; wait $client || true
in_c ip addr flush dev eth0; rm -f lib/*
LEASE=60
conflict client
