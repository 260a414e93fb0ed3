# Builds an image in a machine by a script and a playbook, clones it warm, and commits an image of a clone.
uplink
mkdir -p app/below; echo data > app/below/file
cat > setup.sh <<'SCRIPT'
#!/bin/sh -eu
test "$(id -u)" = 0 && test "$(cat /opt/app/below/file)" = data
echo script > /etc/made-by-script
SCRIPT
cat > site.yml <<'PLAY'
- hosts: all
  become: true
  gather_facts: false
  tasks:
    - copy: {content: "playbook\n", dest: /etc/made-by-playbook}
PLAY
host > ../before
kvmc image build --master-ram 512M --vcpus 1 --copy app:/opt/app --run setup.sh --run site.yml -t ready > ../id 2> ../said || { cat ../said; exit 1; }
cat ../said
host > ../after; same ../before ../after "the host after a build"
test -z "$(ls -A /tmp/.kvmc-build* 2>/dev/null)" || fail "something is left in /tmp"
up="kvmc up $SMALL --masters 2 --workers 0 --load-balancers 0"
$up --image ready 2> ../said || { cat ../said; exit 1; }
cat ../said
grep -q 'master1 *woken' ../said || fail "a node of a layered image did not wake"
differ() {
  for n in master0 master1; do
    kvmc ssh $n -- 'hostname; cat /etc/machine-id /sys/class/net/eth0/address /etc/ssh/ssh_host_*.pub; hostname -I' > ../facts.$n
  done
  sort ../facts.master0 ../facts.master1 | uniq -d | grep . && fail "$1: nodes share something"
  test "$(ansible -i inventory all -m ping | grep -c SUCCESS)" = 2 || fail "$1: ansible ping"
  echo "ok: $1"
}
differ "clones of what was built"
test "$(kvmc ssh master0 -- cat /etc/made-by-script /etc/made-by-playbook /opt/app/below/file | tr '\n' ' ')" = "script playbook data " || fail "what was built is not there"
kvmc ssh master0 -- 'test ! -e .kvmc-build && test ! -e .ansible/tmp/x' || fail "the builder's files are left"
kvmc ssh master1 -- 'echo mine | sudo tee /srv/mine; sudo sh -c "echo secret-of-master1 > /root/gone; sync; rm /root/gone; sync"'
key=$(kvmc ssh master1 -- sudo sed -n 3p /etc/ssh/ssh_host_ed25519_key)
kvmc stop
id=$(kvmc image commit master1 -t mine)
disk=$KVMC_STATE_DIR/images/$id/disk.qcow2
grep -qaF -e "$key" -e secret-of-master1 "$disk" && fail "what was master1's own, or deleted, is in its image"
kvmc down
$up --image mine --cold 2> ../said || { cat ../said; exit 1; }
differ "clones of what was committed, cold"
test "$(kvmc ssh master0 -- cat /srv/mine /etc/made-by-script | tr '\n' ' ')" = "mine script " || fail "what was committed is not there"
kvmc down
kvmc image rm mine; kvmc image rm ready
echo "layer $(cat ../id): ok"
