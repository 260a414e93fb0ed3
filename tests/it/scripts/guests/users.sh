# What its user changes on a node stays: roles' changes survive a reboot, stop and start, and a second up, on a node
# that woke and on one that booted.
uplink
up="kvmc up $SMALL --masters 1 --load-balancers 0"
$up --workers 0 2> ../said || { cat ../said; fail "up"; }
cat ../said
$up --workers 1 --cold 2> ../said || { cat ../said; fail "up --cold"; }
cat ../said
nodes="master0 worker0"

for n in $nodes; do
  address=$(sed -n "/^Host $n /{n;s/ *HostName //p}" ssh_config)
  kvmc ssh $n -- 'hostname -i; getent hosts $(hostname); hostname -f; ls /etc/ssh/ssh_host_*_key | wc -l; ls /boot; uname -r; findmnt -no TARGET -t mqueue,debugfs,tracefs,configfs | sort | tr "\n" " "' > ../is
  cat ../is
  sed -n 1p ../is | grep -qx "$address" || fail "hostname -i of $n"
  sed -n 2p ../is | grep -Eqx "$address +$n.k80.internal $n" || fail "getent hosts of $n"
  test "$(sed -n 3p ../is)" = "$n.k80.internal" || fail "hostname -f of $n"
  test "$(sed -n 4p ../is)" = 3 || fail "host keys of $n"
  test "$(sed -n 5p ../is)" = "config-$(sed -n 6p ../is)" || fail "/boot of $n"
  for mount in /dev/mqueue /sys/kernel/config /sys/kernel/debug /sys/kernel/tracing; do
    sed -n 7p ../is | grep -q "$mount" || fail "$mount of $n is not there"
  done
  ssh-keyscan $address 2>/dev/null | cut -d' ' -f2,3 > ../offered
  test -s ../offered || fail "$n offers no key"
  while read -r key; do grep -qF "$key" known_hosts || fail "known_hosts lacks a key that $n offers"; done < ../offered
done
# What a container sees that mounts /proc and /sys anew is the node's own.
for n in $nodes; do
  kvmc ssh $n -- 'cat /proc/sys/kernel/random/boot_id; sudo cat /sys/class/dmi/id/product_uuid
    sudo unshare -m sh -c "mount -t proc proc /mnt && cat /mnt/sys/kernel/random/boot_id && umount /mnt && mount -t sysfs sys /mnt && cat /mnt/class/dmi/id/product_uuid"' > ../is
  cat ../is
  test "$(head -n 2 ../is)" = "$(tail -n 2 ../is)" && test "$(wc -l < ../is)" = 4 || fail "a container of $n sees other ids"
  uuid=$(python3 -c 'import json, sys; print(next(n["uuid"] for n in json.load(open(sys.argv[1]))["nodes"] if n["name"] == sys.argv[2]))' "$KVMC_STATE_DIR/clusters/k80/cluster.json" $n)
  sed -n 4p ../is | grep -qix "$uuid" || fail "the UUID of $n is not $uuid"
done
grep 'keeps ids' "$KVMC_STATE_DIR/clusters/k80/events.jsonl" && fail "ids were not written"
echo "ok: nodes have their address by their name, three host keys, and Debian's mounts"

