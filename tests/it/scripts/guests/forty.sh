# Checks that forty woken nodes share nothing.
uplink
export CPU_ARCHITECTURE=amd64 MASTER_RAM=256M WORKER_RAM=256M
kvmc up --masters 1 --workers 39 --load-balancers 0 --vcpus 1 --overcommit > ../said 2>&1 || { cat ../said; exit 1; }
tail -n 3 ../said
test "$(kvmc status | grep -c ' ready ')" = 40 || fail "not all are ready: $(kvmc status)"
test "$(grep -c 'woken$' ../said)" = 40 || fail "not all woke"
# The first 32 random bytes that each node drew after it got its identity.
drawn() { sed -n 's/.*first random bytes \([0-9a-f]*\).*/\1/p' "$KVMC_STATE_DIR/clusters/k80/events.jsonl"; }
drawn > ../random
test "$(wc -l < ../random)" = 40 || fail "$(wc -l < ../random) drew random bytes"
facts='hostname; cat /etc/machine-id /proc/sys/kernel/random/boot_id /sys/class/net/eth0/address; hostname -I; cut -d" " -f1,2 /etc/ssh/ssh_host_ed25519_key.pub /etc/ssh/ssh_host_rsa_key.pub'
export ANSIBLE_HOST_KEY_CHECKING=True
ansible -i inventory all -f 4 -m raw -a "$facts" > ../facts || { cat ../facts; exit 1; }
grep -v CHANGED ../facts | grep -vE '^(Shared connection|Warning|$)' | tr -d '\r' > ../seen
test "$(wc -l < ../seen)" = 280 || fail "$(wc -l < ../seen) facts of 280"
sort ../seen ../random | uniq -d | grep . && fail "nodes share something"
echo "ok: forty nodes share nothing"
kvmc down
