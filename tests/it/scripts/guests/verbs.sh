# up, ssh, ansible, stop, start, down on real guests.
uplink
host > ../before
# Each value differs from its default: 4 vcpus, 4 GB of disk, and whole gigabytes of RAM.
export CPU_ARCHITECTURE=amd64 DISK_SIZE=5 VIRTUAL_CPUS=1 MASTER_RAM=512M WORKER_RAM=640M LBL_RAM=576M
kvmc up --masters 1 --workers 1 --load-balancers 0 2> ../said || { cat ../said; exit 1; }
cat ../said
stages=$(sed -n 's/^.* s  worker0 *//p' ../said | tr '\n' ' ')
test "${stages%lease ssh ready }" != "$stages" || fail "stages shown: $stages"
kvmc status

# The environment's values reach QEMU's command line, the disk and the guest's file system.
of() { kvmc status --json | python3 -c 'import json,sys; print(next(n["pid"] for n in json.load(sys.stdin)["nodes"] if n["name"] == sys.argv[1]))' $1; }
started_as() {
  pid=$(of $1)
  test "$(basename "$(readlink /proc/$pid/exe)")" = qemu-system-x86_64 || fail "$1 is no amd64 machine"
  tr '\0' '\n' < /proc/$pid/cmdline > ../cmdline
  for word in size=$2 cpus=1; do
    grep -qxF -- "$word" ../cmdline || fail "$word is not in the command line of $1"
  done
  # Only KVM uses eventfds, which it signals from the host's kernel.
  without=$(grep -cxF virtio-pci.ioeventfd=off ../cmdline || true)
  test "$without" = "$(kvmc status 2>&1 | grep -c ', TCG,' || true)" || fail "eventfds of $1: $(kvmc status 2>&1)"
  disk=$KVMC_STATE_DIR/clusters/k80/nodes/$1/disk.qcow2
  qemu-img info -U --output=json "$disk" | grep -q '"virtual-size": 5368709120' || fail "the disk of $1"
  root=$(kvmc ssh $1 -- df -B1 --output=size / | tail -n 1)
  test "$root" -gt 4600000000 && test "$root" -le 5368709120 || fail "the file system of $1: $root"
}
started_as master0 512M
started_as worker0 640M
echo "ok: the environment's settings are in what runs"

export ANSIBLE_HOST_KEY_CHECKING=True
ansible -i inventory all -m ping
test "$(ansible -i inventory all -m ping | grep -c SUCCESS)" = 2 || fail "ansible ping"
test "$(ansible -i inventory workers -b -m command -a 'id -u' | tail -n 1)" = 0 || fail "sudo"
test "$(ssh -F ssh_config master0 hostname)" = master0 || fail "ssh with id_rsa"
password=$(sed -n 's/^ansible_password=//p' inventory)
test "$(sshpass -p "$password" ssh -F ssh_config -o PreferredAuthentications=password -o PubkeyAuthentication=no master0 hostname)" = master0 || fail "ssh with the password"
code=0; kvmc ssh master0 -- exit 7 || code=$?
test $code = 7 || fail "ssh does not return the exit code"
for f in inventory id_rsa ssh_config known_hosts; do test "$(stat -c %a $f)" = 600 || fail "mode of $f"; done

facts='hostname; cat /etc/machine-id; cat /sys/class/net/eth0/address; hostname -I; cat /etc/ssh/ssh_host_*.pub'
for n in master0 worker0; do kvmc ssh $n -- "$facts" > ../facts.$n; done
sort ../facts.master0 ../facts.worker0 | uniq -d | grep . && fail "nodes share something"
echo "ok: nodes differ"

# A machine outside the cluster gets a lease from the keeper.
ip netns add stranger; ip link add stranger type veth peer name eth0 netns stranger
ip link set stranger master k80 up; ip -n stranger link set eth0 up
ip netns exec stranger udhcpc -f -q -n -i eth0 -s /bin/true > ../stranger 2>&1 || fail "udhcpc: $(cat ../stranger)"
address=$(sed -n 's/.*lease of \(192.168.80.[0-9]*\) obtained.*/\1/p' ../stranger)
grep -q "\"$address\"" "$KVMC_STATE_DIR/clusters/k80/leases" || fail "the lease is not kept"
ip netns del stranger
echo "ok: the keeper serves strangers"

