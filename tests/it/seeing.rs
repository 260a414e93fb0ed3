//! The verbs that only show things, on the tests' fake QEMU.

use super::fake;

/// Shell functions that the scripts below share.
const WORDS: &str = r#"
json() { python3 -c 'import json,sys; d = json.load(sys.stdin); print(eval(sys.argv[1]))' "$1"; }
K=$KVMC_STATE_DIR/clusters/k80
UP="kvmc up --accel tcg $SMALL --load-balancers 0 --masters 1 --workers 1"
keeper() { sed -n 's/.*"pid": \([0-9]*\).*/\1/p' $K/keeper.json; }
until_lines() { n=0; until test $(wc -l < $1) -ge $2; do n=$((n + 1)); test $n -lt 200 || { cat $1; fail "$1 has not $2 lines"; }; sleep 0.05; done; }
"#;

fn runs(script: &str) -> String {
    fake::runs(&fake::bench(), &format!("{WORDS}\n{script}"))
}

#[test]
fn ls_shows_every_cluster_and_what_is_wrong_with_a_record() {
    runs(
        r#"kvmc ls > ../out 2> ../said
        test ! -s ../out || fail "no cluster, but: $(cat ../out)"
        grep -q 'there is no cluster' ../said && grep -q 'kvmc up. creates a cluster' ../said || fail "$(cat ../said)"
        test "$(kvmc ls --json | json 'd["schema"], d["clusters"]')" = '(1, [])' || fail 'JSON of none'
        $UP
        kvmc ls; kvmc ls | grep -q "k80 *up *2/2 *k80 *192.168.80.0/24 *1G .*$PWD" || fail "$(kvmc ls)"
        kill -9 $(kvmc status --json | json 'd["nodes"][0]["pid"]'); sleep 0.5
        test "$(kvmc ls --json | json 'd["clusters"][0]["running"], d["clusters"][0]["nodes"]')" = '(1, 2)' || fail 'running'
        # Records of others, broken ones and remains are rows.
        for c in lost new odd; do mkdir -p $KVMC_STATE_DIR/clusters/$c; done
        echo '{' > $KVMC_STATE_DIR/clusters/odd/cluster.json
        echo '{"format": 99}' > $KVMC_STATE_DIR/clusters/new/cluster.json
        kvmc ls > ../out; cat ../out
        grep -q 'odd *damaged' ../out && grep -q 'new *foreign' ../out && grep -q 'lost *remains' ../out || fail 'the phases'
        grep -q '  odd: .*down. removes the remains' ../out && grep -q '  new: .*format 99' ../out || fail 'why'
        grep -q 'k80 *up' ../out || fail 'the whole one'
        echo '{' > $K/cluster.json
        kvmc ls | grep -q 'k80 *damaged *1/2' || fail "the copy: $(kvmc ls)"
        kvmc ls | grep -q 'doctor --fix. restores its last good copy' || fail 'the cure of the copy'
        # A mistake in kvmc.toml concerns no other cluster.
        echo 'x =' > kvmc.toml; kvmc ls | grep -q 'odd *damaged' || fail 'with a wrong kvmc.toml'; rm kvmc.toml
        kvmc doctor --fix > /dev/null 2>&1 || true
        kvmc --cluster odd down"#,
    );
}

