//! Resolves the cluster's names: from a node, from the host, and through the host's systemd-resolved.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::fake;

const UP: &str = "kvmc up --accel tcg $SMALL --masters 1 --workers 1 --load-balancers 1 --cold";
/// A query that repeats until an answer comes, and a namespace at a port of the bridge, as a node has one.
const TOOLS: &str = r#"
ask() { dig @192.168.80.1 +short +tries=1 +timeout=6 "$@"; }
node() { nsenter -t $(cat ../node.pid) -n "$@"; }
make_node() {
  ip link add port0 type veth peer name node0
  ip link set port0 master k80 up
  unshare -n sleep 60 & echo $! > ../node.pid
  until [ "$(readlink /proc/$(cat ../node.pid)/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.02; done
  ip link set node0 netns $(cat ../node.pid)
  node ip link set lo up; node ip link set node0 up
}
drop_node() { ip link del port0; kill $(cat ../node.pid); }
resolvers() { printf "$1" > ../resolv.conf; sleep 1.1; }
cp /etc/resolv.conf ../resolv.conf; mount --bind ../resolv.conf /etc/resolv.conf
"#;

#[test]
fn names_are_known_to_nodes_and_to_the_host_and_change_while_it_runs() {
    let bench = fake::bench();
    fake::runs(
        &bench,
        &format!(
            r#"{TOOLS}
host > ../before
resolvers 'nameserver 203.0.113.1\n'
cat > kvmc.toml <<'TOML'
[dns]
records = ["api A 192.168.80.200", "www CNAME api", 'note TXT "two words"']
TOML
{UP}
make_node
cat > ../said.sh <<'SH'
#!/bin/sh
[ "$1" = bound ] || exit 0
echo "dns $dns domain $domain" > "${{0%/*}}/dhcp"; ip addr add $ip/24 dev $interface; ip route add default via $router
SH
chmod 755 ../said.sh
node udhcpc -i node0 -n -q -s ../said.sh >/dev/null 2>&1 || fail "no lease"
test "$(cat ../dhcp)" = "dns 192.168.80.1 domain k80.internal" || fail "DHCP says: $(cat ../dhcp)"
for from in "" node; do
  dns() {{ $from dig @192.168.80.1 +short +tries=1 +timeout=6 "$@"; }}
  test "$(dns master0)" = 192.168.80.2 || fail "master0 from ${{from:-the host}}"
  test "$(dns worker0.k80.internal)" = 192.168.80.3 || fail "worker0"
  test "$(dns x.lb.k80.internal)" = 192.168.80.4 || fail "the load balancer"
  test "$(dns -x 192.168.80.2)" = master0.k80.internal. || fail "reverse"
  test "$(dns www.k80.internal | tail -n 1)" = 192.168.80.200 || fail "a record of kvmc.toml"
  test "$(dns note.k80.internal TXT)" = '"two words"' || fail "a text"
  $from dig @192.168.80.1 +tries=1 +timeout=6 www.example.com | grep -q "no answer from the host's resolver 203.0.113.1" || fail "the host's resolver"
done
resolvers ''
node dig @192.168.80.1 +tries=1 www.example.com | grep -q 'the host has no resolver' || fail "no resolver"
grep -q '"event":"resolvers".*203.0.113.1' "$KVMC_STATE_DIR/clusters/k80/events.jsonl" || fail "it is not in the log"

# A guest cannot take a name: the name that it gives itself does not count.
node udhcpc -i node0 -n -q -x hostname:thief -F thief -s ../said.sh >/dev/null 2>&1 || true
test -z "$(ask thief.k80.internal)" || fail "P58: a guest took a name"

pid=$(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' "$KVMC_STATE_DIR/clusters/k80/nodes/master0/process.json" | head -n 1)
sed -i 's/192.168.80.200/192.168.80.201/' kvmc.toml
kvmc up --accel tcg
test "$(ask www.k80.internal | tail -n 1)" = 192.168.80.201 || fail "a changed record"
kill -0 $pid || fail "a node was restarted"

kill -9 "$(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' "$KVMC_STATE_DIR/clusters/k80/keeper.json")"
kvmc up --accel tcg
test "$(ask master0)" = 192.168.80.2 || fail "after kill -9 of the keeper"
drop_node
kvmc down
rm kvmc.toml
host > ../after; same ../before ../after "the host after down""#
        ),
    );
}

#[test]
fn p29_p57_who_has_port_53_or_67_is_named_before_anything_is_made() {
    let bench = fake::bench();
    let said = fake::runs(
        &bench,
        &format!(
            r#"host > ../before
take() {{
  python3 -c 'import socket,sys,time
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)
if len(sys.argv) > 2: s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, sys.argv[2].encode())
s.bind(("0.0.0.0", int(sys.argv[1]))); time.sleep(60)' "$@" & taker=$!
  until ss -Hlnu sport = $1 | grep -q .; do sleep 0.05; done
}}
for port in 53 67; do
  take $port
  if {UP}; then fail "port $port was taken twice"; fi
  kill $taker; wait $taker || true
  host > ../after; same ../before ../after "the host after the refusal"
done
# A server of only another link, such as libvirt's dnsmasq, does not conflict.
take 67 up0
{UP}
kvmc down
# The port of the bridge itself, taken while no server runs.
{UP}
kill -9 "$(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' "$KVMC_STATE_DIR/clusters/k80/keeper.json")"
kill $taker; wait $taker || true
while ss -Hlnu sport = 67 | grep -q .; do sleep 0.05; done
take 67 k80
if kvmc up --accel tcg; then fail "port 67 of the bridge was taken twice"; fi
kill $taker; wait $taker || true"#
        ),
    );
    for words in [
        "UDP port 53 of 192.168.80.1 is taken by python3 (pid ",
        "UDP port 67 on k80 is taken by python3 (pid ",
        "end it, or have it serve DHCP only on its own links",
    ] {
        assert!(said.contains(words), "no `{words}` in: {said}");
    }
    assert_eq!(
        said.matches("UDP port 67 on k80 is taken by python3")
            .count(),
        2,
        "{said}"
    );
}

