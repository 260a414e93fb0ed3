# A kvmc.toml with four roles of its own names: one without nodes, one with its own image, vcpus, disk and two groups.
uplink
printf '#!/bin/sh -eu\necho etcd > /etc/made-for\n' > setup.sh
kvmc image build --ram 512M --vcpus 1 --run setup.sh -t tools > ../id 2> ../said || { cat ../said; exit 1; }
cat > kvmc.toml <<'FILE'
accel = "tcg"
ram = "512M"
vcpus = 1

[roles.control]
count = 1
prefix = "cp"
groups = ["kube_control_plane", "k8s_cluster"]

[roles.etcd]
count = 1
groups = ["etcd", "k8s_cluster"]
image = "tools"
vcpus = 2
ram = "600M"
disk = "6G"
disks = ["2G"]
vars = { etcd_port = 2379, peers = ["etcd0", "cp0"], note = "it's; a \"value\"" }

[roles.node]
count = 2
restart = "on-failure"

[roles.edge]
count = 0

[nodes.node1]
address = "192.168.80.77"
FILE
host > ../before
kvmc up 2> ../said || { cat ../said; exit 1; }
cat ../said
test $(grep -c ' woken' ../said) = 4 || fail "not every node woke"
kvmc status
test "$(kvmc status --json | python3 -c 'import json,sys; print(*(n["name"] for n in json.load(sys.stdin)["nodes"]))')" = "cp0 etcd0 node0 node1" || fail "the nodes' names"
ansible-inventory -i inventory --list > ../inventory.json
python3 - ../inventory.json <<'PYTHON'
import json, sys
all = json.load(open(sys.argv[1]))
hosts = {group: value.get("hosts", []) for group, value in all.items() if group != "_meta"}
assert hosts["kube_control_plane"] == ["cp0"], hosts
assert hosts["etcd"] == ["etcd0"], hosts
assert hosts["k8s_cluster"] == ["cp0", "etcd0"], hosts
assert hosts["node"] == ["node0", "node1"], hosts
assert not hosts.get("edge"), hosts
PYTHON
ansible -i inventory etcd -m debug -a 'msg={{ etcd_port + 1 }}/{{ peers | join("+") }}/{{ note }}' | grep -F '2380/etcd0+cp0/it'"'"'s; a \"value\"' || fail "the variables"
ansible -i inventory cp0 -m debug -a 'var=etcd_port' | grep -q 'NOT DEFINED' || fail "another role has the variables"
test "$(ansible -i inventory all -m ping | grep -c SUCCESS)" = 4 || fail "ansible ping"
# What Kubernetes' installers do runs through, and kubeadm then misses nothing but programs, which docs/KUBERNETES.md names.
ansible-playbook -i inventory $SCRIPTS/guests/kubernetes.yml > ../said 2>&1 || { cat ../said; fail "kubernetes.yml"; }
test "$(grep -c '"missing program: ' ../said)" = 10 || { cat ../said; fail "other programs are missing"; }
sed -n 's/.*"missing program: \(.*\)",*/\1/p' ../said | sort -u | tr '\n' ' ' | grep -qx 'conntrack ebtables ethtool iptables socat ' || { cat ../said; fail "other programs are missing"; }
if grep -E 'is off|is not 1|is missing|swap is on|is not mounted|loopback|in use' ../said; then fail "kubeadm would refuse a node"; fi
echo "ok: what Kubernetes' installers do runs through"
kvmc inventory --script ../inventory.sh
test "$(cd /; ansible -i "$OLDPWD/../inventory.sh" all -m ping | grep -c SUCCESS)" = 4 || fail "ansible ping by the script"
printf -- '- hosts: etcd\n  gather_facts: no\n  tasks: [{ raw: "test {{ kvmc_addresses.main }} = {{ ansible_host }} && exit 0" }]\n' > site.yml
kvmc playbook site.yml || fail "playbook"
rm site.yml
test "$(kvmc ssh etcd0 -- 'nproc; cat /etc/made-for; lsblk -bdno SIZE /dev/vda /dev/vdb; hostname' | tr '\n' ' ')" = "2 etcd $((6 << 30)) $((2 << 30)) etcd0 " || fail "etcd0 is not as its role says"
kvmc ssh etcd0 -- 'echo data | sudo dd of=/dev/disk/by-id/virtio-extra1 bs=1M seek=2000 conv=sync,fsync status=none && ! test -e /dev/vdc' || fail "the extra disk"
test "$(kvmc ssh node1 -- hostname -I | cut -d' ' -f1)" = 192.168.80.77 || fail "the address of node1"
kvmc ssh node1 -- '! test -e /dev/vdb && test $(nproc) = 1 && test ! -e /etc/made-for && getent hosts cp0 && getent hosts etcd0' || fail "node1, or the names that it sees"
# A role's policy is its own.
for n in node0 cp0; do kill -9 $(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' $KVMC_STATE_DIR/clusters/k80/nodes/$n/process.json); done
n=0; until kvmc status 2>/dev/null | grep -q 'node0 *ready ('; do n=$((n + 1)); test $n -lt 240 || fail "node0 did not come back: $(kvmc status)"; sleep 0.5; done
kvmc status | grep -q 'cp0 *stopped (' || fail "cp0 came back: $(kvmc status)"
# An alias adds a default role beside them, and touches no other node.
pids() { for n in etcd0 node1; do cat $KVMC_STATE_DIR/clusters/k80/nodes/$n/process.json; done; }
pids > ../pids
kvmc up --workers 1 2> ../said || { cat ../said; exit 1; }
pids > ../pids.now; same ../pids ../pids.now "the other nodes were not touched"
ansible -i inventory workers -m ping | grep -q 'worker0 | SUCCESS' || fail "the role workers"
kvmc down
host > ../after; same ../before ../after "the host after a cluster of four roles"
kvmc image rm tools
