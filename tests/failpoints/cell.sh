# One cell of the matrix: VERB reaches POINT, where HOW happens. Then NEXT must put everything in order.
uplink
left() { find "$KVMC_STATE_DIR" ../project -name '.build-*' -o -name '.freeze-*' -o -name '.making-*' -o -name '*.kvmc-new-*' 2>/dev/null || true; }
everything() { host; left; }
# Without a bus systemd gives no scope, which the verb tells and survives.
case $POINT in up.scope) mkdir -p /run/systemd; mount -t tmpfs none /run/systemd; mkdir /run/systemd/system ;; esac
everything > ../before
NODES="--accel tcg $SMALL --masters 1 --workers 1 --load-balancers 0 --disks 1G"
reached=$(cd .. && pwd)/reached
case $HOW in error) action='return(error)' ;; kill) action='return(kill)' ;; interrupt) action='sleep(2000)' ;; esac
# Only the first time: the undo passes the same point.
case $HOW.$POINT in error.forward.*) action='1*return(error)' ;; esac

# A cluster's permanent data.
life() { grep -hE '"(address|mac|uuid|machine_id)"|BEGIN|password' "$KVMC_STATE_DIR/clusters/k80/cluster.json" "$KVMC_STATE_DIR/clusters/k80/secrets.json"; }

fault() {
  rm -f "$reached"; code=0
  FAILPOINTS="$POINT=$action" KVMC_FAILPOINTS_REACHED=$reached kvmc "$@" > ../said 2>&1 &
  pid=$!
  if [ $HOW = interrupt ]; then
    n=0
    until grep -qxF "$POINT" "$reached" 2>/dev/null; do
      n=$((n + 1)); test $n -lt 1200 || fail "$POINT was not reached: $(cat ../said)"
      kill -0 $pid 2>/dev/null || break
      sleep 0.05
    done
    kill -INT $pid 2>/dev/null || true
  fi
  wait $pid || code=$?
  cat ../said
  grep -qxF "$POINT" "$reached" || fail "$POINT was not reached"
  if grep -q panicked ../said; then fail "it panicked"; fi
  case $HOW in
    kill) test $code = 137 || fail "it was not killed: $code" ;;
    # The loss of a frozen machine does not fail `up`.
    error) case $POINT in freeze.*) ;; *) test $code != 0 || fail "kvmc did not report the error" ;; esac
      grep -q "failpoint $POINT" ../said || fail "the error does not name the failpoint" ;;
    # At its last step a verb is done, and has nothing to undo.
    interrupt) case $code in
      130) grep -q '^interrupted; ' ../said || fail "it does not say how things are" ;;
      0) ;;
      *) fail "interrupted, it ended with $code" ;;
      esac ;;
  esac
}

kept() { life > ../life 2>/dev/null || : > ../life; }
# Nodes that a change does not mean go on with the same process.
pids() { grep -h '"pid"' "$KVMC_STATE_DIR/clusters/k80/nodes/master0/process.json" "$KVMC_STATE_DIR/clusters/k80/nodes/worker0/process.json"; }
changes() { pids > ../pids; }
untouched() { [ ! -e ../pids ] || { pids > ../pids.now; same ../pids ../pids.now 'the other nodes'; }; }
grown() { test "$(od -An -t u8 --endian=big -j 24 -N 8 "$KVMC_STATE_DIR/clusters/k80/nodes/$1/disk.qcow2" | tr -d ' ')" = $((6 << 30)) || fail "the disk of $1 has not grown"; }
READY=2
COLD=--cold
# The guests go on, also where a verb was killed while it had them stopped.
stands() {
  n=0; until test "$(kvmc status 2>/dev/null | grep -c ready)" = 2 && test -z "$(find "$KVMC_STATE_DIR/clusters" -name pausing)"; do
    n=$((n + 1)); test $n -lt 100 || fail "the guests do not go on: $(kvmc status 2>&1)"; sleep 0.1
  done
}
# Every image that the record or a snapshot names is there, and no other.
images() { python3 - "$KVMC_STATE_DIR/clusters/k80" <<'PY'
import glob, json, os, sys
k = sys.argv[1]
saved = [json.load(open(p)) for p in glob.glob(k + "/snapshots/*/snapshot.json")]
assert not os.path.exists(k + "/snapshots/.saving"), "a part of a snapshot is left"
for node in json.load(open(k + "/cluster.json"))["nodes"]:
    folder = k + "/nodes/" + node["name"] + "/"
    named = {"disk.qcow2", "extra1.qcow2"}
    for chains in [node.get("chains", [])] + [s["nodes"][node["name"]]["chains"] for s in saved]:
        named.update(image for chain in chains for image in chain)
    there = {n for n in os.listdir(folder) if n.endswith(".qcow2")}
    assert there == named, (node["name"], there, named)
PY
}

