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
  tr '\0' '\n' < /proc/$pid/cmdline > ../cmdline
  # The path of its program is gone with its root.
  test "$(basename "$(head -n 1 ../cmdline)")" = qemu-system-x86_64 || fail "$1 is no amd64 machine"
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

# exec, cp, console and logs reach the nodes.
test "$(kvmc exec -- hostname | sort | tr '\n' ' ')" = 'master0 | master0 worker0 | worker0 ' || fail "exec"
mkdir -p tree/deep; head -c 300000 /dev/urandom > tree/deep/a; echo x > 'tree/b c'
kvmc cp tree all:; kvmc cp all:tree/deep/a back; kvmc cp -p worker0:tree master0:/tmp/from
for n in master0 worker0; do cmp tree/deep/a back/$n/a || fail "copied from $n"; done
test "$(kvmc ssh master0 -- cat "'/tmp/from/b c'")" = x || fail "copied from node to node"
kvmc ssh worker0 -- 'sudo mkdir /small; sudo mount -t tmpfs -o size=1m,mode=777 none /small'
fails() { want=$1; shift; code=0; "$@" > ../out 2> ../err || code=$?; test $code != 0 && grep -q "$want" ../err || fail "$* ended with $code: $(cat ../err)"; }
head -c 2000000 /dev/urandom > small; truncate -s 2G large
fails 'worker0: no space is left on /small; the copy is incomplete' kvmc cp small worker0:/small/
fails 'worker0: .* free on /small, and the copy needs 2' kvmc cp large worker0:/small/
fails 'worker0: `/etc/hostname` is a file, which a folder cannot replace' kvmc cp tree worker0:/etc/hostname
fails 'worker0: .*ermission denied' kvmc cp small worker0:/etc/small
kvmc ssh worker0 -- sudo umount /small
# An sshd that hangs does not hold up the others.
kvmc ssh worker0 -- 'p=$(cat /run/sshd.pid); sudo systemd-run -q sh -c "kill -STOP $p; sleep 30; kill -CONT $p"; until grep -q "^State:.T" /proc/$p/status; do sleep 0.2; done'
code=0; kvmc exec --timeout 8 -- hostname > ../out 2> ../err || code=$?
test $code -ge 124 && test "$(cat ../out)" = 'master0 | master0' && grep -q '^error: worker0 ' ../err || fail "a hanging sshd: $code $(cat ../out ../err)"
n=0; until timeout 20 kvmc exec worker0 -- true; do n=$((n + 1)); test $n -lt 20 || fail "sshd of worker0 does not come back"; sleep 1; done
python3 $SCRIPTS/console.py worker0 guest
kvmc logs --journal -n 20000 worker0 > ../logs
grep -q 'worker0 console | .*login: admin' ../logs && grep -q 'worker0 journal | ' ../logs && grep -q 'worker0 keeper  | ' ../logs || { cat ../logs; fail "logs"; }
rm -r tree back small large
n=0; until kvmc status | grep -q 'worker0 *ready'; do n=$((n + 1)); test $n -lt 300 || fail "worker0 does not come back"; sleep 1; done
echo "ok: exec, cp, console and logs reach the nodes"

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

# The cluster changes, and the nodes that are not meant go on.
root() { kvmc ssh $1 -- df -B1 --output=size / | tail -n 1; }
others="$(of master0) $(of lbl0)"; before=$(of worker0)
kvmc up --disk 6 2> ../said || { cat ../said; exit 1; }
for n in master0 worker0 lbl0; do
  grep -q "^$n: its disk has 6G" ../said || fail "the disk of $n: $(cat ../said)"
  test "$(root $n)" -gt 5600000000 || fail "the file system of $n has $(root $n) bytes: $(kvmc ssh $n -- df /)"
done
kvmc ssh worker0 -- 'head -c 100000000 /dev/zero > big; sync; rm big'
kvmc scale workers=2 2> ../said || { cat ../said; exit 1; }
grep -q ' worker1 *woken' ../said || fail "the new node did not wake: $(cat ../said)"
test "$(root worker1)" -gt 5600000000 || fail "the file system of worker1: $(root worker1)"
test "$(ssh -F ssh_config worker1 hostname)" = worker1 || fail "ssh to the new node"
kvmc ssh master0 -- getent hosts worker1 > /dev/null || fail "the new node's name"
test "$(ansible -i inventory workers -m ping | grep -c SUCCESS)" = 2 || fail "the inventory lacks the new node"
kvmc ssh worker1 -- sleep 600 & command=$!
kvmc rm worker1 2> ../said || { cat ../said; exit 1; }
wait $command && fail "the command went on"
if kvmc ssh master0 -- getent hosts worker1; then fail "the removed name resolves"; fi
kvmc up --disk 6 --worker-ram 704M 2> ../said || { cat ../said; exit 1; }
grep -q 'RAM and vcpus of worker0 change at the next start' ../said || fail "$(cat ../said)"
test "$(of worker0)" = $before || fail "worker0 was restarted"
kvmc restart workers 2> ../said || { cat ../said; exit 1; }
tr '\0' '\n' < /proc/$(of worker0)/cmdline | grep -qxF size=704M || fail "RAM of worker0"
test "$(root worker0)" -gt 5600000000 || fail "the file system of worker0 after its restart"
test "$(of master0) $(of lbl0)" = "$others" || fail "another node was touched"
echo "ok: a running cluster grows, shrinks and changes"
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