#[test]
fn status_reads_the_rules_only_after_a_change_of_them() {
    runs(
        r#"nft=$(command -v nft)
        printf '#!/bin/sh\necho "$@" >> %s\nexec %s "$@"\n' "$PWD/../asked" $nft > ../bin/nft; chmod +x ../bin/nft
        export PATH=$PWD/../bin:$PATH
        calls() { wc -l < ../asked; }
        $UP
        # The keeper looks after the last change, and rests before the next look.
        n=0; until before=$(calls); kvmc status --json > ../out; test $(calls) = $before; do
          n=$((n + 1)); test $n -lt 100 || fail "status still runs nft: $(tail -3 ../asked)"; sleep 0.1
        done
        test "$(json 'd["firewall"]["missing"], d["doubts"]' < ../out)" = '([], [])' || fail "$(cat ../out)"
        # A keeper that has noticed nothing: it gives the answers of before, also after a change.
        cat > ../replay.py <<'PY'
import json, os, socket, sys
path = sys.argv[1]
def ask(request):
    s = socket.socket(socket.AF_UNIX); s.connect(path)
    s.sendall(json.dumps({"protocol": 2, "request": request}).encode() + b"\n")
    return s.makefile("rb").readline()
told = {request: ask(request) for request in ("board", "rules")}
assert b'"generation"' in told["rules"], told
os.rename(path, path + ".real")
listening = socket.socket(socket.AF_UNIX); listening.bind(path); listening.listen()
open("../replays", "w").close()
while True:
    connection, _ = listening.accept()
    line = connection.makefile("rb").readline()
    if line: connection.sendall(told[json.loads(line)["request"]])
    connection.close()
PY
        python3 ../replay.py $K/keeper.sock & server=$!
        n=0; until test -e ../replays; do n=$((n + 1)); test $n -lt 200 || fail 'no replay'; sleep 0.05; done
        kill -STOP $(keeper)
        unread() { before=$(calls); kvmc status --json > ../out; test $(calls) = $before || fail "$1: the rules were read"; }
        read_again() { before=$(calls); kvmc status --json > ../out; test $(calls) -gt $before || fail "$1: the rules were not read"; }
        unread 'nothing has changed'
        echo 0 > /proc/sys/net/ipv4/ip_forward; read_again 'a setting that announces no change'
        grep -q 'ip_forward is off' ../out || fail "$(cat ../out)"
        echo 1 > /proc/sys/net/ipv4/ip_forward; unread 'as before'
        $nft add table inet other; read_again 'another table'
        $nft delete table inet other; $nft delete table inet kvmc_k80; read_again 'no table of its own'
        json 'd["firewall"]["missing"]' < ../out | grep -q 'nft table inet kvmc_k80' || fail "$(cat ../out)"
        kill $server; mv $K/keeper.sock.real $K/keeper.sock; kill -CONT $(keeper)
        n=0; until kvmc status --json | json 'd["firewall"]["missing"]' | grep -qx '\[\]'; do
          n=$((n + 1)); test $n -lt 100 || fail 'the keeper has not restored the table'; sleep 0.1
        done
        # Without an answer of the keeper the rules are read.
        n=0; until before=$(calls); kvmc status > ../out; test $(calls) = $before; do n=$((n + 1)); test $n -lt 100 || fail 'not in order again'; sleep 0.1; done
        kill -STOP $(keeper); read_again 'no answer'
        kill -CONT $(keeper)"#,
    );
}

#[test]
fn status_shows_what_each_node_uses() {
    runs(
        r#"$UP
        kvmc status --wide; kvmc status --wide | head -3 | grep -q 'UPTIME .*CPU .*RSS .*PSS .*SHARED .*PRIVATE .*GROWN' || fail 'the columns'
        test "$(kvmc status | wc -L)" -le 100 || fail 'the table is too wide'
        kvmc status --json | json '[d["nodes"][0]["usage"][k] > 0 for k in ("uptime", "rss", "pss", "private", "grown")]' > ../out
        grep -q '^\[True, True, True, True, True\]$' ../out || fail "$(cat ../out): $(kvmc status --json)"
        # Without a terminal, blocks follow each other; the third has what the CPU did since the second.
        timeout 5 kvmc status --json --watch 1 > ../out && fail 'watch ended' || test $? = 124 || fail "watch ended with $?"
        python3 - <<'PY' || fail "$(cat ../out)"
import json
text, all = open("../out").read(), []
decoder = json.JSONDecoder()
while text.strip():
    value, end = decoder.raw_decode(text.lstrip())
    all.append(value); text = text.lstrip()[end:]
assert len(all) >= 3, len(all)
assert all[-1]["nodes"][0]["usage"]["cpu"] is not None
PY
        # A reader that goes away ends it.
        timeout 10 kvmc status --watch 1 | head -2 > /dev/null
        # On a terminal it redraws in place, and Ctrl-C ends it as it ends watch(1).
        timeout -s INT 3 script -qec 'kvmc status --watch 1' /dev/null < /dev/null > ../out || true
        grep -q "$(printf '\033\[2J\033\[H')" ../out || fail "no redrawing: $(cat -v ../out)"
        kvmc stop
        kvmc status | grep -q 'master0 *stopped *[0-9.]* *- ' || fail "$(kvmc status)""#,
    );
}