# "ready" is looked at again: each fault is in status within 15 s, and goes when it is over.
until_told() {
  began=$(date +%s)
  until kvmc status > ../status 2>/dev/null && grep -qE -- "$2" ../status; do
    test $(($(date +%s) - began)) -lt $1 || { cat ../status; fail "status does not say: $2"; }; sleep 0.3
  done
  echo "told after $(($(date +%s) - began)) s: $2"
}
until_whole() {
  began=$(date +%s)
  while kvmc status > ../status 2>/dev/null; grep -qE 'not ready|its agent' ../status; do
    test $(($(date +%s) - began)) -lt $1 || { cat ../status; fail "a fault is told for ever"; }; sleep 0.3
  done
  echo "over after $(($(date +%s) - began)) s"
}
until_whole 30
kvmc ssh worker0 -- 'sudo sh -c "systemd-run -q --on-active=22 --timer-property=AccuracySec=100ms systemctl start ssh; systemctl stop ssh"'
kvmc ssh master0 -- sudo systemctl stop kvmc-agent
until_told 17 'worker0 +not ready: no sshd'
until_told 17 'master0: its agent does not run'
kvmc ssh master0 -- sudo systemctl start kvmc-agent
until_whole 60
ip link set k80-worker0 nomaster
until_told 17 'network: .* the keeper restored the port k80-worker0 of k80'
address=$(sed -n '/^Host worker0 /{n;s/ *HostName //p;q}' ssh_config)
ip link add port0 type veth peer name other0 address 02:00:00:00:00:99; ip link set port0 master k80 up
ip netns add other; ip link set other0 netns other
ip -n other addr add $address/24 dev other0; ip -n other link set other0 up
until_told 17 'worker0: another machine \(02:00:00:00:00:99\) answers for its address'
ip netns del other; ip link del port0 2>/dev/null || true
kvmc ssh master0 -- 'sudo sh -c "cd /etc/ssh && cp -a ssh_host_ed25519_key ssh_host_ed25519_key.pub /root && rm ssh_host_ed25519_key && ssh-keygen -q -t ed25519 -N \"\" -f ssh_host_ed25519_key && systemctl restart ssh"'
until_told 60 'master0: the sshd on .* has the host key SHA256:.* known_hosts'
grep -q 'by `master0,192.168.80.2 ssh-ed25519 ' ../status || fail "the line for known_hosts"
ssh -F ssh_config -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null master0 'sudo sh -c "cp -a /root/ssh_host_ed25519_key /root/ssh_host_ed25519_key.pub /etc/ssh && systemctl restart ssh"'
until_whole 60
keeper=$(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' "$KVMC_STATE_DIR/clusters/k80/keeper.json")
echo "the keeper used $(awk '{ print ($14 + $15) / 100 }' /proc/$keeper/stat) s of a core so far"

change() {
  kvmc ssh $1 -- 'sudo sh -eu' <<'CHANGES'
printf '10.0.0.99 registry.example registry\n' >> /etc/hosts
printf 'nameserver 192.168.80.1\noptions ndots:2 timeout:2\n' > /etc/resolv.conf
if test "$(hostname)" = worker0; then
  ln -sf /run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
  hostnamectl set-hostname renamed
fi
echo 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExampleKeyOfAColleague0000000000000000 colleague' >> /home/admin/.ssh/authorized_keys
echo admin:another | chpasswd
rm /etc/ssh/ssh_host_ecdsa_key /etc/ssh/ssh_host_ecdsa_key.pub
ssh-keygen -q -t rsa -b 2048 -N '' -f /etc/own_rsa; mv /etc/own_rsa /etc/ssh/ssh_host_rsa_key; mv /etc/own_rsa.pub /etc/ssh/ssh_host_rsa_key.pub
printf '%s\n' 'KexAlgorithms curve25519-sha256' 'Ciphers aes256-ctr' 'AllowUsers admin' 'PasswordAuthentication no' \
  'Subsystem sftp /usr/lib/openssh/sftp-server' > /etc/ssh/sshd_config
systemctl unmask -q fstrim.timer; systemctl mask -q systemd-timedated.service; systemctl disable -q e2scrub_all.timer || true
rm -f /etc/systemd/system/man-db.timer
cat > /etc/systemd/system/slow.service <<UNIT
[Service]
ExecStart=sh -c "trap : TERM; while :; do sleep 1; done"
TimeoutStopSec=2
[Install]
WantedBy=multi-user.target
UNIT
systemctl enable -q slow.service
sync
CHANGES
}
facts='hostname; cat /etc/hostname /etc/hosts; readlink /etc/resolv.conf || cat /etc/resolv.conf; cat ~/.ssh/authorized_keys /etc/ssh/sshd_config
  sudo grep admin /etc/shadow; cat /etc/machine-id /etc/ssh/ssh_host_rsa_key.pub /etc/ssh/ssh_host_ed25519_key.pub; ls -l /etc/systemd/system | grep -v slow | tail -n +2'
for n in $nodes; do change $n; kvmc ssh $n -- "$facts" > ../facts.$n; grep -q registry ../facts.$n || fail "the changes to $n"; done
grep -qx renamed ../facts.worker0 || fail "hostnamectl"
survived() {
  for n in $nodes; do
    kvmc ssh $n -- "$facts" > ../now.$n
    same ../facts.$n ../now.$n "$n is as its user left it after $1"
    kvmc ssh $n -- 'test -s /etc/ssh/ssh_host_ecdsa_key' || fail "a missing host key of $n did not come back after $1"
  done
}
booted() { timeout 30 kvmc ssh $1 -- cat /proc/sys/kernel/random/boot_id 2>/dev/null || true; }
for n in $nodes; do
  was=$(booted $n)
  kvmc ssh $n -- sudo systemctl reboot || true
  n_=0; until now=$(booted $n); test -n "$now" && test "$now" != "$was" && kvmc status | grep -q "$n *ready"; do
    n_=$((n_ + 1)); test $n_ -lt 120 || { kvmc status; fail "$n did not come back"; }; sleep 2
  done
done
survived "a reboot"

# Units that systemd kills are told, and an inhibitor is heard.
kvmc ssh master0 -- sudo systemctl start slow.service
kvmc ssh worker0 -- 'sudo sh -c "systemctl start systemd-logind && systemd-run -q --unit=hold systemd-inhibit --what=shutdown --mode=block sleep 1000; sync"'
kvmc ssh worker0 -- 'n=0; until systemd-inhibit --list 2>/dev/null | grep -q "shutdown.*block"; do n=$((n + 1)); test $n -lt 40; sleep 0.5; done' || fail "no inhibitor"
code=0; kvmc stop --timeout 40 2> ../said || code=$?
cat ../said
test $code = 1 || fail "stop ended with $code"
grep -q 'master0 *forced: systemd killed slow.service' ../said || fail "a unit that was killed is not told"
grep -q 'worker0 *forced: .*inhibitor' ../said || fail "an inhibitor is not heard"
kvmc start
kvmc status > ../status 2>/dev/null; cat ../status
grep -Eq 'powered off|kvmc ended' ../status && fail "status tells of an end that was asked for"
survived "stop and start"
$up --workers 1 2>&1 | tail -n 3
survived "a second up"

# A service that is quick to stop is no reason to say otherwise.
for n in $nodes; do kvmc ssh $n -- 'sudo systemctl disable -q --now slow.service' || true; done
kvmc stop 2> ../said || { cat ../said; fail "stop"; }
test "$(grep -c clean ../said)" = 2 || fail "$(cat ../said)"
kvmc down