/// The folder of a systemd-resolved: the host's, or unpacked from Debian's package, which in some releases has
/// it in `lib`. The test does not install the package, since that takes over the machine's resolv.conf.
fn resolved() -> Option<PathBuf> {
    if Path::new("/usr/lib/systemd/systemd-resolved").exists() {
        return Some(PathBuf::from("/"));
    }
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("resolved");
    if !dir.join("usr/lib/systemd/systemd-resolved").exists() {
        std::fs::create_dir_all(&dir).unwrap();
        let unpack =
            "apt-get download systemd-resolved >/dev/null && dpkg -x systemd-resolved_*.deb . &&
            { [ ! -d lib/systemd ] || cp -a lib/systemd/. usr/lib/systemd/; }";
        let done = Command::new("sh")
            .args(["-c", unpack])
            .current_dir(&dir)
            .status()
            .unwrap();
        if !done.success() {
            return None;
        }
    }
    Some(dir)
}

#[test]
fn names_work_on_the_host_where_systemd_resolved_runs() {
    let Some(root) = resolved() else {
        println!("SKIPPED: no systemd-resolved here, and its package cannot be had");
        return;
    };
    let bench = fake::bench();
    std::os::unix::fs::symlink(
        root.join("usr/bin/resolvectl"),
        bench.dir().join("bin/resolvectl"),
    )
    .unwrap();
    let said = fake::runs(
        &bench,
        &format!(
            r#"{TOOLS}
for d in /run/dbus /run/systemd; do mkdir -p $d; mount -t tmpfs none $d; done
if ! getent passwd systemd-resolve >/dev/null; then
  {{ cat /etc/passwd; echo systemd-resolve:x:995:995::/:/usr/sbin/nologin; }} > ../passwd; mount --bind ../passwd /etc/passwd
  {{ cat /etc/group; echo systemd-resolve:x:995:; }} > ../group; mount --bind ../group /etc/group
fi
mkdir -p /run/systemd/resolve /run/systemd/netif; chown systemd-resolve:systemd-resolve /run/systemd/resolve
cat > ../bus.conf <<'XML'
<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/></policy></busconfig>
XML
# resolved's scopes follow the uplink's own addresses, which come at any time.
known() {{ resolvectl status | grep -v "Current Scopes"; }}
dbus-daemon --config-file=../bus.conf --nofork --nopidfile & bus=$!
until test -S /run/dbus/system_bus_socket; do sleep 0.05; done
resolvers 'nameserver 127.0.0.53\n'
{root}usr/lib/systemd/systemd-resolved 2> ../resolved.log & resolved=$!
trap 'code=$?; kvmc down >/dev/null 2>&1 || true; kill $resolved $bus; exit $code' EXIT
n=0; until resolvectl status >/dev/null 2>&1; do n=$((n + 1)); test $n -lt 100 || {{ cat ../resolved.log; fail "no resolved"; }}; sleep 0.05; done
known > ../status.before; host > ../before
{UP}
resolvectl status k80
for name in master0.k80.internal x.lb.k80.internal nobody.k80.internal; do
  dig @127.0.0.53 +short +tries=1 +timeout=6 $name > ../answer
  echo "$name: $(cat ../answer)"
done
test "$(getent hosts worker0.k80.internal | cut -d' ' -f1)" = 192.168.80.3 || fail "the host's own resolution"
test "$(dig @127.0.0.53 +short +tries=1 +timeout=6 -x 192.168.80.2)" = master0.k80.internal. || fail "reverse"
# resolved does not ask kvmc for other names, or queries would go in a circle.
dig @127.0.0.53 +tries=1 +timeout=6 www.example.com | grep -Eq 'SERVFAIL|REFUSED' || fail "other names"
ask master0 | grep -qx 192.168.80.2 || fail "asked directly"
kvmc up --accel tcg 2>&1 | grep -q 'nothing to do' || fail "it is not seen that all is there"
resolvectl revert k80
kvmc up --accel tcg
test "$(getent hosts worker0.k80.internal | cut -d' ' -f1)" = 192.168.80.3 || fail "up does not set it again"
kvmc stop
known > ../status.stopped; same ../status.before ../status.stopped "resolved after stop"
kvmc start --cold
test "$(getent hosts worker0.k80.internal | cut -d' ' -f1)" = 192.168.80.3 || fail "after start"
kvmc down
known > ../status.after; same ../status.before ../status.after "resolved after down"
host > ../after; same ../before ../after "the host after down""#,
            root = root.join("").display()
        ),
    );
    for answer in [
        "master0.k80.internal: 192.168.80.2",
        "x.lb.k80.internal: 192.168.80.4",
        "nobody.k80.internal: \n",
    ] {
        assert!(said.contains(answer), "no `{answer}` in: {said}");
    }
    println!("systemd-resolved of {}", root.display());
}
