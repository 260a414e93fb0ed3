# One cell of the matrix: VERB reaches POINT, where HOW happens. Then NEXT must put everything in order.
uplink
left() { find "$KVMC_STATE_DIR" ../project -name '.build-*' -o -name '.freeze-*' -o -name '.making-*' -o -name '*.kvmc-new-*' 2>/dev/null || true; }
everything() { host; left; }
everything > ../before
NODES="--accel tcg $SMALL --masters 1 --workers 1 --load-balancers 0"
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

case $VERB in start) kvmc up --cold $NODES; kept; kvmc stop; fault start --cold; VERB=done ;; esac
case $VERB.$POINT in
  done.*) ;;
  *.pull.*) disk; serve; fault image pull $URL --insecure ;;
  *.import.*) disk; fault image import ../web/x.qcow2 ;;
  *.forward.*) kvmc up --cold $NODES; kept; fault forward add $FORWARDS; [ $HOW != error ] || forwards ;;
  *.image.*) fault image build ;;
  *.up.files.folder) fault up --cold $NODES --files .kvmc; kept ;;
  *.up.*) fault up --cold $NODES; kept ;;
  *.freeze.*) fault up $NODES; kept ;;
  *.stop.*) kvmc up --cold $NODES; kept; fault stop ;;
  *.down.*) kvmc up --cold $NODES; : > ../life; fault down ;;
  *.net.*) kvmc up --cold $NODES; kept; fault $VERB; [ $VERB = stop ] || : > ../life ;;
  *) fail "no verb is known that reaches $POINT" ;;
esac
# Verbs that only read show the cluster, or say that there is none.
kvmc status > ../status 2>&1 || grep -q 'no cluster' ../status || fail "status: $(cat ../status)"
case $NEXT in
  up)
    case $POINT in
      image.*) kvmc image build ;;
      pull.*) kvmc image pull $URL --insecure; only_one; kvmc image pull $URL --insecure ;;
      import.*) kvmc image import ../web/x.qcow2; only_one ;;
      *)
        kvmc up --cold $NODES
        case $POINT in forward.*) forwards ;; esac
        test "$(kvmc status 2>/dev/null | grep -c ready)" = 2 || fail "not ready: $(kvmc status 2>&1)"
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
everything > ../after
same ../before ../after "the host after $POINT, $HOW, $NEXT"
