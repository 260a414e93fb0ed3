# P49: a TCP connection between two nodes, and an etcd of three members, go on over rollbacks as if nothing had happened. What a
# playbook breaks on all nodes is undone, and the etcd of a fork goes on beside the first.
uplink
rounds=${KVMC_SOAK_ROLLBACKS:-5}
nodes='master0 master1 master2'
kvmc up --accel tcg $SMALL --disk 1G --masters 3 --workers 0 --load-balancers 0 --package etcd-server --package etcd-client 2> ../said || { cat ../said; fail "up"; }
cat ../said

for n in $nodes; do
  kvmc ssh $n -- 'sudo sh -eu' <<'MEMBER'
systemctl stop etcd 2>/dev/null || true
rm -rf /var/lib/etcd/*
cat > /etc/default/etcd <<FILE
ETCD_NAME=$(hostname)
ETCD_DATA_DIR=/var/lib/etcd/ring
ETCD_LISTEN_PEER_URLS=http://$(hostname -i):2380
ETCD_LISTEN_CLIENT_URLS=http://127.0.0.1:2379,http://$(hostname -i):2379
ETCD_INITIAL_ADVERTISE_PEER_URLS=http://$(hostname):2380
ETCD_ADVERTISE_CLIENT_URLS=http://$(hostname):2379
ETCD_INITIAL_CLUSTER=master0=http://master0:2380,master1=http://master1:2380,master2=http://master2:2380
ETCD_INITIAL_CLUSTER_STATE=new
ETCD_HEARTBEAT_INTERVAL=500
ETCD_ELECTION_TIMEOUT=5000
FILE
systemctl start --no-block etcd
MEMBER
done
# etcdctl CLUSTER NODE ARGUMENT...
etcdctl() { c=$1; n=$2; shift 2; kvmc --cluster $c ssh $n -- ETCDCTL_API=3 etcdctl --command-timeout=30s --dial-timeout=20s "$@"; }
# The leader and its term, which all three members must agree on, and what `count` is.
ring() {
  etcdctl $1 master0 endpoint status --cluster -w json > ../members || return 1
  python3 - ../members <<'PY' || return 1
import json, sys
members = [m["Status"] for m in json.load(open(sys.argv[1]))]
seen = {(m["leader"], m["raftTerm"]) for m in members}
assert len(members) == 3 and len(seen) == 1 and all(m["leader"] for m in members), seen
print("leader %x, term %d" % seen.pop())
PY
}
tries=0; until ring k80 > ../leader; do tries=$((tries + 1)); test $tries -lt 60 || fail "etcd has no leader"; sleep 1; done
cat ../leader
etcdctl k80 master1 put count saved

# Each line has random bytes, so that one of a past that was undone is not taken for one of the present.
cat > ../echo.py <<'PY'
import socket
s = socket.create_server(("", 7778))
while True:
    peer, _ = s.accept()
    open("/dev/shm/accepted", "a").write("accepted\n")
    while data := peer.recv(65536): peer.sendall(data)
PY
cat > ../stream.py <<'PY'
import collections, os, socket, threading, time
s = socket.create_connection(("master1", 7778))
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
sent, room = collections.deque(), threading.Semaphore(16)
def hear():
    for line in s.makefile("rb"):
        wanted = sent.popleft()
        if line != wanted:
            open("/dev/shm/bad", "a").write(f"{line} came for {wanted}\n")
        with open("/dev/shm/now", "wb") as now: now.write(line.split()[0])
        os.replace("/dev/shm/now", "/dev/shm/heard")
        room.release()
    open("/dev/shm/bad", "a").write("the connection ended\n")
threading.Thread(target=hear).start()
for n in range(1, 1 << 60):
    room.acquire()
    line = b"%d %s\n" % (n, os.urandom(8).hex().encode())
    sent.append(line)
    s.sendall(line)
    time.sleep(0.01)
PY
kvmc cp ../echo.py master1:; kvmc ssh master1 -- 'nohup python3 echo.py >/dev/null 2>&1 &'
kvmc cp ../stream.py master0:; kvmc ssh master0 -- 'nohup python3 stream.py >/dev/null 2>&1 &'
heard() { kvmc --cluster ${1:-k80} ssh master0 -- 'test ! -e /dev/shm/bad && cat /dev/shm/heard || { cat /dev/shm/bad; false; } >&2'; }
tries=0; until test "$(heard 2>/dev/null || echo 0)" -gt 50; do tries=$((tries + 1)); test $tries -lt 60 || fail "nothing is heard"; sleep 0.5; done
# as_it_was CLUSTER: the connection and etcd go on from the saved instant.
as_it_was() {
  a=$(heard $1) || fail "the connection did not go on"
  test $a -ge $saved || fail "line $a came after line $saved was saved"
  ring $1 > ../leader.now || { cat ../members; fail "the members do not agree"; }
  same ../leader ../leader.now "the leader is the same"
  test "$(etcdctl $1 master2 get count --print-value-only)" = saved || fail "etcd has a value of the past that was undone"
  b=$(heard $1) || fail "the connection broke"
  test $b -gt $a || fail "the connection stands at line $b"
  test "$(kvmc --cluster $1 ssh master1 -- cat /dev/shm/accepted | wc -l)" = 1 || fail "the client connected again"
}
saved=$(heard)
kvmc snapshot save ring
round=0
while test $round -lt $rounds; do
  round=$((round + 1))
  etcdctl k80 master$((round % 3)) put count $round >/dev/null
  most=$(heard)
  kvmc snapshot rollback ring
  now=$(heard) || fail "the connection did not go on"
  echo "round $round: line $most was heard, $now after the rollback to line $saved"
  as_it_was k80
done

# A playbook that breaks sshd, fills the disk and removes Python on all nodes.
cat > break.yml <<'PLAY'
- hosts: all
  become: true
  gather_facts: false
  tasks:
    - raw: fallocate -l $(($(df --output=avail -k / | tail -n 1) - 64))k /filled; dd if=/dev/zero of=/filled.rest bs=1k; sync
      ignore_errors: true
    - raw: rm -rf /usr/bin/python3* /etc/ssh/sshd_config /etc/ssh/ssh_host_*
    - raw: systemctl stop etcd; systemd-run --on-active=1 --timer-property=AccuracySec=100ms systemctl stop ssh.socket ssh
    - raw: "false"
PLAY
code=0; kvmc try -- ansible-playbook -i inventory break.yml > ../said 2>&1 || code=$?
cat ../said
test $code != 0 || fail "the playbook succeeded"
grep -q 'all is undone' ../said || fail "nothing was undone"
for n in $nodes; do
  grep -q "$n *wrote" ../said || fail "it does not tell what $n wrote"
  kvmc ssh $n -- 'test ! -e /filled && python3 --version && sudo sshd -t && test $(df --output=avail -k / | tail -n 1) -gt 20000' || fail "$n is not as it was"
done
as_it_was k80
test "$(ansible -i inventory all -m ping | grep -c SUCCESS)" = 3 || fail "ansible ping"

# A fork's etcd goes on too. Each writes, and neither sees the other.
kvmc fork --from ring x
as_it_was x
etcdctl x master0 put who fork; etcdctl k80 master0 put who first
for n in master1 master2; do
  test "$(etcdctl x $n get who --print-value-only) $(etcdctl k80 $n get who --print-value-only)" = 'fork first' || fail "they share an etcd"
done
ring k80 > ../leader.now; same ../leader ../leader.now "the first cluster's leader is the same"
kvmc --cluster x down
kvmc down
