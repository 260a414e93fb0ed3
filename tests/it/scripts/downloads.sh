# Downloads from a server with faults. The first argument names the case. No guest runs.
case=$1
trap 'code=$?; kill $server 2>/dev/null || true; umount "$KVMC_STATE_DIR" 2>/dev/null || true; exit $code' EXIT
ip link set lo up
# Three disks that differ by one word, with their checksum lists.
make() {
  mkdir -p "$1"; rm -f ../raw; truncate -s 6M ../raw
  printf '\125\252' | dd of=../raw bs=1 seek=510 conv=notrunc status=none
  head -c 3000000 /dev/urandom | dd of=../raw bs=1M seek=1 conv=notrunc status=none
  qemu-img convert -f raw -O qcow2 ../raw "$1/x.qcow2"
  cp ../raw "$1/y.raw"; xz -0 -k -f "$1/y.raw"; gzip -1 -k -f "$1/y.raw"; cp "$1/x.qcow2" "$1/x-arm64.qcow2"
  (cd "$1"; sha512sum x*.qcow2 y.raw* > SHA512SUMS)
}
make ../web; make ../web/other; make ../web/new
python3 "$SCRIPTS/faulty_http.py" ../web > ../requests & server=$!
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do [ -s ../requests ] && break; sleep 0.1; done
port=$(head -n 1 ../requests)
[ -n "$port" ] || fail "the server does not start"
mkdir -p "$HOME/.config/kvmc"
fault() { # a catalogue whose image x comes with a fault
  printf '[x.amd64]\nurl = "http://127.0.0.1:%s/%s/%s"\nsums = "http://127.0.0.1:%s/%s/SHA512SUMS"\n' \
    "$port" "$1" "${2:-x.qcow2}" "$port" "$1" > "$HOME/.config/kvmc/images.toml"
}
store() { find "$KVMC_STATE_DIR/images" -name image.json 2>/dev/null | wc -l; }
pull() { kvmc image pull x --arch amd64 > ../out 2>../err; }
refused() { # the pull fails with these words, and the store is as it was
  before=$(store); ! pull || fail "kvmc accepted $case"
  for word in "$@"; do grep -qF -- "$word" ../err || fail "no '$word' in: $(cat ../err)"; done
  ! grep -q panicked ../err || fail "$(cat ../err)"
  [ "$(store)" = "$before" ] || fail "$case left something in the store"
  echo "ok: $(tail -n 1 ../err)"
}
taken() { pull || fail "$case: $(cat ../err)"; [ "$(store)" = 1 ] || fail "$case: $(store) images"; kvmc image inspect "$(cat ../out)" --arch amd64 --verify >/dev/null; }
requests() { grep -c "$1" ../requests || true; }
case $case in
flipped-byte) fault flip; refused "is not what its publisher made" "expected sha512:" "got sha512:" "/flip/x.qcow2"
  fault ok; taken ;;
cut) fault cut; refused "was cut at" "run it again"
  [ -n "$(find "$KVMC_STATE_DIR/images/pulls" -name '*.part' -size +1M)" ] || fail "the received part is gone"
  # A part belongs to an address and its checksum, so the test repairs the server at the same address.
  sed -i s,/cut/,/ok/, "$HOME/.config/kvmc/images.toml"; taken ;;
resumed) fault cut-once; taken; grep -q 'cut-once/x.qcow2 bytes=[1-9][0-9]*- 206' ../requests || fail "$(cat ../requests)" ;;
reset) fault reset; refused "was cut at" ;;
html) fault html; refused "is not what its publisher made"
  ! kvmc image pull "http://127.0.0.1:$port/html/x.qcow2" --arch amd64 --insecure >../out 2>../err || fail "kvmc accepted a page"
  grep -q "it is a web page" ../err || fail "$(cat ../err)"; [ "$(store)" = 0 ] || fail "a page is in the store" ;;
wrong-sums) fault wrong-sums; refused "is not what its publisher made" ;;
short-sums) fault short-sums; refused "/short-sums/SHA512SUMS" "\`x.qcow2\` is not in the publisher's list" ;;
changed-between) fault moving; taken; cmp -s ../web/new/x.qcow2 "$(find "$KVMC_STATE_DIR/images" -name disk.qcow2)" || fail "it is the old one" ;;
no-range) fault no-range; taken; grep -q 'no-range/x.qcow2 bytes=[1-9][0-9]*- 200' ../requests || fail "$(cat ../requests)" ;;
other-part) fault other-part; refused "another part of the file than kvmc requested" ;;
redirect) fault redirect; taken; fault loop; rm -r "$KVMC_STATE_DIR"; refused "redirects" ;;
statuses) printf '[x.amd64]\nurl = "http://127.0.0.1:%s/status/404-x"\nchecksum = "sha256:%064d"\n' "$port" 0 > "$HOME/.config/kvmc/images.toml"
  refused "404 Not Found" "look at the address"
  sed -i s/404/503/ "$HOME/.config/kvmc/images.toml"; refused "503 Service Unavailable" "try again later" ;;
