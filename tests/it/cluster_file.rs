//! The cluster file, what it gives to nodes, and what Ansible makes of a cluster, on the tests' fake QEMU.

use std::path::{Path, PathBuf};

use super::fake;
use super::support::Bench;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

fn runs(script: &str) -> String {
    fake::runs(&fake::bench(), script)
}

#[test]
fn a_new_cluster_file_is_written_once_and_read_by_the_next_verb() {
    let bench = Bench::new();
    let libvirt = data("convert/nat.xml");
    let vagrant = data("convert/Vagrantfile.kubernetes");
    let script = format!(
        r#"kvmc init --cluster lab 2> ../said || fail "$(cat ../said)"
        cat ../said; head -1 kvmc.toml | grep -qx '#:schema ./kvmc.schema.json' || fail schema
        kvmc config > ../config; grep -q '^cluster  *lab  *kvmc.toml:' ../config || fail "$(cat ../config)"
        cp kvmc.toml ../first; ! kvmc init 2> ../said || fail 'written over'
        grep -qx 'error: kvmc.toml exists' ../said || fail "$(cat ../said)"
        grep -qF '`kvmc init --force` replaces it' ../said; cmp kvmc.toml ../first
        ! kvmc init --cluster A_b --force 2> ../said || fail 'a wrong name'; cmp kvmc.toml ../first
        kvmc init --force --from-libvirt {libvirt} > ../told 2> ../said || fail "$(cat ../said)"
        grep -q 'nat.xml:25: <tftp root' ../told || fail "$(cat ../told)"
        kvmc config | grep -q '^network.subnet  *192.168.140.0/24' || fail "$(kvmc config)"
        cp {vagrant} Vagrantfile; kvmc init --force --from-vagrant > ../told 2>&1 || fail "$(cat ../told)"
        grep -q 'Vagrantfile:18: config.vm.box_version' ../told || fail "$(cat ../told)"
        kvmc config | grep -q '^nodes.master0.address  *192.168.56.11' || fail "$(kvmc config)"
        cp kvmc.toml ../second; echo '<domain/>' > ../x.xml
        ! kvmc init --force --from-libvirt ../x.xml 2> ../said || fail 'no network'
        grep -q 'is not a libvirt network' ../said; cmp kvmc.toml ../second || fail 'touched'
        ! kvmc init --force --from-libvirt ../none.xml 2>/dev/null || fail none
        kvmc schema > ../schema.json; python3 -m json.tool ../schema.json > /dev/null || fail 'no JSON'
        rm kvmc.toml; mkfifo kvmc.toml; ! timeout 20 kvmc init --force 2> ../said || fail 'a FIFO'
        grep -q 'is a FIFO' ../said || fail "$(cat ../said)"; rm kvmc.toml"#,
        libvirt = libvirt.display(),
        vagrant = vagrant.display(),
    );
    bench.runs(&script);
}

/// The hosts of each group by `ansible-inventory --graph`, one line a group.
const GROUPS: &str = r#"groups() { ansible-inventory -i "$1" --graph | python3 -c '
import re, sys
groups, stack = {}, []
for line in sys.stdin:
    depth = line.count("|  ") + (1 if "|--" in line else 0)
    name = re.sub(r"^[ |-]*", "", line.rstrip()).rstrip(":")
    del stack[depth:]
    if name.startswith("@"):
        stack.append(name[1:]); groups.setdefault(name[1:], [])
    else:
        groups[stack[-1]].append(name)
for group in sorted(set(groups) - {"all", "ungrouped"}):
    print(group + ":", " ".join(sorted(groups[group])))'; }
"#;

