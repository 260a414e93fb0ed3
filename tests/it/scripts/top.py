"""Uses `kvmc top` in a pseudo-terminal. What it draws is read by a small screen, since the drawing sends only what has
changed. Each way to end it must leave the terminal as it was."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

ROWS, COLUMNS = 16, 120


class Top:
    def __init__(self, *arguments, **variables):
        os.environ.update(variables)
        self.child, self.terminal = pty.fork()
        if self.child == 0:
            # The shell's size is set before it draws.
            time.sleep(0.2)
            os.execvp("kvmc", ["kvmc", "top", *arguments])
        for name in variables:
            del os.environ[name]
        self.sent = b""
        self.resize(ROWS, COLUMNS)
        self.before = termios.tcgetattr(self.terminal)

    def resize(self, rows, columns):
        self.cells = [[" "] * columns for _ in range(rows)]
        self.at = (0, 0)
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds):
        if not select.select([self.terminal], [], [], seconds)[0]:
            return False
        try:
            came = os.read(self.terminal, 65536)
        except OSError:
            return False
        self.sent += came
        self.draw(came.decode(errors="replace"))
        return bool(came)

    def draw(self, text):
        for escape, char in re.findall(r"(\x1b\[[0-9;?]*[A-Za-z]|\x1b.)|(.|\n)", text):
            if escape:
                numbers = [int(n or 1) for n in re.findall(r"\d+|(?<=[\[;])(?=[;H])", escape)]
                if escape.endswith("H"):
                    row, column = (numbers + [1, 1])[:2] if numbers else (1, 1)
                    self.at = (row - 1, column - 1)
                elif escape.endswith(("2J", "?1049h")):
                    self.cells = [[" "] * len(row) for row in self.cells]
            else:
                row, column = self.at
                if row < len(self.cells) and column < len(self.cells[row]):
                    self.cells[row][column] = char
                self.at = (row, column + 1)

    def screen(self):
        return "\n".join("".join(row).rstrip() for row in self.cells)

    def until(self, expected, seconds=20):
        end = time.time() + seconds
        while not re.search(expected, self.screen()):
            if time.time() > end:
                raise SystemExit(f"FAILED: no {expected!r} in\n{self.screen()}\n{self.sent[-400:]!r}")
            self.read(0.2)

    def type(self, keys):
        os.write(self.terminal, keys.encode())

    def ends(self, code, what):
        end = time.time() + 10
        while True:
            self.read(0.05)
            pid, status = os.waitpid(self.child, os.WNOHANG)
            if pid:
                break
            if time.time() > end:
                os.kill(self.child, signal.SIGKILL)
                raise SystemExit(f"FAILED: {what} does not end it")
        while self.read(0.1):
            pass
        got = os.waitstatus_to_exitcode(status)
        assert got == code, f"{what}: ended with {got}\n{self.sent[-600:]!r}"
        assert termios.tcgetattr(self.terminal) == self.before, f"{what}: the terminal is not as it was"
        tail = self.sent[self.sent.rindex(b"\x1b[?1049l"):]
        assert b"\x1b[?25h" in self.sent[self.sent.rindex(b"\x1b[?1049h"):], f"{what}: no cursor"
        return tail


def shell(line):
    subprocess.run(line, shell=True, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


top = Top("--interval", "1")
top.until(r"cluster k80: up, TCG, 2 nodes, 2 ready, keeper running")
top.until(r"NODE +STATE +CPU HISTORY +RAM +REAL SHARED PRIVATE +IN/s +OUT/s +READ/s WRITE/s")
top.until(r"master0 ready .*\d+%.* \d+[\d.]*[KMG]? +\d")
print(top.screen())
# The window becomes narrow and wide again.
top.resize(12, 60)
top.until(r"q quit +Enter log")
assert "PRIVATE" not in top.screen(), top.screen()
top.resize(ROWS, COLUMNS)
top.until(r"WRITE/s")
# Filter by a group, and by nothing that is there.
top.type("/workers\r")
top.until(r"1 shown")
assert "master0" not in top.screen(), top.screen()
top.type("\x1b")
top.until(r"master0 ready")
# A node's log, which is followed.
top.type("\x1b[H\r")
top.until(r"log of master0: .*followed")
top.until(r"console \| Linux version|keeper  \| ready")
shell("kvmc restart master0")
top.until(r"keeper  \| started|keeper  \| ready")
print(top.screen())
top.type("\x1b")
top.until(r"NODE +STATE")
top.type("?")
top.until(r"reverse it")
top.type("x")
# What happens to the cluster is shown.
shell("kill -9 $(kvmc status --json | python3 -c 'import json,sys; print(json.load(sys.stdin)[\"nodes\"][1][\"pid\"])')")
top.until(r"worker0 stopped \(")
shell("kvmc stop")
top.until(r"cluster k80: stopped")
top.until(r"master0 stopped")
shell("kvmc start")
top.until(r"2 ready")
top.type("q")
top.ends(0, "q")

top = Top()
top.until(r"2 ready")
top.type("\x03")
top.ends(130, "Ctrl-C")

top = Top()
top.until(r"2 ready")
os.kill(top.child, signal.SIGTERM)
top.ends(130, "SIGTERM")

top = Top()
top.until(r"2 ready")
os.kill(top.child, signal.SIGHUP)
top.ends(0, "SIGHUP")

# Steps of --debug go to the file alone while the screen is drawn.
top = Top("--debug", "--interval", "1")
top.until(r"2 ready")
# Until it has asked again.
end = time.time() + 3
while time.time() < end:
    top.read(0.2)
drawn = top.sent[top.sent.rindex(b"\x1b[?1049h"):]
assert b" s] " not in drawn, drawn
top.type("q")
top.ends(0, "q")
log = open(os.environ["KVMC_STATE_DIR"] + "/kvmc.log").read()
assert "asked the keeper" in log, log

# Without colours, and with a cluster that vanishes.
top = Top("--interval", "1", NO_COLOR="1")
top.until(r"2 ready")
shell("kvmc down")
top.until(r"there is no such cluster now")
top.until(r"`kvmc up` creates it")
assert not re.search(rb"\x1b\[3[0-7]m|\x1b\[38", top.sent), "colours"
top.type("q")
top.ends(0, "q")
