# A QEMU that cannot start: its own words, and nothing left after down.
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
if kvmc up $SMALL --masters 2 --workers 0 --load-balancers 0 --accel tcg 2> ../said; then fail "it was taken for running"; fi
cat ../said
test $(( $(date +%s) - began )) -le 12 || fail "it took too long"
grep -q 'master0: QEMU ended: exit status: 3: fake: cannot do it' ../said || fail "QEMU's own words"
kvmc status
kvmc down
host > ../after
same ../before ../after "the host after a failed up and down"

# Port 67 taken by another server: all that was made is taken back.
umount "$real"
python3 -c 'import socket,time; s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind(("0.0.0.0",67)); time.sleep(60)' &
taker=$!
sleep 1
if kvmc up $SMALL --masters 1 --workers 0 --load-balancers 0 --accel tcg 2> ../said; then fail "port 67 was taken twice"; fi
kill $taker; wait $taker 2>/dev/null || true
cat ../said
grep -q 'port 67' ../said || fail "the port is named"
host > ../after
same ../before ../after "the host after up failed half-way"