# A command that goes on until the machines that stand by are loaded, or cannot be.
LOADED="n=0; until grep -qx try.loaded '$reached' || test \$n -gt 50; do n=\$((n + 1)); sleep 0.1; done"
# The QEMUs of the cluster's nodes.
qemus() { grep -hoE '"uuid": "[^"]*"' "$KVMC_STATE_DIR/clusters/k80/cluster.json" | cut -d'"' -f4 > ../uuids; cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' '\n' | grep -cxFf ../uuids || true; }
# No machine stands by for a verb that was killed, also where no other verb comes.
surplus() { n=0; until test "$(qemus)" -le 2; do n=$((n + 1)); test $n -lt 200 || fail "$(qemus) QEMUs of 2 nodes run"; sleep 0.05; done; }

FORWARDS="8080:master0:80 127.0.0.1:8081:master0:80"
# A forward exists wholly or not at all.
forwards() {
  known=$(kvmc forward ls --json | grep -c '"port"' || true)
  rules=$(nft list table inet kvmc_k80 2>/dev/null | grep -c 'dport 8080 ' || true)
  relays=$(ss -Hltn 'sport = :8081' | wc -l)
  case "$known $rules $relays" in "2 "[1-9]*" 1"|"0 0 0") ;; *) fail "of forwards $known are known; rules $rules, relays $relays" ;; esac
}
# A publisher's image, and one from a file.
disk() {
  truncate -s 6M ../raw; printf '\125\252' | dd of=../raw bs=1 seek=510 conv=notrunc status=none
  head -c 2000000 /dev/urandom | dd of=../raw bs=1M seek=1 conv=notrunc status=none
  mkdir -p ../web; qemu-img convert -f raw -O qcow2 ../raw ../web/x.qcow2
}
serve() {
  (cd ../web; exec python3 -m http.server --bind 127.0.0.1 8000 >/dev/null 2>&1) & server=$!
  trap 'code=$?; kill $server 2>/dev/null || true; kvmc down >/dev/null 2>&1 || true; exit $code' EXIT
  n=0; until ss -Hltn 'sport = :8000' | grep -q .; do n=$((n + 1)); test $n -lt 100 || fail 'no server'; sleep 0.1; done
}
URL=http://127.0.0.1:8000/x.qcow2
only_one() {
  kvmc image ls --json > ../images.json
  python3 -c 'import json; one, = json.load(open("../images.json")); print(one["id"])' > ../id || fail "images: $(cat ../images.json)"
  kvmc image inspect $(cat ../id) --verify >/dev/null
  test -z "$(find "$KVMC_STATE_DIR/images/pulls" -name '*.part' -o -name '*.mark' 2>/dev/null)" || fail "a part stays"
  test "$(find "$KVMC_STATE_DIR/images" -mindepth 1 -maxdepth 1 -name '.*' ! -name '.lock' | wc -l)" = 0 || fail "$(ls -A "$KVMC_STATE_DIR/images")"
}

case $VERB in
  start) kvmc up --cold $NODES; kept; kvmc stop; fault start --cold; VERB=done ;;
  scale) kvmc up --cold $NODES; kept; changes; fault scale workers=2 --cold; VERB=done; NODES="--workers 2"; READY=3; untouched ;;
esac
case $VERB.$POINT in
  done.*) ;;
  *.pull.*) disk; serve; fault image pull $URL --insecure ;;
  *.import.*) disk; fault image import ../web/x.qcow2 ;;
  *.forward.*) kvmc up --cold $NODES; kept; fault forward add $FORWARDS; [ $HOW != error ] || forwards ;;
  *.ssh-config.*) kvmc up --cold $NODES; kept; mount --bind ../home /root; fault ssh-config install ;;
  *.image.*) fault image build ;;
  *.up.files.folder) fault up --cold $NODES --files .kvmc; kept ;;
  *.up.*) fault up --cold $NODES; kept ;;
  *.freeze.*) fault up $NODES; kept ;;
  *.fork.gone.*) kvmc up --cold $NODES; kept; kvmc fork x; changes; fault --cluster x down; untouched; stands ;;
  *.fork.*) kvmc up --cold $NODES; kept; changes; fault fork x; untouched; stands ;;
  *.snapshot.remov*) kvmc up --cold $NODES; kept; changes; kvmc snapshot save one; fault snapshot rm one; untouched; stands ;;
  *.snapshot.*) kvmc up --cold $NODES; kept; changes; fault snapshot save one; untouched; stands ;;
  *.suspend.*) kvmc up --cold $NODES; kept; fault stop --suspend; COLD= ;;
  *.try.ended) kvmc up --cold $NODES; kept; changes; fault try --shell "$LOADED"; untouched; stands ;;
  *.try.*) kvmc up --cold $NODES; kept; changes; fault try --shell "$LOADED; exit 3"; [ $HOW != kill ] || surplus; COLD= ;;
  *.rollback.*) kvmc up --cold $NODES; kept; kvmc snapshot save one; fault snapshot rollback one; COLD= ;;
  *.grow.*) kvmc up --cold $NODES; kept; changes; fault up --cold --disk 6G; untouched ;;
  *.leave.stopped) kvmc up --cold $NODES; kept; kvmc scale workers=2 --cold; kvmc stop; fault rm worker1 ;;
  *.leave.*) kvmc up --cold $NODES; kept; kvmc scale workers=2 --cold; changes; fault rm worker1; untouched ;;
  *.stop.merged|*.stop.images) kvmc up --cold $NODES; kept; for n in a b; do kvmc snapshot save $n; kvmc snapshot rm $n; done; fault stop ;;
  *.stop.named) kvmc up --cold $NODES; kept; fault stop worker0 ;;
  *.stop.*) kvmc up --cold $NODES; kept; fault stop ;;
  *.down.*) kvmc up --cold $NODES; : > ../life; fault down ;;
  *.net.*) kvmc up --cold $NODES; kept; fault $VERB; [ $VERB = stop ] || : > ../life ;;
  *) fail "no verb is known that reaches $POINT" ;;
