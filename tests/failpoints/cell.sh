# One cell of the matrix: POINT is reached in VERB and HOW happens there; then NEXT has to bring all in order.
# After tests/it/common.sh.
uplink
left() { find "$KVMC_STATE_DIR" ../project -name '.build-*' -o -name '.freeze-*' -o -name '.making-*' -o -name '*.kvmc-new-*' 2>/dev/null || true; }
everything() { host; left; }
everything > ../before
NODES="--accel tcg $SMALL --masters 1 --workers 1 --load-balancers 0"
reached=$(cd .. && pwd)/reached
case $HOW in error) action='return(error)' ;; kill) action='return(kill)' ;; interrupt) action='sleep(2000)' ;; esac

# What a cluster keeps for life.
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
    # What only costs a frozen machine fails no `up`.
    error) case $POINT in freeze.*) ;; *) test $code != 0 || fail "the error was not told" ;; esac
      grep -q "failpoint $POINT" ../said || fail "the error is not named" ;;
    # At its last step a verb is done: then there is nothing to take back.
    interrupt) case $code in
      130) grep -q '^interrupted; ' ../said || fail "it does not say how things are" ;;
      0) ;;
      *) fail "interrupted, it ended with $code" ;;
      esac ;;
  esac
}

kept() { life > ../life 2>/dev/null || : > ../life; }

case $POINT in
  image.*) fault image build ;;
  up.*) fault up --cold $NODES; kept ;;
  freeze.*) fault up $NODES; kept ;;
  stop.*) kvmc up --cold $NODES; kept; fault stop ;;
  down.*) kvmc up --cold $NODES; : > ../life; fault down ;;
  net.*) kvmc up --cold $NODES; kept; fault $VERB; [ $VERB = stop ] || : > ../life ;;
esac
# Readers say what there is, or that there is none.
kvmc status > ../status 2>&1 || grep -q 'no cluster' ../status || fail "status: $(cat ../status)"
case $NEXT in
  up)
    case $POINT in
      image.*) kvmc image build ;;
      *)
        kvmc up --cold $NODES
        test "$(kvmc status 2>/dev/null | grep -c ready)" = 2 || fail "not ready: $(kvmc status 2>&1)"
        life > ../life.now
        # Cut short, the record may be there and not yet the keys.
        if [ -s ../life ]; then
          grep -vxFf ../life.now ../life > ../lost || true
          test ! -s ../lost || fail "changed: $(cat ../lost)"
        fi
        kvmc stop >/dev/null 2>&1 || fail stop ;;
    esac
    kvmc down ;;
  down) kvmc down ;;
esac
everything > ../after
same ../before ../after "the host after $POINT, $HOW, $NEXT"
