# A cluster of three from a publisher-like cloud image: cold from the unchanged image, or warm from its
# prepared image.   cloud.sh cold|warm IMAGE FIRMWARE
how=$1 image=$2 firmware=$3
uplink
kvmc image import "$image" -t "cloud-$firmware" --firmware "$firmware" > ../id
cat > user.yaml <<'USER'
#cloud-config
write_files:
- {path: /etc/by-user-data, content: "written\n"}
runcmd: ["hostname > /etc/ran-by-user-data"]
USER
host > ../before
up="kvmc up $SMALL --masters 3 --workers 0 --load-balancers 0 --disk 5 --image cloud-$firmware --timeout 600"
up() {
  "$@" 2> ../said || { cat ../said; tail -c 2000 "$KVMC_STATE_DIR/clusters/k80/nodes/master0/console.log"; fail "$*"; }
  cat ../said
}
facts='hostname; hostname -f; cat /etc/machine-id /sys/class/net/eth0/address /proc/sys/kernel/random/boot_id; hostname -I; sudo sh -c "cat /etc/ssh/ssh_host_*_key.pub"; head -c 32 /dev/urandom | od -An -tx1 -w32'
nodes="master0 master1 master2"
alike() {
  export ANSIBLE_HOST_KEY_CHECKING=True
  test "$(ansible -i inventory all -m ping | grep -c SUCCESS)" = 3 || fail "$1: ansible ping"
  for n in $nodes; do
    kvmc ssh $n -- "$facts" > ../facts.$n
    test "$(sed -n 1,2p ../facts.$n | tr '\n' ' ')" = "$n $n.k80.internal " || fail "$1: $n is called $(cat ../facts.$n)"
    root=$(kvmc ssh $n -- df -B1 --output=size / | tail -n 1)
    test "$root" -gt 4600000000 || fail "$1: the file system of $n has $root bytes"
  done
  cat ../facts.master0 ../facts.master1 ../facts.master2 | sort | uniq -d | grep . && fail "$1: nodes share something"
  echo "ok: $1"
}
applied() {
  for n in $nodes; do
    test "$(kvmc ssh $n -- cat /etc/by-user-data /etc/ran-by-user-data | tr '\n' ' ')" = "written $n " || fail "$1: user_data on $n"
  done
  echo "ok: user_data $1"
}
if [ "$how" = cold ]; then
  up $up --cold --user-data user.yaml
  grep -q woken ../said && fail "a cold node woke"
  alike "cold, by $firmware"
  applied cold
else
  up $up --user-data user.yaml
  test "$(grep -c woken ../said)" = 3 || fail "the nodes did not wake"
  alike "warm, by $firmware"
  applied warm
  # A boot by the firmware keeps the prepared files, and does not apply the user-data again.
  mine() { kvmc ssh master1 -- "$facts; cat /etc/ran-by-user-data" 2>/dev/null | sed -e 5d -e '/^ /d'; }
  boot() { kvmc ssh master1 -- cat /proc/sys/kernel/random/boot_id 2>/dev/null; }
  kvmc ssh master1 -- 'echo once | sudo tee -a /etc/ran-by-user-data >/dev/null'
  leave_work master1
  mine > ../is; was=$(boot)
  kvmc ssh master1 -- sudo systemctl reboot || true
  n=0; until is=$(boot) && test -n "$is" && test "$is" != "$was" && kvmc status | grep -q 'master1 *ready'; do
    n=$((n + 1)); test $n -lt 200 || fail "master1 did not come back: $(kvmc status)"; sleep 1
  done
  mine > ../again
  same ../is ../again "a node after its own boot"
  is_worked_on master1
fi
kvmc down
host > ../after
same ../before ../after "the host after down"