esac
# Verbs that only read show the cluster, or say that there is none.
kvmc status > ../status 2>&1 || grep -q 'no cluster' ../status || fail "status: $(cat ../status)"
# A fork is there as a whole, or goes.
case $NEXT.$POINT in
  up.fork.*)
    if kvmc --cluster x start 2> ../said; then
      test "$(kvmc --cluster x status 2>/dev/null | grep -c ready)" = 2 || fail "the fork: $(kvmc --cluster x status 2>&1)"
    else
      cat ../said; grep -qE 'there is no cluster|is partly removed' ../said || fail 'the fork neither starts nor is gone'
    fi ;;
esac
case $POINT in fork.*) kvmc --cluster x down ;; esac
case $NEXT in
  up)
    case $POINT in
      image.*) kvmc image build ;;
      pull.*) kvmc image pull $URL --insecure; only_one; kvmc image pull $URL --insecure ;;
      import.*) kvmc image import ../web/x.qcow2; only_one ;;
      *)
        kvmc up $COLD $NODES < /dev/null
        case $POINT in
          forward.*) forwards ;;
          grow.*) for n in master0 worker0; do grown $n; test ! -e "$KVMC_STATE_DIR/clusters/k80/nodes/$n/growing" || fail "$n still grows"; done ;;
          stop.merged|stop.images) kvmc stop; images; kvmc up --cold $NODES ;;
          try.*)
            case $HOW.$POINT in kill.try.file|kill.try.images|kill.try.record|kill.try.started|kill.try.loaded|*.try.ended) untouched ;; esac
            test ! -e "$KVMC_STATE_DIR/clusters/k80/restoring.json" || fail 'it is still to be restored'
            test -z "$(find "$KVMC_STATE_DIR/clusters" -name 'standby*')" || fail "$(find "$KVMC_STATE_DIR/clusters" -name 'standby*')"
            test "$(qemus)" = 2 || fail "$(qemus) QEMUs of 2 nodes run"
            stands; images; kvmc try --shell "$LOADED; exit 5" || test $? = 5 || fail 'no command can be tried'
            stands; images; rm ../pids ;;
          snapshot.*) untouched; kvmc snapshot save another; images; kvmc snapshot rollback another; stands; rm ../pids ;;
          rollback.*)
            test ! -e "$KVMC_STATE_DIR/clusters/k80/restoring.json" || fail 'it is still to be restored'
            kvmc snapshot rollback one; stands; images ;;
        esac
        case $POINT in
          leave.*) test ! -e "$KVMC_STATE_DIR/clusters/k80/nodes/worker1" || fail 'the removed node is left' ;;
        esac
        untouched
        test "$(kvmc status 2>/dev/null | grep -c ready)" = $READY || fail "not ready: $(kvmc status 2>&1)"
        life > ../life.now
        # After an interruption the record may exist without the keys.
        if [ -s ../life ]; then
          grep -vxFf ../life.now ../life > ../lost || true
          test ! -s ../lost || fail "changed: $(cat ../lost)"
        fi
        kvmc stop >/dev/null 2>&1 || fail stop ;;
    esac
    kvmc down ;;
  down)
    case $POINT in
      pull.*|import.*) kvmc down --all; test ! -e "$KVMC_STATE_DIR" || fail "down --all leaves $(find "$KVMC_STATE_DIR")"; mkdir "$KVMC_STATE_DIR" ;;
      *) kvmc down ;;
    esac ;;
esac
[ -z "${server:-}" ] || { kill $server; wait $server 2>/dev/null || true; }
test ! -s ../home/.ssh/config || fail "left in the user's configuration: $(cat ../home/.ssh/config)"
everything > ../after
same ../before ../after "the host after $POINT, $HOW, $NEXT"
