# Snapshots of nodes of other kinds than the usual ones: that boot cold or wake prepared, by UEFI with its variables, with 2
# vcpus, two networks and IPv6.   kinds.sh IMAGE
image=$1
uplink
ip -6 addr add 2001:db8::2/64 dev up0 nodad; ip -6 route add default via 2001:db8::1
outside ip -6 addr add 2001:db8::1/64 dev in0 nodad
sleep 2
kvmc image import "$image" -t cloud-uefi --firmware uefi > ../id
cat > kvmc.toml <<'TOML'
masters = 1
workers = 1
load_balancers = 0
accel = "tcg"
vcpus = 2
master_ram = "512M"
worker_ram = "512M"
disk = "5G"
[roles.workers]
image = "cloud-uefi"
[network]
bridge = "k80"
subnet = "192.168.80.0/24"
ipv6 = true
[[networks]]
name = "storage"
subnet = "192.168.90.0/24"
ipv6 = true
TOML
host > ../before
cat > ../count.py <<'PY'
import time
n = 0
while True:
    n += 1
    with open("/dev/shm/count", "w") as count:
        count.write("%d\n" % n)
    time.sleep(0.1)
PY
cat > ../variable.py <<'PY'
# The attributes are those of a variable that lasts and that the running system reads (UEFI 2.10, 8.2).
import fcntl, os, struct, sys
path = "/sys/firmware/efi/efivars/KvmcTest-12345678-1234-1234-1234-123456789abc"
if len(sys.argv) == 1:
    print(open(path, "rb").read()[4:].decode())
    sys.exit()
if os.path.exists(path):
    file = os.open(path, os.O_RDONLY)
    fcntl.ioctl(file, 0x40086602, struct.pack("l", 0))
    os.close(file)
file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
os.write(file, struct.pack("<I", 7) + sys.argv[1].encode())
PY
K=$KVMC_STATE_DIR/clusters/k80
nodes="master0 worker0"
say() { # say WORD: each node writes it to its disk, and the one with UEFI also to a variable
  for n in $nodes; do kvmc ssh $n -- "echo $1 > file; sync"; done
  kvmc ssh worker0 -- "sudo python3 variable.py $1"
}
says() { # says WORD WHEN
  for n in $nodes; do test "$(kvmc ssh $n -- cat file)" = $1 || fail "$2: the disk of $n says $(kvmc ssh $n -- cat file)"; done
  test "$(kvmc ssh worker0 -- sudo python3 variable.py)" = $1 || fail "$2: the variable is $(kvmc ssh worker0 -- sudo python3 variable.py)"
}
counted() { kvmc ssh $1 -- cat /dev/shm/count; }
boots() { for n in $nodes; do kvmc ssh $n -- cat /proc/sys/kernel/random/boot_id; done; }
field() { python3 -c 'import json,sys; s=json.load(open("../status")); n=next(n for n in s["nodes"] if n["name"] == sys.argv[1])["nics"][int(sys.argv[2])]; print(n[sys.argv[3]])' "$@"; }
reach() {
  kvmc status --json > ../status
  for number in 0 1; do for what in address address6; do
    to=$(field worker0 $number $what)
    kvmc ssh master0 -- "n=0; until ping -c 1 -W 2 $to >/dev/null; do n=\$((n + 1)); test \$n -lt 15 || exit 1; done" || fail "$1: master0 does not reach $to"
  done; done
}
is_back() { # is_back WHEN: all of it is as it was saved
  says one "$1"; boots > ../booted.now; same ../booted ../booted.now "$1: no node has booted"
  for n in $nodes; do
    test $(counted $n) -ge $(cat ../count.$n) || fail "$1: $n counts $(counted $n)"
    test "$(kvmc ssh $n -- nproc)" = 2 || fail "$1: the vcpus of $n"
  done
  reach "$1"; echo "ok: $1"
}
all_of_it() { # all_of_it KIND
  reach "$1"
  for n in $nodes; do
    kvmc cp ../count.py $n:count.py; kvmc cp ../variable.py $n:variable.py
    kvmc ssh $n -- 'nohup python3 count.py >/dev/null 2>&1 &'
  done
  say one; sleep 1; boots > ../booted; for n in $nodes; do counted $n > ../count.$n; done
  kvmc snapshot save one
  for round in 1 2; do say two; says two "$1"; kvmc snapshot rollback one; is_back "$1, rollback $round"; done
  kvmc try --shell "kvmc ssh worker0 -- sudo python3 variable.py two; kvmc ssh master0 -- 'echo two > file; sync'; sleep 6; exit 7" > ../said 2>&1 || true
  cat ../said; grep -q 'all is undone' ../said || fail "$1: try"
  is_back "$1, try"
  say two
  kvmc fork --from one other
  test "$(kvmc --cluster other ssh worker0 -- sudo python3 variable.py)" = one || fail "$1: the variable of the fork"
  kvmc --cluster other ssh worker0 -- sudo python3 variable.py three
  says two "$1, beside a fork"; kvmc --cluster other down
  kvmc snapshot rollback one
  kvmc stop --suspend; kvmc start; is_back "$1, suspended"
  kvmc status; kvmc snapshot rm one; kvmc down
}
test -z "$(kvmc up --cold 2>&1 | tee ../said | grep woken)" || fail 'a cold node woke'
cat ../said; all_of_it cold
kvmc up 2> ../said || { cat ../said; fail 'up'; }
cat ../said; test $(grep -c woken ../said) = 2 || fail 'a node did not wake'
all_of_it warm
host > ../after
same ../before ../after "the host after down"
