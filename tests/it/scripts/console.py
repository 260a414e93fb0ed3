"""Uses `kvmc console` in a pseudo-terminal: history, typing, the window's size, a reboot, the keeper's end, the key to
leave. Arguments: the node, and `fake` or `guest`."""

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

node, kind = sys.argv[1:]
state = os.environ["KVMC_STATE_DIR"]
seen = b""


def until(expected, seconds=60):
    """Reads the terminal until it shows a pattern; returns what it showed."""
    global seen
    end = time.time() + seconds
    while not (found := re.search(expected, seen)):
        left = end - time.time()
        if left <= 0 or not select.select([terminal], [], [], left)[0]:
            raise SystemExit(f"FAILED: no {expected!r} in {seen!r}")
        try:
            seen += os.read(terminal, 4096)
        except OSError:
            raise SystemExit(f"FAILED: the console ended before {expected!r}: {seen!r}")
    before, seen = seen[: found.end()], seen[found.end():]
    return before


def resize(rows, columns):
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


child, terminal = pty.fork()
if child == 0:
    os.execvp("kvmc", ["kvmc", "console", node])
resize(33, 99)
before = termios.tcgetattr(terminal)
until(rb"Ctrl-\] leaves it")
if kind == "fake":
    os.write(terminal, b"typed\x03\x1a\x04")
    until(rb"typed\x03\x1a\x04")
    with open("../bin/do." + node, "w") as act:
        act.write("reboot")
    until(rb"\[master0 has ended: the guest reboots\]")
    until(rb"\[master0 starts again\]")
    until(rb"Linux version")
    os.write(terminal, b"after the reboot")
    until(rb"after the reboot")
    keeper = re.search(r'"pid": (\d+)', open(state + "/clusters/k80/keeper.json").read())
    os.kill(int(keeper[1]), signal.SIGKILL)
    until(rb"\[the keeper has ended; `kvmc up` starts it again\]")
    subprocess.run(["kvmc", "up"], check=True, stderr=subprocess.DEVNULL)
    # Keys that are typed before the console is open again are lost.
    for attempt in range(50):
        os.write(terminal, b"after the keeper")
        if select.select([terminal], [], [], 0.3)[0]:
            break
    until(rb"after the keeper")
else:
    password = re.search(r"^ansible_password=(.*)$", open("inventory").read(), re.M)[1]
    os.write(terminal, b"\r")
    until(rb"login: ", 120)
    os.write(terminal, b"admin\r")
    until(rb"assword: ", 120)
    os.write(terminal, password.encode() + b"\r")
    until(rb"\$ ", 120)
    os.write(terminal, b"stty size\r")
    until(rb"33 99", 60)
    resize(44, 111)
    for attempt in range(20):
        time.sleep(2)
        os.write(terminal, b"stty size; echo en''d\r")
        if b"44 111" in until(rb"end", 60):
            break
    else:
        raise SystemExit("FAILED: the new size did not reach the guest")
    os.write(terminal, b"sudo systemctl reboot\r")
    until(rb"has ended: the guest reboots\]", 180)
    until(rb"starts again\]", 180)
os.write(terminal, b"x\x1dy")
tail = b""
try:
    while select.select([terminal], [], [], 10)[0] and (more := os.read(terminal, 4096)):
        tail += more
except OSError:
    pass
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0, status
assert b"\x1b[?1049l" in seen + tail, (seen, tail)
print("ok: the console of", node)
