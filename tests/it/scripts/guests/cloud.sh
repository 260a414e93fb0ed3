# A cluster of three from a publisher-like cloud image: cold from the unchanged image, or warm from its
# prepared image. A short run leaves out the boots of stop and start.   cloud.sh cold|warm IMAGE FIRMWARE whole|short
how=$1 image=$2 firmware=$3 extent=$4
uplink
kvmc image import "$image" -t "cloud-$firmware" --firmware "$firmware" > ../id
# A message as people make them, packed: each part replaces what the parts before it say, and each names other users.
cat > user.mime <<'USER'
From nobody Thu Jan  1 00:00:00 1970
Content-Type: multipart/mixed; boundary="of-the-user"
mime-version: 1.0

--of-the-user
Content-Type: text/cloud-config

#cloud-config
merge_how: dict(replace)+list(replace)+str()
users: [{name: ann, shell: /bin/sh}]
bootcmd: ["echo of the user > /run/by-bootcmd"]
write_files:
- {path: /etc/by-user-data, content: "written\n"}
--of-the-user
Content-Type: text/cloud-config-archive

#cloud-config-archive
- type: text/cloud-config
  content: |
    users: [{name: bob}]
    runcmd: ["hostname > /etc/ran-by-user-data"]
- |
  #!/bin/sh
  echo script > /etc/by-script
--of-the-user
Content-Type: text/plain

## template: jinja
#cloud-config
users: [{name: "of-{{ v1.local_hostname }}"}]
--of-the-user--
USER
{ echo; cat user.mime; } | gzip > user.gz
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
    kvmc ssh $n -- "cat /etc/by-user-data /etc/ran-by-user-data /etc/by-script /run/by-bootcmd; id -un of-$n admin 2>&1" > ../is || true
    test "$(tr '\n' ' ' < ../is)" = "written $n script of the user of-$n admin " || fail "$1: user_data on $n: $(cat ../is)"
  done
  echo "ok: user_data $1"
}
# What roles such as Kubespray's and a hardening of ssh change on a node, and what it is like.
change() {
  kvmc ssh $1 -- 'sudo sh -eu' <<'CHANGES'
printf '10.0.0.99 registry.example registry\n' >> /etc/hosts
rm -f /etc/resolv.conf
printf 'nameserver 192.168.80.1\noptions ndots:2 timeout:2\n' > /etc/resolv.conf
echo 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExampleKeyOfAColleague0000000000000000 colleague' >> /home/admin/.ssh/authorized_keys
echo admin:another | chpasswd
hostnamectl set-hostname renamed
printf '%s\n' 'Port 22' 'KexAlgorithms curve25519-sha256' 'Ciphers aes256-ctr' 'AllowUsers admin' 'PasswordAuthentication no' \
  'Subsystem sftp /usr/lib/openssh/sftp-server' > /etc/ssh/sshd_config
sync
CHANGES
}
changed='hostname; cat /etc/hostname /etc/hosts; readlink /etc/resolv.conf || cat /etc/resolv.conf; cat ~/.ssh/authorized_keys /etc/ssh/sshd_config
  sudo grep admin /etc/shadow; sudo cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key'
survived() {
  kvmc ssh master1 -- "$changed" > ../now
  same ../changed ../now "a node is as its user left it after $1"
}
boot() { timeout 30 kvmc ssh master1 -- cat /proc/sys/kernel/random/boot_id 2>/dev/null; }
reboot() {
  was=$(boot)
  kvmc ssh master1 -- sudo systemctl reboot || true
  n=0; until is=$(boot) && test -n "$is" && test "$is" != "$was" && kvmc status | grep -q 'master1 *ready'; do
    n=$((n + 1)); test $n -lt 200 || fail "master1 did not come back: $(kvmc status)"; sleep 1
  done
}
leave() {
  change master1
  kvmc ssh master1 -- "$changed" > ../changed
  grep -q registry ../changed && grep -qx renamed ../changed || fail "the changes: $(cat ../changed)"
}
lasts() {
  survived "a reboot"
  [ "$extent" = short ] || { kvmc stop; kvmc start; survived "stop and start"; }
  "$@" 2>&1 | tail -n 2
  survived "a second up"
}
if [ "$how" = cold ]; then
  up $up --cold --user-data user.gz
  grep -q woken ../said && fail "a cold node woke"
  alike "cold, by $firmware"
  applied cold
  leave; reboot
  lasts $up --cold --user-data user.gz
else
  up $up --user-data user.gz
  test "$(grep -c woken ../said)" = 3 || fail "the nodes did not wake"
  alike "warm, by $firmware"
  applied warm
  # A boot by the firmware keeps the prepared files, and does not apply the user-data again.
  mine() { kvmc ssh master1 -- "$facts; cat /etc/ran-by-user-data" 2>/dev/null | sed -e '/^[0-9a-f]\{8\}-/d' -e '/^ /d'; }
  kvmc ssh master1 -- 'echo once | sudo tee -a /etc/ran-by-user-data >/dev/null'
  leave_work master1
  leave
  mine > ../is
  reboot
  mine > ../again
  same ../is ../again "a node after its own boot"
  is_worked_on master1
  lasts $up --user-data user.gz
fi
kvmc down
host > ../after
same ../before ../after "the host after down"