#[test]
fn the_sample_groups_of_kubespray_and_k3s_ansible_come_out_of_a_cluster_file() {
    let script = |file: &str, groups: &str| {
        format!(
            r#"{GROUPS}cp {} kvmc.toml; kvmc up --accel tcg --cold --ram 256M --vcpus 1
            groups inventory > ../groups; cat > ../expected <<'END'
{groups}
END
            same ../expected ../groups 'the groups'
            kvmc down"#,
            data("cluster-files").join(file).display()
        )
    };
    runs(&script(
        "kubespray.toml",
        "calico_rr: \netcd: cp0 cp1 cp2\nk8s_cluster: cp0 cp1 cp2 worker0 worker1\nkube_control_plane: cp0 cp1 cp2\nkube_node: worker0 worker1",
    ));
    runs(&script(
        "k3s-ansible.toml",
        "agent: agent0 agent1\nk3s_cluster: agent0 agent1 server0 server1 server2\nserver: server0 server1 server2",
    ));
}

#[test]
fn all_forms_of_the_inventory_say_the_same() {
    let file = r#"accel = "tcg"
ram = "256M"
vcpus = 1
[network]
ipv6 = true
[[networks]]
name = "storage"
subnet = "10.81.0.0/24"
[roles.on]
count = 1
groups = ["on", "all_of_them"]
vars = { port = 8080, version = "1.10", word = "True", list = [1, "a b", { c = false }], jinja = "{{ ansible_host }}", quote = "it's; a \"b\" # c", float = 1.5 }
[roles.other]
count = 2
groups = ["other", "all_of_them"]
networks = []
[roles.none]
count = 0
[nodes.other1]
address = "192.168.80.77"
"#;
    runs(&format!(
        r#"cat > kvmc.toml <<'END'
{file}END
        mkdir '../a {{ b'; kvmc up --cold --files '../a {{ b'; dir=$(cd '../a {{ b'; pwd); ini="$dir/inventory"
        list() {{ ansible-inventory -i "$1" --list > ../"$2" 2> ../said || fail "$2: $(cat ../said)"; }}
        list "$ini" ini
        kvmc inventory --format yaml > ../hosts.yaml; list ../hosts.yaml yaml
        kvmc inventory > ../printed; cmp ../printed "$ini" || fail 'printed'
        kvmc inventory --script ../inventory.sh 2> ../said; cat ../said; test -x ../inventory.sh
        # From another folder, in another environment, and as a file that Ansible runs.
        (cd /; env -u KVMC_STATE_DIR ansible-inventory -i "$OLDPWD/../inventory.sh" --list > "$OLDPWD/../script") || fail script
        kvmc inventory --plugin plugins > ../kvmc.yml 2> ../said; cat ../said
        cp ../kvmc.yml kvmc.yml; echo "program: $(command -v kvmc)" >> kvmc.yml
        ANSIBLE_INVENTORY_PLUGINS=$PWD/plugins list kvmc.yml plugin
        python3 - <<'PYTHON'
import json
first = None
for form in ("ini", "yaml", "script", "plugin"):
    value = json.load(open("../" + form))
    for group in value.values():
        for key in ("children", "hosts"):
            if key in group: group[key] = sorted(group[key])
    first = first or value
    # A group without hosts is in some forms' lists only.
    if "none" in value["all"]["children"]: value["all"]["children"].remove("none")
    value.pop("none", None)
    assert value == first, (form, json.dumps(value, indent=1), json.dumps(first, indent=1))
hosts = first["_meta"]["hostvars"]
on = hosts["on0"]
assert on["port"] == 8080 and on["version"] == "1.10" and on["word"] == "True", on
assert on["list"] == [1, "a b", {{"c": False}}] and on["float"] == 1.5, on
assert on["quote"] == "it's; a \"b\" # c", on
assert on["kvmc_addresses"] == {{"main": on["ansible_host"], "storage": "10.81.0.2"}}, on
assert on["kvmc_addresses6"]["main"].startswith("fd"), on
assert hosts["other1"]["ansible_host"] == "192.168.80.77", hosts
assert list(hosts["other1"]["kvmc_addresses"]) == ["main"], hosts
assert on["ansible_ssh_timeout"] == 60, on
PYTHON
        kvmc inventory --host other1 | python3 -c 'import json,sys; assert json.load(sys.stdin)["cluster_hostname"] == "other1"'
        ! kvmc inventory --host other9 2> ../said || fail 'no such node'
        grep -q 'has no node `other9`; expected on0, other0, other1' ../said || fail "$(cat ../said)"
        echo mine > mine.sh; ! kvmc inventory --script mine.sh 2> ../said || fail 'written over'
        grep -q 'mine.sh exists, and kvmc did not make it' ../said; test "$(cat mine.sh)" = mine
        kvmc inventory --script ../inventory.sh 2>/dev/null || fail again
        # The folder that is gone has no key any more.
        rm -r "$dir"; kvmc inventory --list | grep -q "$KVMC_STATE_DIR/clusters/k80/id_rsa" || fail 'beside the record'
        kvmc down; ! ../inventory.sh --list 2> ../said || fail 'gone'; grep -q 'there is no cluster' ../said"#
    ));
}

