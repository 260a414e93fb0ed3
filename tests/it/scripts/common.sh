# Sourced before each script, which has its own mount and network namespace. SCRIPTS is the folder of this file.
mount -t tmpfs none /run/netns 2>/dev/null || { mkdir -p /run/netns; mount -t tmpfs none /run/netns; }
mkdir -p ../home ../bin
# The log of a run with another QEMU says so.
test -z "${KVMC_TEST_QEMU:-}" || qemu-system-x86_64 --version | head -1
outside() { ip netns exec outside "$@"; }
uplink() {
  ip netns add outside
  ip link add up0 mtu 1400 type veth peer name in0 mtu 1400 netns outside
  ip link set lo up; ip addr add 203.0.113.2/24 dev up0; ip link set up0 up
  ip route add default via 203.0.113.1
  outside ip link set lo up; outside ip addr add 203.0.113.1/24 dev in0; outside ip link set in0 up
  # The kernel reports the carrier a moment later, which would be a difference.
  n=0; until ip link show up0 | grep -q 'state UP'; do n=$((n + 1)); test $n -lt 100 || fail "no uplink"; sleep 0.05; done
}
host() {
  # The carrier of a link changes by itself, a while after the link was set up.
  ip -o link | sed -E 's/ qlen [0-9]*//; s/NO-CARRIER,//; s/,LOWER_UP//; s/ state [A-Z]+//'; ip -o -4 addr; ip route; nft list ruleset
  iptables-save | grep -v '^#' || true; cat /proc/sys/net/ipv4/ip_forward; ss -Hlnpu
  # Only processes of this state folder, since other tests have theirs. A zombie only waits for its parent.
  for p in /proc/[0-9]*; do
    tr '\0' ' ' 2>/dev/null < "$p/cmdline" | grep -F "$KVMC_STATE_DIR" | grep -v '^grep' || true
  done
  # Beside the clusters, the state folder holds caches: templates, frozen machines, spare keys.
  find "$KVMC_STATE_DIR" -mindepth 1 | grep -Ev "^$KVMC_STATE_DIR/(accel.json|(images|warm|keys)(/|$))" | sort
  ls -A
}
# Waits until a process has ended. A zombie counts as ended: in a container without an init, no parent waits for it.
until_gone() {
  tries=0
  while test -n "$(tr -d '\0' 2>/dev/null < /proc/$1/cmdline)"; do
    tries=$((tries + 1)); test $tries -lt 400 || fail "pid $1 goes on"; sleep 0.05
  done
}
fail() { echo "FAILED: $*" >&2; exit 1; }
same() { diff "$1" "$2" || fail "$3"; echo "ok: $3"; }
# Prepares a node for its next boot as playbooks do: a module to load, and a service that needs an address.
leave_work() {
  kvmc ssh $1 -- 'sudo sh -e' <<'WORK'
echo br_netfilter > /etc/modules-load.d/k8s.conf
cat > /etc/systemd/system/online.service <<UNIT
[Unit]
Wants=network-online.target
After=network-online.target
[Service]
Type=oneshot
ExecStart=sh -c "hostname -I > /var/lib/online"
[Install]
WantedBy=multi-user.target
UNIT
systemctl enable -q online.service
sync
WORK
}
# Checks that the boot loaded the module and started the service.
is_worked_on() {
  n=0; until online=$(kvmc ssh $1 -- cat /var/lib/online 2>/dev/null); do
    n=$((n + 1)); test $n -lt 60 || fail "online.service of $1 did not run"; sleep 1
  done
  test "$online" = "$(kvmc ssh $1 -- hostname -I)" || fail "a service of $1 found the network as: $online"
  kvmc ssh $1 -- 'grep -q ^br_netfilter /proc/modules' || fail "a module of $1 is not loaded"
}
SMALL="--master-ram 512M --worker-ram 512M --lbl-ram 512M --vcpus 1"
trap 'code=$?; kill ${server:-} 2>/dev/null || true; kvmc down >/dev/null 2>&1 || true; exit $code' EXIT
trap 'exit 130' INT TERM
