# A QEMU that cannot start: kvmc quotes it, and down leaves nothing.
uplink
host > ../before
real=$(command -v qemu-system-x86_64)
cat > ../fake <<'FAKE'
#!/bin/sh
echo "fake: cannot do it" >&2
exit 3
FAKE
chmod 755 ../fake; chmod 755 ..
mount --bind ../fake "$real"
began=$(date +%s)
if kvmc up $SMALL --masters 2 --workers 0 --load-balancers 0 --accel tcg 2> ../said; then fail "up did not fail"; fi
cat ../said
test $(( $(date +%s) - began )) -le 12 || fail "it took too long"
grep -q 'master0: QEMU ended: exit status: 3: fake: cannot do it' ../said || fail "the error does not quote QEMU"
kvmc status
kvmc down
host > ../after
same ../before ../after "the host after a failed up and down"

# Another server has port 67: up undoes everything.
umount "$real"
python3 -c 'import socket,time; s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind(("0.0.0.0",67)); time.sleep(60)' &
taker=$!
sleep 1
if kvmc up $SMALL --masters 1 --workers 0 --load-balancers 0 --accel tcg 2> ../said; then fail "up did not fail"; fi
kill $taker; wait $taker 2>/dev/null || true
cat ../said
grep -q 'port 67' ../said || fail "the error does not name the port"
host > ../after
same ../before ../after "the host after up failed half-way"
