"""Opens sessions of `kvmc ssh` in pseudo-terminals and without one, and looks at what a rollback does to them. The fork x and
the snapshot a are there, and a fake ssh that goes on until SIGTERM."""

import json
import os
import pty
import re
import select
import subprocess
import time


class Session:
    """A session in a terminal of its own."""

    def __init__(self, *words):
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.execvp("kvmc", ["kvmc", *words])
        self.seen = b""
        self.until(b"on master")

    def read(self, seconds):
        """Reads for so long, or until the terminal has no other end."""
        end = time.time() + seconds
        while (left := end - time.time()) > 0 and select.select([self.terminal], [], [], left)[0]:
            try:
                more = os.read(self.terminal, 4096)
            except OSError:
                return
            if not more:
                return
            self.seen += more

    def until(self, words):
        end = time.time() + 20
        while words not in self.seen:
            assert time.time() < end, f"no {words!r} in {self.seen!r}"
            self.read(0.1)

    def ended(self):
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)

    def runs(self):
        return os.waitpid(self.pid, os.WNOHANG) == (0, 0)

    def is_told(self, what, again):
        line = f"kvmc: {what}; this session has ended, and `{again}` opens another"
        self.until(b"opens another")
        self.read(0.2)
        shown = self.seen.decode()
        assert shown.count("kvmc:") == 1 and line in shown, shown
        assert re.search(r"\r+\n$", shown) and "\x1b" not in shown, repr(shown)
        assert self.ended() == 255


def kvmc(*words):
    done = subprocess.run(["kvmc", *words], capture_output=True, text=True)
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout, done.stderr


state = os.environ["KVMC_STATE_DIR"] + "/clusters"
first, fork = Session("ssh", "master0"), Session("--cluster", "x", "ssh", "master0")
command = subprocess.Popen(
    ["kvmc", "ssh", "worker0", "--", "work"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
)
assert command.stdout.readline() == b"on worker0\n"
assert len(os.listdir(state + "/k80/sessions")) == 2, os.listdir(state + "/k80/sessions")
# A file of a process that has ended, whose terminal is another session's now.
left = json.load(open(f"{state}/x/sessions/{fork.pid}.json"))
left["process"]["start_time"] -= 1
json.dump(left, open(f"{state}/k80/sessions/{fork.pid}.json", "w"))
# A session whose terminal is another one's now.
silent = f"{state}/k80/sessions/{command.pid}.json"
moved = json.load(open(silent))
assert moved["terminal"] is None, moved
json.dump(moved | {"terminal": left["terminal"]}, open(silent, "w"))

_, said = kvmc("snapshot", "rollback", "a")
assert "2 sessions of ssh have ended, 1 without a terminal that tells so" in said, said
first.is_told("cluster `k80` went back to snapshot `a`", "kvmc ssh master0")
assert command.wait(10) == 255
fork.read(0.5)
assert fork.runs() and b"kvmc" not in fork.seen, fork.seen
assert os.listdir(state + "/k80/sessions") == [], os.listdir(state + "/k80/sessions")

outcome, said = kvmc("--cluster", "x", "snapshot", "rollback", "a", "--json")
assert (json.loads(outcome)["sessions"], json.loads(outcome)["untold"]) == (1, 0), outcome
assert "1 session of ssh has ended\n" in said, said
fork.is_told("cluster `x` went back to snapshot `a`", "kvmc --cluster x ssh master0")

# A stopped ssh ends too.
again = Session("ssh", "master0")
os.kill(again.pid, 19)
_, said = kvmc("try", "--always", "--", "sleep", "2")
assert "1 session of ssh has ended\n" in said, said
again.until(b"opens another")
assert re.search(rb"went back to snapshot `try-\d+`", again.seen), again.seen
assert again.ended() == 255
outcome, said = kvmc("snapshot", "rollback", "a", "--json")
assert json.loads(outcome)["sessions"] == 0 and "session" not in said, (outcome, said)

# A stopped node, and a removed cluster.
stays, again = Session("ssh", "master1"), Session("ssh", "master0")
_, said = kvmc("stop", "master0", "--timeout", "1")
assert "1 session of ssh has ended\n" in said, said
again.until(b"kvmc: master0 of cluster `k80` was stopped; this session has ended\r")
assert again.ended() == 255
assert stays.runs()
kvmc("down")
stays.until(b"kvmc: cluster `k80` is removed; this session has ended\r")
assert stays.ended() == 255
print("ok: sessions end and are told")