uuid=$(sed -n 's/.*"uuid": "\(.*\)".*/\1/p' "$KVMC_STATE_DIR/clusters/k80/cluster.json" | head -n 1)
pid=$(of master0)
tr '\0' '\n' < /proc/$pid/cmdline > ../cmdline
for word in "$uuid" "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"; do
  grep -qxF -- "$word" ../cmdline || fail "$word is not in QEMU's command line"
done
grep -q '^Uid:.*19[0-9]*' /proc/$pid/status || fail "QEMU's user"
grep -q '^Groups:[[:space:]]*$' /proc/$pid/status || fail "QEMU has groups"
grep -q '^CapEff:[[:space:]]*0*$' /proc/$pid/status || fail "QEMU has capabilities"
grep -q '^NoNewPrivs:[[:space:]]*1' /proc/$pid/status || fail "QEMU may gain privileges"
grep -q '^Seccomp:[[:space:]]*2' /proc/$pid/status || fail "QEMU has no sandbox"
echo "ok: QEMU is confined"

head -c 300000 /dev/urandom > ../big
# Not by the function: $! would be a shell's pid, and the server would stay with its inherited descriptors.
ip netns exec outside python3 -m http.server -d .. --bind 203.0.113.1 8000 >/dev/null 2>&1 &
server=$!
sleep 1
kvmc ssh worker0 -- "cat /sys/class/net/eth0/mtu; ping -c 1 -W 5 master0 >/dev/null || exit 7; getent hosts 192.168.80.2 | grep -q 'master0\\.k80\\.internal' || exit 8; python3 -c 'import urllib.request as u; print(len(u.urlopen(\"http://203.0.113.1:8000/big\", timeout=60).read()))'" > ../net
kill $server
test "$(tr '\n' ' ' < ../net)" = "1400 300000 " || fail "network: $(cat ../net)"
echo "ok: nodes reach each other and the outside, MTU 1400"

address=$(kvmc ssh worker0 -- hostname -I)
kvmc ssh worker0 -- 'sudo networkctl renew eth0; sleep 2; hostname -I' > ../renewed
test "$(cat ../renewed)" = "$address" || fail "renewed: $(cat ../renewed), not $address"
# The node loses its address, and gets the same one again.
kvmc ssh worker0 -- 'sudo systemd-run --quiet sh -c "networkctl down eth0; sleep 1; networkctl up eth0"'
sleep 8
test "$(kvmc ssh worker0 -- hostname -I)" = "$address" || fail "another address after the link was down"
echo "ok: a lease is renewed, and had again after the link was down"

kvmc ssh master0 -- 'echo kept > kept; sync'
kill -9 "$(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' "$KVMC_STATE_DIR/clusters/k80/keeper.json")"
kvmc status | grep -q running || fail "status without the keeper"
kvmc up
test "$(kvmc ssh master0 -- cat kept)" = kept || fail "a file after kill -9 of the keeper"
kvmc up --load-balancers 1
started_as lbl0 576M
leave_work master0
kvmc stop
kvmc stop
host > ../stopped
grep -q 'k80' ../stopped && grep -v "$KVMC_STATE_DIR" ../stopped | grep k80 && fail "stop leaves links or rules"
kvmc start
for n in master0 worker0; do kvmc ssh $n -- "$facts" > ../again.$n; same ../facts.$n ../again.$n "$n is the same after stop and start"; done
test "$(kvmc ssh master0 -- cat kept)" = kept || fail "a file after stop and start"
is_worked_on master0
test "$(kvmc ssh lbl0 -- hostname)" = lbl0 || fail "a node that joined later"
kvmc down
kvmc down
host > ../after
same ../before ../after "the host after down"

# All tests share the templates, so this one must not remove them.
rm "$KVMC_STATE_DIR/images"
kvmc down --all
test ! -e "$KVMC_STATE_DIR" || fail "down --all leaves $(find "$KVMC_STATE_DIR")"
echo "ok: nothing is left after down --all"