#[test]
fn events_are_numbered_resumed_and_follow_over_a_new_keeper() {
    runs(
        r#"code=0; kvmc events 2> ../said || code=$?; test $code = 4 || fail "without a cluster: $code"
        $UP
        kvmc events > ../all; cat ../all; grep -q '  ready ' ../all || grep -q '  ready$' ../all || fail 'no event ready'
        last=$(kvmc events --json | tail -1 | json 'd["number"]')
        test "$(kvmc events --json --since $((last - 2)) | wc -l)" = 2 || fail 'since'
        test -z "$(kvmc events --since $last)" || fail 'after the last'
        code=0; kvmc events --since $((last + 1)) 2> ../said || code=$?
        test $code = 2 && grep -q "there is no event $((last + 1)); the last one has the number $last" ../said || fail "$code: $(cat ../said)"
        # Follow: the state, then what happens.
        kvmc events -f --json > ../follow & follower=$!
        until_lines ../follow 1
        head -1 ../follow | json 'd["kind"], d["number"], [n["state"] for n in d["nodes"]]' > ../out; cat ../out
        grep -q "('state', $last, \['ready', 'ready'\])" ../out || fail 'the state'
        kill -9 $(kvmc status --json | json 'd["nodes"][0]["pid"]')
        until_lines ../follow 2
        grep -q '"event":"ended","node":"master0"' ../follow || fail "$(cat ../follow)"
        # It costs nothing at rest, with a keeper and without.
        busy() { awk '{print $14 + $15}' /proc/$follower/stat; }
        was=$(busy); sleep 2; test $(busy) = $was || fail 'it works at rest'
        kill -9 $(keeper); sleep 0.3
        was=$(busy); sleep 2; test $(busy) = $was || fail 'it works at rest without a keeper'
        # What a verb and a new keeper do is not lost.
        $UP
        n=0; until grep -q '"event":"ready","node":"master0"' ../follow; do n=$((n + 1)); test $n -lt 200 || { cat ../follow; fail 'lost'; }; sleep 0.05; done
        python3 - <<'PY' || fail "$(cat ../follow)"
import json
lines = [json.loads(line) for line in open("../follow")]
assert {line["schema"] for line in lines} == {1}
numbers = [line["number"] for line in lines if line["kind"] != "missed"]
assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), numbers
PY
        # Without a keeper, the log on disk tells the same.
        kvmc events > ../with; kvmc stop; kvmc events > ../without
        head -n $(wc -l < ../with) ../without | cmp - ../with || fail 'the log tells something else'
        # Nobody reads any more.
        kvmc start; timeout 20 kvmc events | head -1 > /dev/null
        kvmc down; wait $follower || fail 'it ended with an error'
        "#,
    );
}

/// A reader that stands still stops neither the keeper nor a verb, and learns what it missed.
#[test]
fn a_slow_reader_of_events_stops_nothing_and_learns_what_it_missed() {
    runs(
        r#"$UP
        mkfifo ../slow; sleep 100 < ../slow & reader=$!
        kvmc events -f --since 0 --json > ../slow & follower=$!
        sleep 0.3; kill -STOP $follower
        kvmc stop; kvmc start
        # More events than are kept, as if months had passed: the log begins later.
        kill -9 $(keeper); sleep 0.2
        python3 - $K/events.jsonl <<'PY'
import json, sys
lines = open(sys.argv[1]).read().splitlines()
last = json.loads(lines[-1])
with open(sys.argv[1], "w") as log:
    for number in range(last["number"] + 1000, last["number"] + 1010):
        log.write(json.dumps(dict(last, number=number)) + "\n")
PY
        rm -f $K/events.jsonl.old
        timeout 60 $UP || fail 'a slow reader stops up'
        kill $follower; kill -CONT $follower; kill $reader; wait $follower $reader || true
        kvmc events --since 3 --json > ../out; head -2 ../out
        head -1 ../out | grep -q '"kind":"missed","from":4,"to":' || fail 'the gap is not told'
        kvmc events --since 3 | head -1 | grep -q '^events 4 to [0-9]* are not kept any more$' || fail 'the gap in words'"#,
    );
}

