# A cluster beside systemd-networkd, NetworkManager and udev, each started, reloaded and ended.
#   managers.sh ROOT   the folder with the unpacked NetworkManager and udev
ROOT=$1
mount -t sysfs sys /sys
for d in /run/systemd/netif /run/systemd/network /run/dbus /run/NetworkManager /var/lib/NetworkManager; do
  mkdir -p $d; mount -t tmpfs none $d
done
eventually() {
  left=$(($1 * 10)); shift
  until "$@"; do left=$((left - 1)); test $left -gt 0 || return 1; sleep 0.1; done
}
trap 'code=$?; kill ${manager:-} ${bus:-} 2>/dev/null || true; kvmc down >/dev/null 2>&1 || true; exit $code' EXIT
kvmc up --cold $TWO
look() {
  for link in k80 k80-master0 k80-lbl0; do
    # Leaves out counters of the kernel, and taps' own addresses, which do not matter.
    ip -d -o link show $link | sed 's/ qlen [0-9]*//; s/_timer *[0-9.]*//g; s/gc_timer *[0-9.]*//'
  done | sed '/master k80/s/link\/ether [0-9a-f:]*/link/'
  ip -o -4 addr show dev k80; ip route show dev k80; cat /sys/class/net/k80/addr_assign_type
}
unchanged() { sleep 0.5; look > ../now; same ../links ../now "$1"; }
look > ../links
test "$(cat /sys/class/net/k80/addr_assign_type)" = 3 || fail "the bridge's address is not its own"

# udev's own rules for links, as when a link appears. They give another address to a bridge whose address the kernel chose.
cp "$(find "$ROOT" -name 99-default.link | head -n 1)" /run/systemd/network
udevadm=$(find "$ROOT" -path '*/bin/udevadm' | head -n 1)
ip link add other0 type bridge; address=$(cat /sys/class/net/other0/address)
for link in k80 k80-master0 k80-lbl0 other0; do
  SYSTEMD_LOG_LEVEL=debug "$udevadm" test-builtin net_setup_link /sys/class/net/$link >../udev.log 2>&1 || { cat ../udev.log; fail "udev on $link"; }
done
if grep -q 'test mode, skipping application of rtnl settings' ../udev.log; then
  # Since systemd 257, in Debian 13.
  echo "skipped: udev's rules for links (this udevadm only reads them in a test)"
else
  test "$(cat /sys/class/net/other0/address)" != $address || { cat ../udev.log; fail 'udev changes nothing'; }
fi
ip link del other0
unchanged 'udev'
# A bridge without its own address would take that of a port with a lower one.
ip link add low address 02:00:00:00:00:01 type veth peer name low1; ip link set low master k80 up; ip link set low1 up; sleep 0.2; ip link del low
unchanged 'a port with a low address'

mkdir -p ../sys
cat > /run/systemd/network/10-wired.network <<'CONFIG'
[Match]
Name=en* eth*
[Network]
DHCP=yes
CONFIG
chmod -R a+rX /run/systemd/network; chown -R systemd-network /run/systemd/netif
for time in first again; do
  mkdir -p /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp; chown -R systemd-network /run/systemd/netif
  unshare -m sh -c 'mount -o remount,ro,bind /sys; SYSTEMD_LOG_LEVEL=debug exec /lib/systemd/systemd-networkd' > ../networkd.log 2>&1 & manager=$!
  # The manager has seen the bridge once it has written its state file.
  eventually 15 test -e /run/systemd/netif/links/$(cat /sys/class/net/k80/ifindex) || { cat ../networkd.log; fail 'networkd does not run'; }
  unchanged "systemd-networkd, started: $time"
  kill $manager; wait $manager || true
  unchanged "systemd-networkd, ended: $time"
done

cat > ../bus.conf <<'CONFIG'
<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/></policy></busconfig>
CONFIG
dbus-daemon --config-file=../bus.conf --nofork --nopidfile >/dev/null 2>&1 & bus=$!
eventually 5 test -S /run/dbus/system_bus_socket
cat > ../nm.conf <<'CONFIG'
[main]
plugins=keyfile
dns=none
rc-manager=unmanaged
auth-polkit=false
[keyfile]
path=/run/NetworkManager/connections
CONFIG
mkdir -p -m 700 /run/NetworkManager/connections
export LD_LIBRARY_PATH="$ROOT/usr/lib/$(uname -m)-linux-gnu"
cli() { "$ROOT/usr/bin/nmcli" "$@"; }
for time in first again; do
  unshare -m sh -c 'mount -o remount,ro,bind /sys; exec "$0" "$@"' "$ROOT/usr/sbin/NetworkManager" --no-daemon --config=../nm.conf \
    --config-dir=/run/none --intern-config=../intern.conf --state-file=../nm.state > ../nm.log 2>&1 & manager=$!
  eventually 20 sh -c "LD_LIBRARY_PATH=$LD_LIBRARY_PATH $ROOT/usr/bin/nmcli -t -f DEVICE device | grep -qx k80" || { cat ../nm.log; fail 'NetworkManager does not run'; }
  sleep 1
  cli -f DEVICE,TYPE,STATE device
  unchanged "NetworkManager, started: $time"
  cli general reload
  unchanged "NetworkManager, reloaded: $time"
  kill $manager; wait $manager || true
  unchanged "NetworkManager, ended: $time"
done
unset LD_LIBRARY_PATH
kvmc up --cold $TWO 2>&1 | grep -q 'nothing to do' || fail 'something is to be set right'
kvmc down
