#!/bin/sh
# Measures the leases a second, the delays and the cost of kvmc's DHCP server, dnsmasq and Kea. They run one after the
# other on the same pair of links, with leases on the same disk, and perfdhcp loads all of them in the same way.
#
#   sudo tests/bench/dhcp.sh [RATE...]      rates to try, by default 50 to 12000 exchanges a second
#
# Everything runs in its own namespaces. The script unpacks missing ones of perfdhcp, Kea and dnsmasq from Debian's
# packages into target/bench, and does not install them. It takes about ten minutes. BENCH_SECONDS=3 makes each try
# shorter than 5 s, and BENCH_SERVERS=kvmc measures only that server. On a busy machine, `chrt -f 10` before it keeps the
# processors, but not the disk.
set -eu
cd "$(dirname "$0")/../.."
[ "$(id -u)" = 0 ] || { echo "namespaces need root: run it with sudo" >&2; exit 1; }
PATH="$PATH:$HOME/.cargo/bin:/usr/sbin"
tools=$PWD/target/bench
mkdir -p "$tools"
if [ -z "${BENCH_INSIDE:-}" ]; then
  cargo build --release --quiet -p kvmc-netns --example dhcp_serve
  for pair in perfdhcp:kea-admin kea-dhcp4:kea-dhcp4-server dnsmasq:dnsmasq-base; do
    command -v "${pair%:*}" >/dev/null || { .ci/unpack "$tools/root" kea-admin kea-dhcp4-server dnsmasq-base; break; }
  done
  BENCH_INSIDE=1 exec unshare --net --mount "$0" "$@"
fi

root=$tools/root
libraries=$(dirname "$(find "$root" -name 'libkea-util.so*' 2>/dev/null | head -1)" 2>/dev/null || true)
program() { if [ -x "$root/usr/sbin/$1" ]; then echo "$root/usr/sbin/$1"; else command -v "$1"; fi; }
work=$(mktemp -d "$tools/run.XXXXXX")
server=""
stop() { [ -z "$server" ] || { kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; server=""; }; }
trap 'stop; ip netns del clients 2>/dev/null || true; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
mount -t tmpfs none /run
mkdir -p /run/netns /run/kea
ip link set lo up
ip netns add clients
ip link add v0 address 02:00:00:00:08:01 type veth peer name v1 netns clients
ip addr add 10.8.0.1/16 dev v0; ip link set v0 up
ip -n clients addr add 10.8.0.2/16 dev v1; ip -n clients link set v1 up
sleep 2

cat > "$work/kea.json" <<JSON
{ "Dhcp4": { "interfaces-config": { "interfaces": [ "v0" ] },
  "lease-database": { "type": "memfile", "persist": true, "name": "$work/kea.csv", "lfc-interval": 0 },
  "valid-lifetime": 3600,
  "subnet4": [ { "id": 1, "subnet": "10.8.0.0/16", "pools": [ { "pool": "10.8.1.0 - 10.8.255.250" } ],
    "option-data": [ { "name": "routers", "data": "10.8.0.1" }, { "name": "domain-name-servers", "data": "10.8.0.1" } ] } ],
  "loggers": [ { "name": "kea-dhcp4", "output_options": [ { "output": "/dev/null" } ], "severity": "ERROR" } ] } }
JSON

# Starts the server of this name on an empty lease file.
start() {
  stop
  rm -f "$work"/leases* "$work"/kea.csv*
  case $1 in
    kvmc) target/release/examples/dhcp_serve v0 10.8.0.1/16 "$work/leases" 3600 > "$work/log" 2>&1 & ;;
    dnsmasq) $(program dnsmasq) --keep-in-foreground --port=0 --interface=v0 --bind-interfaces --conf-file=/dev/null --user=root \
      --dhcp-authoritative --dhcp-range=10.8.1.0,10.8.255.250,255.255.0.0,3600 --dhcp-leasefile="$work/leases" --no-ping \
      --dhcp-lease-max=65000 --quiet-dhcp --pid-file= > "$work/log" 2>&1 & ;;
    kea) LD_LIBRARY_PATH=$libraries KEA_LOCKFILE_DIR=/run/kea KEA_PIDFILE_DIR=/run/kea KEA_LOGGER_DESTINATION=/dev/null \
      $(program kea-dhcp4) -c "$work/kea.json" > "$work/log" 2>&1 & ;;
  esac
  server=$!
  sleep 2
  kill -0 "$server" 2>/dev/null || { echo "$1 did not start:" >&2; cat "$work/log" >&2; exit 1; }
}