#[test]
fn df_says_what_prune_gives_back() {
    let bench = fake::bench();
    fake::own_images(&bench);
    let script = r#"$UP
        kvmc df > ../out; cat ../out
        grep -q '^image ' ../out && grep -q '^frozen .* k80' ../out && grep -q '^node *k80/master0 ' ../out && grep -q '^cluster *k80 ' ../out || fail 'the rows'
        bytes() { kvmc df --json | json "$1"; }
        test $(bytes 'd["total"] == sum(r["allocated"] for r in d["rows"])') = True || fail 'the sum'
        test $(bytes '[r for r in d["rows"] if r["kind"] == "node"][0]["shared"] > 0') = True || fail 'shared'
        test $(bytes 'd["prune_all"]') = 0 || fail 'it is in use'
        # It is what du says, but for files that change meanwhile.
        du=$(du -s -B1 $KVMC_STATE_DIR | cut -f1); total=$(bytes 'd["total"]')
        test $((du - total)) -lt 400000 && test $((total - du)) -lt 400000 || fail "du says $du, df says $total"
        kvmc down
        frees=$(bytes 'd["prune_all"]'); before=$(bytes 'd["total"]')
        test $frees -gt 0 && test $(bytes 'd["prune"]') = 0 || fail 'after down'
        kvmc image prune --all
        test $(bytes 'd["prune_all"]') = 0 || fail 'all is gone'
        test $((before - $(bytes 'd["total"]'))) -ge $frees || fail 'it gave back less'"#;
    fake::runs(&bench, &format!("{WORDS}\n{script}"));
}

#[test]
fn top_shows_obeys_and_leaves_the_terminal_as_it_was() {
    runs(
        r#"$UP 2> /dev/null
        code=0; kvmc top > ../out 2> ../said < /dev/null || code=$?
        test $code = 2 && test ! -s ../out || fail "without a terminal: $code"
        grep -q 'needs a terminal' ../said && grep -q 'kvmc status --watch. shows' ../said && grep -q 'code: needs-terminal' ../said || fail "$(cat ../said)"
        code=0; script -qec 'kvmc --cluster nobody top' /dev/null < /dev/null > ../out 2>&1 || code=$?
        test $code = 4 && grep -q 'there is no cluster .nobody' ../out || fail "$code: $(cat ../out)"
        TERM=xterm python3 $SCRIPTS/top.py
        "#,
    );
}

/// Errors of real runs end with their code, and `explain` knows each.
#[test]
fn errors_end_with_a_code_that_is_explained() {
    runs(
        r#"is() { code=$1; shift; "$@" > ../out 2> ../said && fail "no error: $*" || true
          grep -q "^  code: $code (.kvmc explain $code.)\$" ../said || fail "$*: $(cat ../said)"
          test "$(tail -1 ../said)" = "$(grep '^  code: ' ../said)" || fail "the code is not last: $(cat ../said)"
          kvmc explain $code > ../out; head -1 ../out | grep -qx $code || fail "explain $code: $(cat ../out)"; }
        is no-such-cluster kvmc status
        is no-such-cluster kvmc ssh master0
        is bad-cluster-name kvmc --cluster 'A b' up
        is size-without-unit kvmc up --master-ram 5
        is ram-out-of-range kvmc up --master-ram 1M
        is disk-out-of-range kvmc up --disk 1M
        is not-a-number kvmc up --masters x
        is no-master kvmc up --masters 0
        is unknown-accelerator kvmc up --accel x
        is bad-subnet kvmc up --subnet 300.1.1.1
        is bad-forward kvmc up --forward x
        is forward-to-nobody kvmc up --forward 1:nobody:1
        is bad-scale kvmc scale workers
        is needs-terminal kvmc top
        echo 'x = 1' > kvmc.toml; is unknown-key kvmc up; rm kvmc.toml
        printf '\377' > kvmc.toml; is cluster-file-unreadable kvmc up; rm kvmc.toml
        echo x > inventory; is file-in-the-way $UP; rm inventory
        $UP 2> /dev/null
        is no-such-node kvmc ssh nobody
        is no-such-node kvmc exec nobody -- true
        is no-such-forward kvmc forward rm 9
        is no-such-event kvmc events --since 9999
        is bad-time kvmc logs --since yesterday
        is settings-cannot-change $UP --subnet 10.9.9.0/24
        is needs-consent kvmc scale workers=0
        is no-nodes kvmc rm master0 worker0
        python3 -m http.server 9797 > /dev/null 2>&1 & server=$!
        n=0; until ss -ltn | grep -q :9797; do n=$((n + 1)); test $n -lt 100 || fail 'no server'; sleep 0.05; done
        is port-in-use kvmc forward add 9797:master0:80
        kill $server; wait $server || true
        echo '{' > plan; is not-a-plan kvmc up plan; rm plan
        cp $K/cluster.json ../record; echo '{' > $K/cluster.json; is record-damaged kvmc stop; cp ../record $K/cluster.json
        exec 9> $K/lock; flock 9; is cluster-locked kvmc stop; exec 9>&-
        # All of them, as text and as JSON, and a mistake.
        test "$(kvmc explain | tail -n +2 | wc -l)" = "$(kvmc explain --json | json 'len(d["codes"])')" || fail 'the list'
        kvmc explain port-in-use --json | json 'd["schema"], d["codes"][0]["code"]' | grep -q "(1, 'port-in-use')" || fail 'JSON'
        code=0; kvmc explain port-in-us 2> ../said || code=$?
        test $code = 2 && grep -q 'unknown error code .port-in-us.; did you mean .port-in-use' ../said || fail "$(cat ../said)"
        # An interruption is no error and has none.
        kvmc down"#,
    );
}