#[test]
fn ansible_runs_with_the_clusters_inventory_and_its_exit_code() {
    runs(
        r#"kvmc up --accel tcg $SMALL --masters 1 --workers 0 --load-balancers 0 --cold
        mkdir ../else; echo '- hosts: masters' > ../else/site.yml
        for program in ansible ansible-playbook; do
          printf '#!/bin/sh\necho %s "$@" "in $PWD"; exit 7\n' $program > ../bin/$program; chmod +x ../bin/$program
        done
        cd ../else; inventory=$KVMC_STATE_DIR/clusters/k80/inventory
        code=0; kvmc playbook site.yml --limit masters -e 'a=b c' > ../said || code=$?
        test $code = 7 || fail "code $code"
        grep -qxF "ansible-playbook -i $inventory site.yml --limit masters -e a=b c in $PWD" ../said || fail "$(cat ../said)"
        code=0; kvmc ansible -- masters -m ping > ../said || code=$?
        test $code = 7 || fail "code $code"
        grep -qxF "ansible -i $inventory masters -m ping in $PWD" ../said || fail "$(cat ../said)"
        kvmc ansible all --list-hosts | grep -q 'all --list-hosts in' || true
        rm ../bin/ansible ../bin/ansible-playbook
        kvmc ansible -- all --list-hosts | grep -q master0 || fail 'the real Ansible'
        for p in /usr/bin/ansible /usr/bin/ansible-playbook; do mount --bind /dev/null $p; done
        ! kvmc playbook site.yml 2> ../said || fail 'without Ansible'
        grep -q '`ansible-playbook` is not installed on this host' ../said || fail "$(cat ../said)"
        grep -qF 'install ansible-core; `kvmc doctor` shows' ../said || fail "$(cat ../said)"
        kvmc doctor | grep -q 'Ansible .*not installed' || fail "$(kvmc doctor)"
        umount /usr/bin/ansible /usr/bin/ansible-playbook; kvmc down
        code=0; kvmc ansible -- all -m ping 2> ../said || code=$?; test $code = 4 || fail "without a cluster: $code""#,
    );
}