# Waits for exchanges under way at the end of perfdhcp's time, and counts them as answered in that time.
# ask RATE CLIENTS SECONDS: "achieved drops-of-offers drops-of-acks delay-of-offers delay-of-acks", delays in ms.
ask() {
  LD_LIBRARY_PATH=$libraries ip netns exec clients "$(program perfdhcp)" -4 -l v1 -r "$1" -R "$2" -p "$3" -g single -x i -W 300000 \
    -b mac=02:08:00:00:00:00 10.8.0.1 > "$work/asked" 2>&1 || true
  awk -v seconds="$3" '/Statistics for: DISCOVER-OFFER/ {at="offer"} /Statistics for: REQUEST-ACK/ {at="ack"}
    /^drops:/ {drops[at]=$2} /^avg delay:/ {delay[at]=$3} /^sent packets:/ {sent[at]=$3}
    /^received packets:/ {received[at]=$3}
    END { if (!sent["offer"]) exit 1; printf "%.0f %d %d %.3f %.3f\n", received["ack"] / seconds, drops["offer"], drops["ack"], delay["offer"], delay["ack"] }' \
    "$work/asked" || { echo "perfdhcp failed:" >&2; cat "$work/asked" >&2; exit 1; }
}

# without_loss RATE CLIENTS: whether one of three tries loses nothing; $best is then that try. A try may fall into a
# moment in which the disk, or the machine, is busy.
without_loss() {
  for try in 1 2 3; do
    set -- "$1" "$2" $(ask "$1" "$2" "$seconds")
    # The server is not at fault for exchanges that perfdhcp itself cannot send.
    if [ "$4" = 0 ] && [ "$5" = 0 ] && [ "$3" -ge $(($1 * 95 / 100)) ]; then best="$3 0 $6 $7"; return 0; fi
  done
  return 1
}

seconds=${BENCH_SECONDS:-5}
rates=${*:-50 100 250 500 1000 2000 3000 4000 5000 6000 8000 10000 12000}
memory() { sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$server/status" | awk '{printf "%.1f MB", $1 / 1024}'; }
row() { printf '| %-8s | %-22s | %11s | %8s | %14s | %16s |\n' "$@"; }
echo "$(nproc) cores, $(uname -r); perfdhcp $(LD_LIBRARY_PATH=$libraries "$(program perfdhcp)" -v 2>&1 | head -1), Kea $(LD_LIBRARY_PATH=$libraries "$(program kea-dhcp4)" -v | head -1), $($(program dnsmasq) --version | sed -n '1s/^Dnsmasq version \([^ ]*\).*/dnsmasq \1/p')"
row server what exchanges/s lost "OFFER after ms" "ACK after ms"
row -------- ---------------------- ----------- -------- -------------- ----------------
for name in ${BENCH_SERVERS:-kvmc dnsmasq kea}; do
  # In the first run every client is new; in the second most are known.
  start $name
  for time in first then; do
    set -- $(ask 500 100 $((2 * seconds)))
    row $name "500/s, 100, $time" "$1" "$(($2 + $3))" "$4" "$5"
  done
  for clients in 100 1000 5000; do
    start $name
    best="none 0 - -"
    for rate in $rates; do without_loss "$rate" "$clients" || break; done
    row $name "lossless, $clients" $best
  done
  row $name "memory, $clients" "$(memory)" "" "" ""
  # Nearly all clients are new, each time.
  best="none 0 - -"
  for rate in $rates; do start $name; without_loss "$rate" 60000 || break; done
  row $name "lossless, new" $best
done