#[test]
fn steps_are_told_and_a_support_file_has_no_secrets() {
    runs(
        r##"kvmc version; kvmc version | grep -qE '^kvmc [0-9.]+( \([0-9a-f]{12}\))?$' || fail 'the version'
        test "$(kvmc --version)" = "$(kvmc version | head -1)" || fail "$(kvmc --version)"
        kvmc version --json | json 'd["schema"], d["version"]' | grep -q "(1, '" || fail 'JSON'
        # Secrets of the user: in user data, in variables, in a proxy, and in what a guest prints.
        printf '#cloud-config\npassword: Sommer2026!\nwrite_files:\n - content: "api_token=tok-4711-abcdef"\nruncmd:\n - echo ghp_16C7e42F292c6912E7\n' > user
        printf '[roles.masters]\ncount = 1\n[roles.masters.vars]\ndb = "geheim-4711"\n[roles.workers]\ncount = 1\n' > kvmc.toml
        mkdir -p $KVMC_STATE_DIR
        kvmc --verbose up --accel tcg $SMALL > ../out 2> ../said || { cat ../said; fail 'up'; }
        grep -qE '^\[ +[0-9.]+ s\] .*bridge k80' ../said && test ! -s ../out || fail "$(cat ../said)"
        if grep -q 'asked the keeper' ../said; then fail 'requests are told'; fi
        HTTPS_PROXY=http://me:proxy-pw-99@proxy:3128 kvmc --debug --quiet exec master0 -- true > /dev/null 2> ../said || true
        kvmc --debug status > /dev/null 2> ../said; grep -q 'asked the keeper' ../said || fail "$(cat ../said)"
        test "$(stat -c %a $KVMC_STATE_DIR/kvmc.log)" = 600 && grep -q 'ends with 0' $KVMC_STATE_DIR/kvmc.log || fail 'the log'
        kvmc status > /dev/null 2> ../said; test ! -s ../said || fail "without a flag: $(cat ../said)"
        cp user $K/user-data.masters
        node=$K/nodes/master0
        { cat user; python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["password"])' $K/secrets.json; cat id_rsa; echo 'via http://me:proxy-pw-99@proxy:3128/'; echo 'an ordinary line'; } >> $node/console.log
        echo 'login secret=from-qemu-1' >> $node/qemu.log
        kvmc support > ../out 2> ../said; test "$(cat ../out)" = kvmc-support.tar.gz && grep -q 'read it before' ../said || fail "$(cat ../out ../said)"
        test "$(stat -c %a kvmc-support.tar.gz)" = 600 || fail 'others may read it'
        code=0; kvmc support 2> ../said || code=$?; test $code = 1 && grep -q 'kvmc-support.tar.gz cannot be made' ../said || fail "it replaces a file: $(cat ../said)"
        kvmc support --out ../two.tar.gz --json | json 'd["schema"], "cluster/cluster.json" in d["files"]' | grep -q '(1, True)' || fail 'JSON'
        mkdir ../packed; tar -xzf kvmc-support.tar.gz -C ../packed; find ../packed -type f
        for file in versions.txt doctor.json status.json kvmc.log cluster/cluster.json cluster/events.jsonl cluster/keeper.log cluster/nodes/master0/console.log cluster/nodes/master0/qemu.log; do
          test -s ../packed/kvmc-support/$file || test $file = cluster/keeper.log || fail "no $file"
        done
        grep -q '^kvmc ' ../packed/kvmc-support/versions.txt && grep -q '^kernel ' ../packed/kvmc-support/versions.txt || fail 'versions'
        grep -q 'an ordinary line' ../packed/kvmc-support/cluster/nodes/master0/console.log || fail 'too much is removed'
        grep -q '"name": "master0"' ../packed/kvmc-support/cluster/cluster.json || fail 'the record says nothing'
        python3 - $K/secrets.json > ../secrets <<'PY'
import json, sys
def lines(value):
    if isinstance(value, str):
        yield from value.splitlines()
    elif isinstance(value, dict):
        for one in value.values():
            yield from lines(one)
    elif isinstance(value, list):
        for one in value:
            yield from lines(one)
found = {line for line in lines(json.load(open(sys.argv[1]))) if not line.startswith("-----")}
assert len(found) > 10
print("\n".join(sorted(line for line in found if len(line) >= 4)))
PY
        printf '%s\n' 'Sommer2026!' tok-4711-abcdef ghp_16C7e42F292c6912E7 geheim-4711 proxy-pw-99 from-qemu-1 >> ../secrets
        grep -v BEGIN id_rsa | grep -v END >> ../secrets
        if grep -rF -f ../secrets ../packed; then fail 'a secret is in the archive'; fi
        # Every secret was there to be removed.
        for secret in 'Sommer2026!' tok-4711-abcdef ghp_16C7e42F292c6912E7 proxy-pw-99; do grep -qF -e "$secret" $node/console.log || fail "$secret was not tried"; done
        kvmc down
        # Without a cluster there is still the host.
        kvmc support --out ../three.tar.gz 2> /dev/null; tar -tzf ../three.tar.gz | grep -q status.txt || fail 'without a cluster'"##,
    );
}

