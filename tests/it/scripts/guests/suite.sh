# A template of a suite other than the default, already in the store: its node wakes, works and boots by itself.
# suite.sh SUITE PRETTY_NAME
suite=$1 name=$2
uplink
host > ../before
up="kvmc up $SMALL --suite $suite --masters 1 --workers 0 --load-balancers 0"
$up --dry-run | grep -q 'build the template' && fail "there is no template of $suite"
$up 2> ../said || { cat ../said; fail "up"; }
cat ../said
grep -q 'master0 *woken' ../said || fail "it was not woken"
works() {
  test "$(ansible -i inventory all -m ping | grep -c SUCCESS)" = 1 || fail "$1: ansible ping"
  kvmc ssh master0 -- '. /etc/os-release; echo "$PRETTY_NAME"; sudo -n id -u; hostname -f; systemctl is-enabled ssh.socket' > ../is || true
  grep -q "^$name" ../is || fail "$1: it is $(cat ../is)"
  test "$(sed -n 2,4p ../is | tr '\n' ' ')" = "0 master0.k80.internal masked " || fail "$1: it is $(cat ../is)"
  # All started units have succeeded.
  kvmc ssh master0 -- 'systemctl is-system-running --wait' | grep -qx running ||
    fail "$1: $(kvmc ssh master0 -- systemctl --failed --no-legend)"
  echo "ok: $1"
}
works woken
leave_work master0
kvmc stop; kvmc start
is_worked_on master0
works "after stop and start"
kvmc down
host > ../after
same ../before ../after "the host after down"