#[test]
fn extra_disks_live_as_long_as_their_nodes() {
    runs(
        r#"up() { workers=$1; shift; kvmc up --accel tcg $SMALL --masters 1 --workers $workers --load-balancers 0 --cold "$@"; }
        up 1 --disks 20G --disks 64M --set roles.workers.disks=1G
        nodes=$KVMC_STATE_DIR/clusters/k80/nodes
        for n in 1 2; do qemu-img check -q $nodes/master0/extra$n.qcow2 || fail "disk $n"; done
        qemu-img info $nodes/master0/extra1.qcow2 | grep -q '20 GiB' || fail 'its size'
        test "$(find $nodes -name 'extra*' | wc -l)" = 3 || fail "$(find $nodes)"
        tr '\0' '\n' < /proc/$(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' $nodes/master0/process.json)/cmdline > ../line
        test "$(grep -o 'virtio-blk-pci,drive=[a-z0-9]*' ../line | tr '\n' ' ')" = 'virtio-blk-pci,drive=disk0 virtio-blk-pci,drive=extra1 virtio-blk-pci,drive=extra2 ' || fail "$(cat ../line)"
        kvmc status | grep -q 'master0 .*4G +20G +64M' || fail "$(kvmc status)"
        kvmc status --json | python3 -c 'import json,sys; assert json.load(sys.stdin)["nodes"][0]["disks"] == [20 << 30, 64 << 20]'
        sum=$(sha256sum < $nodes/worker0/extra1.qcow2)
        kvmc stop; test "$(sha256sum < $nodes/worker0/extra1.qcow2)" = "$sum"; kvmc start --cold
        test "$(find $nodes -name 'extra*' | wc -l)" = 3 || fail 'after a start'
        # Existing nodes keep their disks; new ones of a role have the role's.
        ! up 1 --disks 30G 2> ../said || fail 'other disks'
        grep -q 'roles.masters.disks is 20G 64M, requested is 30G' ../said || fail "$(cat ../said)"
        up 2; test -s $nodes/worker1/extra1.qcow2 || fail 'a new node'
        kvmc down; test ! -e $nodes"#,
    );
}

#[test]
fn what_a_machine_cannot_have_is_refused_before_any_work() {
    let bench = fake::bench();
    for (arguments, expected) in [
        (
            "--disks 1M",
            "disks: an extra disk of `1M`; expected 16M to 64T",
        ),
        (
            "--disks '1 2 3 4 5 6 7 8 9'",
            "9 extra disks; expected at most 8",
        ),
        ("--cpu host", "cpu: `host` for master0 needs KVM"),
        ("--cpu 'a,b'", "`a,b` is not a CPU model"),
        (
            "--nested",
            "nested: master0 cannot run KVM guests: that needs KVM on this host",
        ),
        (
            "--set nodes.master0.address=10.0.0.1",
            "nodes.master0.address: `10.0.0.1` is outside of the main network",
        ),
        (
            "--set nodes.x0.address=192.168.80.9",
            "unknown node `x0`; expected master0",
        ),
        (
            "--set nodes.master0.adress=192.168.80.9",
            "did you mean `nodes.master0.address`",
        ),
    ] {
        for how in ["", " --dry-run"] {
            let script = format!("kvmc up --accel tcg --vcpus 1 {arguments}{how}");
            let said = bench.refused("", &script);
            assert!(said.contains(expected), "{script}: {said}");
        }
    }
}

#[test]
fn a_node_keeps_the_address_that_it_was_given() {
    runs(
        r#"up() { workers=$1; shift; kvmc up --accel tcg $SMALL --masters 1 --workers $workers --load-balancers 0 --cold "$@"; }
        up 1 --set nodes.master0.address=192.168.80.50
        grep -q '^master0 ansible_host=192.168.80.50 ' inventory || fail "$(cat inventory)"
        grep -q '^worker0 ansible_host=192.168.80.2 ' inventory || fail "$(cat inventory)"
        up 1; kvmc stop; kvmc start --cold; grep -q 'master0 .*192.168.80.50' inventory || kvmc status | grep -q 192.168.80.50
        for given in nodes.master0.address=192.168.80.51 nodes.worker1.address=192.168.80.50; do
          ! up 2 --set $given 2> ../said || fail "$given"; cat ../said
        done
        grep -q 'nodes.worker1.address: `192.168.80.50` is' ../said || fail "$(cat ../said)"
        up 2 --set nodes.worker1.address=192.168.80.99; grep -q '^worker1 ansible_host=192.168.80.99 ' inventory || fail worker1
        kvmc down"#,
    );
}