#[test]
fn doctor_finds_the_network_asks_mends_and_takes_back() {
    runs(
        r#"code=0; kvmc doctor --undo 2> ../said || code=$?
        test $code = 4 && grep -q 'kvmc doctor --fix. has done nothing on this host' ../said || fail "undo of nothing: $code: $(cat ../said)"
        kvmc doctor > ../out; cat ../out
        for check in QEMU nft ssh tun rights vhost-net nested memory disk forwarding VPN range ports firewall; do grep -q "^$check " ../out || fail "no $check"; done
        grep -q '^nft *ok *[0-9.]*, /' ../out || fail 'no version'
        grep -q '^range *ok *192.168.80.0/24 is free' ../out || fail 'the range'
        ip tuntap add tun9 mode tun; ip link set tun9 up; ip address add 192.168.80.77/24 dev up0
        kvmc doctor --json > ../out || true
        python3 - <<'PY' || fail "$(cat ../out)"
import json
report = json.load(open("../out"))
assert report["schema"] == 1
found = {f["check"]: f for f in report["findings"]}
assert found["range"]["verdict"] == "warning" and "overlaps" in found["range"]["what"], found["range"]
assert "is free; choose it with --subnet" in found["range"]["cure"], found["range"]
assert "tun9" in found["VPN"]["what"], found["VPN"]
PY
        ip address del 192.168.80.77/24 dev up0; ip link del tun9
        # A package manager and its database, which know what they were told.
        db=$(cd ..; pwd)/db; printf 'base installed\n' > $db
        printf '#!/bin/sh\ncase $1 in install) echo "$@" >> '$db'.asked; printf "sshpass installed\\nlibpass installed\\n" >> '$db';; esac\n' > ../bin/apt-get
        printf '#!/bin/sh\ncat '$db'\n' > ../bin/dpkg-query
        printf '#!/bin/sh\necho "$@" >> '$db'.removed; test ! -e '$db'.refuse || { echo "x depends on sshpass" >&2; exit 1; }; printf "base installed\\n" > '$db'\n' > ../bin/dpkg
        printf '#!/bin/sh\necho "ansible [core 2.18.9]"\n' > ../bin/ansible
        chmod +x ../bin/*
        mount --bind /dev/null /usr/bin/sshpass 2>/dev/null || true
        kvmc doctor | grep -q 'sshpass .*warning' || fail 'sshpass is not missing'
        # At a terminal it asks first.
        code=0; printf 'n\n' | script -qec 'kvmc doctor --fix' /dev/null > ../said 2>&1 || code=$?
        grep -q 'mend what is missing.*y/N' ../said && grep -q 'nothing was changed' ../said && test ! -e $db.asked || fail "$code: $(cat ../said)"
        kvmc doctor --fix > ../said 2>&1 || true; grep -q 'install .*sshpass' $db.asked || fail "$(cat ../said)"
        json 'd["packages"]' < $KVMC_STATE_DIR/fixes.json | grep -qx "\['libpass', 'sshpass'\]" || fail "$(cat $KVMC_STATE_DIR/fixes.json)"
        # What others need stays, and stays noted.
        touch $db.refuse; code=0; kvmc doctor --undo > ../said || code=$?
        test $code = 1 && grep -q 'packages *remains .*x depends on sshpass' ../said || fail "$code: $(cat ../said)"
        rm $db.refuse; kvmc doctor --undo > ../said || fail "$(cat ../said)"
        grep -q 'packages *mended *removed libpass sshpass' ../said && tail -1 $db.removed | grep -qx -e '--remove libpass sshpass' || fail "$(cat ../said) $(cat $db.removed)"
        test ! -e $KVMC_STATE_DIR/fixes.json || fail 'it is still noted'
        umount /usr/bin/sshpass 2>/dev/null || true"#,
    );
}

#[test]
fn verbs_that_change_a_cluster_report_in_json() {
    runs(
        r#"is() { expected=$1; shift; got=$(json "$@" < ../out) || { cat ../out ../said; fail "no JSON"; }; test "$got" = "$expected" || fail "$got: $(cat ../out)"; }
        $UP --dry-run --json > ../out; is "(1, 'k80', True)" 'd["schema"], d["cluster"], d["is_new"]'
        $UP --json > ../out 2> ../said
        is "(1, 2, ['master0', 'worker0'], True)" 'd["schema"], d["nodes"], sorted(d["outcome"]["done"]["started"]), d["took"] > 0'
        grep -q 'all ready in' ../said || fail "the words are gone: $(cat ../said)"
        $UP --json > ../out 2> ../said; is nothing-to-do 'd["outcome"]'
        kvmc config --json > ../out; is "(1, 'k80')" 'd["schema"], [s["value"] for s in d["settings"] if s["key"] == "cluster"][0]'
        kvmc logs --json > ../out; head -1 ../out > ../line; cp ../line ../out
        is "[1, 'keeper']" '[d["schema"], "keeper" if d["source"] in ("keeper", "console", "qemu") else d]'
        kvmc restart worker0 --json > ../out 2> ../said; is "['worker0']" 'd["outcome"]["done"]["started"]'
        kvmc scale workers=2 --json > ../out 2> ../said; is "['worker1']" 'd["outcome"]["done"]["started"]'
        kvmc rm worker1 --json > ../out 2> ../said; is "['worker1']" 'd["outcome"]["done"]["removed"]'
        kvmc stop --json > ../out 2> ../said
        is "(1, False, ['master0', 'worker0'], [])" 'd["schema"], d["was_stopped"], sorted(n["node"] for n in d["nodes"]), d["errors"]'
        json '[n["stop"]["clean"] >= 0 for n in d["nodes"]]' < ../out > /dev/null || fail "$(cat ../out)"
        kvmc stop --json > ../out 2> ../said; is True 'd["was_stopped"]'
        kvmc start --json > ../out 2> ../said; is 2 'len(d["outcome"]["done"]["started"])'
        kvmc down --json > ../out 2> ../said; is "(1, 'cluster', 2, [])" 'd["schema"], d["found"], d["killed"], d["errors"]'
        kvmc down --json > ../out 2> ../said; is nothing 'd["found"]'
        # The shapes of all of them are known.
        for verb in up stop down status events doctor logs; do kvmc schema --of $verb > ../out; is object 'd["type"]'; done
        code=0; kvmc schema --of ssh 2> ../said || code=$?
        test $code = 2 && grep -q 'is no verb whose shape is known; expected up, start' ../said || fail "$code: $(cat ../said)"
        kvmc schema > ../out; is True '"properties" in d'"#,
    );
}
