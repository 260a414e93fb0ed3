//! The doors for programs, `mcp` and `serve`, on the tests' fake QEMU.

use super::fake;

fn runs(script: &str) {
    fake::runs(&fake::bench(), script);
}

/// Speaks the Model Context Protocol with `kvmc mcp`, line by line.
const MCP: &str = r#"cat > ../mcp.py <<'PY'
import json, subprocess, sys
class Client:
    def __init__(self, *words):
        self.server = subprocess.Popen(["kvmc", *words, "mcp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.last = 0
    def send(self, **message):
        self.server.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n"); self.server.stdin.flush()
    def wait(self, id):
        while True:
            line = self.server.stdout.readline()
            assert line, "the server ended"
            answer = json.loads(line)
            if answer.get("id") == id: return answer
    def ask(self, method, **params):
        self.last += 1
        self.send(id=self.last, method=method, params=params)
        return self.wait(self.last)
    def begin(self):
        answer = self.ask("initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo={"name": "test", "version": "1"})
        self.send(method="notifications/initialized")
        return answer["result"]
    def call(self, name, **arguments):
        answer = self.ask("tools/call", name=name, arguments=arguments)
        if "error" in answer: return answer["error"]
        result = answer["result"]
        assert json.loads(result["content"][0]["text"]) == result["structuredContent"] if "structuredContent" in result else True
        return result
    def end(self):
        self.server.stdin.close(); assert self.server.wait(20) == 0, "exit"
PY
"#;

#[test]
fn the_model_context_protocol_lists_and_calls_every_tool() {
    runs(&format!(
        "{MCP}{}",
        r#"cat > ../test.py <<'PY'
import sys; sys.path.insert(0, "..")
from mcp import Client
c = Client()
began = c.begin()
assert began["serverInfo"]["name"] == "kvmc" and "tools" in began["capabilities"], began
tools = {t["name"]: t for t in c.ask("tools/list")["result"]["tools"]}
assert 0 < len(tools) <= 10, tools
destroys = {n for n, t in tools.items() if t["annotations"]["destructiveHint"]}
reads = {n for n, t in tools.items() if t["annotations"]["readOnlyHint"]}
assert destroys == {"stop", "exec", "down"}, destroys
assert reads == {"clusters", "status", "events", "logs", "plan"}, reads
for tool in tools.values():
    assert tool["description"] and tool["inputSchema"]["type"] == "object", tool
small = {"masters": 1, "workers": 1, "load_balancers": 0, "vcpus": 1, "master_ram": "512M", "worker_ram": "512M", "accel": "tcg"}
def fine(name, **arguments):
    result = c.call(name, **arguments)
    assert not result.get("isError") and "code" not in result, (name, result)
    return result["structuredContent"]
assert fine("clusters")["report"]["clusters"] == []
nothing = c.call("status")
assert nothing["isError"] and nothing["structuredContent"]["exit"] == 4 and "kvmc up" in nothing["structuredContent"]["messages"], nothing
plan = fine("plan", settings=small); assert plan["exit"] == 2 and plan["report"], plan
up = fine("up", settings=small); assert "all ready" in up["messages"] + str(up["report"]), up
assert fine("clusters")["report"]["clusters"][0]["running"] == 2
assert [n["state"] for n in fine("status")["report"]["nodes"]] == ["ready"] * 2
events = fine("events", since=1)["report"]; assert isinstance(events, list) and events[0]["number"] == 2, events
fine("logs", lines=3, nodes=["worker0"])
# A node without a real sshd fails, and says so.
command = c.call("exec", nodes=["worker0"], command="true", timeout=1); assert command["isError"], command
fine("stop", nodes=["worker0"]); fine("start", nodes=["worker0"])
fewer = c.call("up", settings=dict(small, workers=0)); assert fewer["isError"] and "--yes" in fewer["structuredContent"]["messages"], fewer
# What is wrong with a call is said.
for name, arguments, words in [("status", {"x": 1}, "unknown argument `x`"), ("stop", {"nodes": ["--timeout=0"]}, "not a name"), ("exec", {}, "`command` is missing"), ("status", {"cluster": "-x"}, "cluster")]:
    wrong = c.call(name, **arguments); assert words in wrong["content"][0]["text"], wrong
assert "unknown verb `nope`" in c.call("nope")["message"]
assert fine("down")["exit"] == 0
assert fine("clusters")["report"]["clusters"] == []
c.end()
# A client that goes away interrupts what runs, and nothing is left.
c = Client("--cluster", "gone"); c.begin()
c.send(id=99, method="tools/call", params={"name": "up", "arguments": {"settings": small}})
import time, subprocess, os
folder = os.environ["KVMC_STATE_DIR"] + "/clusters/gone"
for _ in range(400):
    if os.path.exists(folder + "/cluster.json"): break
    time.sleep(0.01)
c.server.stdin.close(); assert c.server.wait(20) == 0
subprocess.run(["kvmc", "--cluster", "gone", "--wait", "60", "down"], check=True)
PY
        # On a slow node the verb is still at work when its client goes.
        echo 'master0 boot 1500' > ../bin/script
        python3 -B ../test.py || fail 'the test'
        test -z "$(kvmc ls --json | grep '"name"')" || fail 'a cluster is left'"#
    ));
}

#[test]
fn a_server_on_a_socket_answers_programs_until_it_is_told_to_end() {
    runs(
        r#"s=../kvmc.sock
        kvmc serve --socket $s & server=$!
        n=0; until test -S $s; do n=$((n + 1)); test $n -lt 200 || fail 'no socket'; sleep 0.05; done
        test "$(stat -c %a $s)" = 600 || fail "the socket's mode"
        kvmc serve --socket $s 2> ../said && fail 'a second server' || grep -q 'another program serves' ../said || fail "$(cat ../said)"
        touch ../file; kvmc serve --socket ../file 2> ../said && fail 'over a file' || grep -q 'is not a socket' ../said || fail "$(cat ../said)"
        cat > ../test.py <<'PY'
import json, os, socket, subprocess, sys, threading
def connect():
    s = socket.socket(socket.AF_UNIX); s.settimeout(60); s.connect("../kvmc.sock"); return s, s.makefile("rwb")
def ask(f, verb, v=1, **arguments):
    f.write(json.dumps({"v": v, "id": verb, "verb": verb, "arguments": arguments}).encode() + b"\n"); f.flush()
    return json.loads(f.readline())
s, f = connect()
verbs = ask(f, "verbs")["result"]
assert {v["verb"] for v in verbs if v["destroys"]} == {"stop", "exec", "down"}, verbs
assert ask(f, "status")["result"]["exit"] == 4
small = {"masters": 1, "workers": 1, "load_balancers": 0, "vcpus": 1, "master_ram": "512M", "worker_ram": "512M", "accel": "tcg"}
assert ask(f, "up", settings=small)["result"]["exit"] == 0
assert ask(f, "status")["result"]["report"]["nodes"][0]["state"] == "ready"
# Events as they happen, on a connection of their own.
t, g = connect()
state = ask(g, "follow"); assert state["event"]["kind"] == "state" and state["id"] == "follow", state
assert ask(f, "stop", nodes=["worker0"])["result"]["exit"] == 0
event = json.loads(g.readline())["event"]; assert event["number"] == state["event"]["number"] + 1, event
# Mistakes are answered, and the connection goes on.
assert "another version than 1" in ask(f, "status", v=2)["error"]
assert "unknown verb `nope`" in ask(f, "nope")["error"]
f.write(b"nonsense\n"); f.flush(); assert "not JSON" in json.loads(f.readline())["error"]
assert ask(f, "clusters")["result"]["exit"] == 0
# A program that closes its side after the request has its answer.
u, h = connect(); h.write(b'{"v":1,"verb":"clusters"}\n'); h.flush(); u.shutdown(socket.SHUT_WR)
assert json.loads(h.readline())["result"]["exit"] == 0 and h.readline() == b""
# A line without an end is bounded.
u, h = connect()
try:
    h.write(b"x" * 200000); h.flush()
except (BrokenPipeError, ConnectionResetError): pass
try: assert b"longer than 65536 bytes" in h.readline()
except ConnectionResetError: pass
# So are connections. Those before go on.
many = [connect() for _ in range(40)]
refused = 0
for m, k in many:
    m.settimeout(0.2)
    try: refused += b"connections already" in k.readline()
    except TimeoutError: pass
assert 5 <= refused <= 20, refused
for m, k in many: k.close(); m.close()
assert ask(f, "clusters")["result"]["exit"] == 0
assert ask(f, "down")["result"]["exit"] == 0
# With the cluster, its events end.
while True:
    last = json.loads(g.readline())
    if "event" not in last: break
assert last["result"]["exit"] == 0, last
PY
        python3 -B ../test.py || fail 'the test'
        # Another user is refused by the socket's mode, and at the door if he has come that far.
        chmod 666 $s; chmod 755 ..
        setpriv --reuid 65534 --regid 65534 --clear-groups python3 -c '
import socket; s = socket.socket(socket.AF_UNIX); s.connect("../kvmc.sock"); print(s.makefile().readline())' > ../said
        grep -q 'user 65534 may not use the socket of user 0' ../said || fail "$(cat ../said)"
        kill $server; wait $server || fail 'the end'
        test ! -e $s || fail 'the socket is left'
        # The socket of a server that was killed is replaced.
        kvmc serve --socket $s & server=$!; n=0; until test -S $s; do sleep 0.05; done
        kill -9 $server; wait $server || true; test -S $s || fail 'no socket to replace'
        kvmc serve --socket $s & server=$!; sleep 0.5
        python3 -c '
import socket; s = socket.socket(socket.AF_UNIX); s.connect("../kvmc.sock"); f = s.makefile("rw"); f.write("{\"v\":1,\"verb\":\"verbs\"}\n"); f.flush(); print(f.readline())' | grep -q result || fail 'the new server'
        kill $server; wait $server || true"#,
    );
}