addresses) for words in "http://127.0.0.1:1/x|Connection refused" "file:///etc/passwd|give its path" "ftp://h/x|only http and https" "http://no-such-host.invalid/x|cannot be downloaded"; do
    printf '[x.amd64]\nurl = "%s"\nchecksum = "sha256:%064d"\n' "${words%|*}" 0 > "$HOME/.config/kvmc/images.toml"; refused "${words%|*}" "${words#*|}"; done
  ! HTTP_PROXY='::' pull || fail "kvmc accepted an invalid proxy"; grep -q "proxy in HTTP_PROXY" ../err || fail "$(cat ../err)"
  # Through a proxy, the server sees the whole address.
  printf '[x.amd64]\nurl = "http://elsewhere.invalid/ok/x.qcow2"\nchecksum = "sha512:%s"\n' "$(cut -d' ' -f1 ../web/SHA512SUMS | sed -n 2p)" > "$HOME/.config/kvmc/images.toml"
  ! HTTP_PROXY="http://127.0.0.1:1" pull || fail "kvmc ignored the proxy"; grep -q "through the proxy of HTTP_PROXY" ../err || fail "$(cat ../err)"
  ! kvmc image pull "http://127.0.0.1:$port/ok/x.qcow2" >../out 2>../err || fail "unverified"; grep -q -- "--insecure" ../err || fail "$(cat ../err)"
  kvmc image pull "http://127.0.0.1:$port/ok/x.qcow2" --arch amd64 --insecure >/dev/null 2>&1; kvmc image ls | grep -q UNVERIFIED || fail "ls does not say so" ;;
forms) for form in y.raw y.raw.xz y.raw.gz; do rm -rf "$KVMC_STATE_DIR"; fault ok $form; taken
    qemu-img convert -f qcow2 -O raw "$(find "$KVMC_STATE_DIR/images" -name disk.qcow2)" ../got; cmp ../got ../web/y.raw || fail "$form has another content"; done
  fault ok x-arm64.qcow2; refused "says arm64, but the architecture is" ;;
two-at-once) fault slow
  kvmc image pull x --arch amd64 > ../one 2>../err1 & one=$!; kvmc image pull x --arch amd64 > ../two 2>../err2 & two=$!
  wait $one || fail "$(cat ../err1)"; wait $two || fail "$(cat ../err2)"
  cmp ../one ../two || fail "they got two images"; [ "$(requests slow/x.qcow2)" = 1 ] || fail "$(cat ../requests)"; [ "$(store)" = 1 ]
  cat ../err1 ../err2 | grep -q "another kvmc downloads it" || fail "neither waited" ;;
full-disk) mkdir -p "$KVMC_STATE_DIR"; mount -t tmpfs -o size=2m none "$KVMC_STATE_DIR"; fault ok
  refused "needed in" "free; free some"; [ -z "$(find "$KVMC_STATE_DIR" -name '*.part')" ] || fail "the disk stays full"
  # The file fits packed, but not unpacked.
  mount -o remount,size=4m "$KVMC_STATE_DIR"; fault ok y.raw.xz; refused "No space left on device" ;;
interrupted) fault slow; # A shell has its background commands ignore SIGINT.
  env --default-signal=INT kvmc image pull x --arch amd64 >/dev/null 2>&1 & one=$!
  sleep 1; kill -INT $one; ! wait $one || fail "it went on"; [ "$(store)" = 0 ] || fail "half of it is in the store"
  part=$(find "$KVMC_STATE_DIR/images/pulls" -name '*.part' -size +100k); [ -n "$part" ] || fail "the received part is gone"
  taken; grep -q 'slow/x.qcow2 bytes=[1-9][0-9]*- 206' ../requests || fail "it began anew: $(cat ../requests)" ;;
refreshed) fault ok; taken; old=$(cat ../out); pull; grep -q "the newest" ../err || fail "$(cat ../err)"
  [ "$(requests ok/x.qcow2)" = 1 ] || fail "it was downloaded again"
  cp ../web/new/x.qcow2 ../web/new/SHA512SUMS ../web/; pull; [ "$(cat ../out)" != "$old" ] || fail "it is the old one"
  kvmc image inspect "$old" --arch amd64 --verify >/dev/null || fail "the old one is gone"
  kvmc image prune --all 2>&1 | grep -q freed; [ "$(store)" = 0 ] || fail "$(kvmc image ls)"; [ ! -e "$KVMC_STATE_DIR/images/pulls" ] || fail "pulls are left" ;;
signed) export GNUPGHOME=$PWD/../gpg; mkdir -m 700 "$GNUPGHOME"
  gpg --batch --quiet --passphrase '' --quick-gen-key publisher ed25519 sign never 2>/dev/null; gpg --export > ../keyring.gpg
  gpg --batch --quiet --detach-sign -o ../web/SHA512SUMS.gpg ../web/SHA512SUMS
  fault ok; printf 'signature = "http://127.0.0.1:%s/ok/SHA512SUMS.gpg"\nkeyrings = ["%s"]\n' "$port" "$(realpath ../keyring.gpg)" >> "$HOME/.config/kvmc/images.toml"
  taken; kvmc image inspect "$(cat ../out)" --arch amd64 | grep -q "signed by.*keyring.gpg" || fail "$(kvmc image inspect "$(cat ../out)")"
  echo >> ../web/SHA512SUMS; rm -r "$KVMC_STATE_DIR"; refused "signature is not good" "BAD signature"
  gpgconf --kill all ;;
*) fail "no case $case" ;;
esac
echo "ok: $case"
