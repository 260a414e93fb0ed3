"""Uses kvmc in a terminal as its user does, from `init` to `down`, and looks at each screen. tmux is the terminal. The
screens are kept as text and with their colours in the folder KVMC_SCREENS, if it is set, beside all that the terminal
received (`terminal.raw`)."""

import os
import pathlib
import re
import shlex
import subprocess
import time

COLUMNS, ROWS = 110, 32
SOCKET = "../tmux"
PROMPTS = pathlib.Path("../prompts")
SCREENS = pathlib.Path(os.environ.get("KVMC_SCREENS") or "../screens")


def tmux(*words):
    result = subprocess.run(["tmux", "-S", SOCKET, "-f", "/dev/null", *words], capture_output=True, text=True)
    assert result.returncode == 0, f"tmux {words}: {result.stderr}"
    return result.stdout


def prompts():
    """The exit codes that the shell's prompts showed so far."""
    return PROMPTS.read_text().split() if PROMPTS.exists() else []


def screen(*options):
    return tmux("capture-pane", "-p", *options).rstrip("\n")


def until(expected, seconds=60):
    end = time.monotonic() + seconds
    while not re.search(expected, shown := screen("-S", "-", "-J")):
        if time.monotonic() > end:
            raise SystemExit(f"FAILED: no {expected!r} in\n{shown}")
        time.sleep(0.05)


def press(*keys):
    tmux("send-keys", *keys)


def keep(name):
    """Keeps the screen, and returns all that was shown since it was cleared."""
    number = len(list(SCREENS.glob("*.txt"))) + 1
    for ending, options in (("txt", ()), ("ansi", ("-e",))):
        (SCREENS / f"{number:02}-{name}.{ending}").write_text(screen("-S", "-", *options) + "\n")
    return screen("-S", "-", "-J")


def begin(line):
    """Types a command onto an empty screen."""
    count = len(prompts())
    press("clear; tmux -S " + SOCKET + " clear-history", "Enter")
    wait_for_prompt(count)
    tmux("send-keys", "-l", line)
    count = len(prompts())
    press("Enter")
    return count


def wait_for_prompt(count, seconds=90):
    end = time.monotonic() + seconds
    while len(prompts()) <= count:
        if time.monotonic() > end:
            raise SystemExit(f"FAILED: no prompt in\n{screen('-S', '-')}")
        time.sleep(0.02)
    time.sleep(0.1)


def ends(name, count, code, *expected, never=()):
    """Waits for the command's end, and looks at what it has shown."""
    wait_for_prompt(count)
    shown = keep(name)
    got = int(prompts()[-1])
    assert got == code, f"{name} ended with {got}:\n{shown}"
    for pattern in expected:
        assert re.search(pattern, shown, re.M), f"{name} did not show {pattern!r}:\n{shown}"
    for pattern in (*never, r"panicked", r"\x1b", r"\^\["):
        assert not re.search(pattern, shown, re.M), f"{name} showed {pattern!r}:\n{shown}"
    return shown


def run(name, line, code, *expected, **more):
    return ends(name, begin(line), code, *expected, **more)


def main():
    SCREENS.mkdir(parents=True, exist_ok=True)
    for old in SCREENS.iterdir():
        old.unlink()
    shell = f"PS1='$ ' PROMPT_COMMAND='echo $? >> {PROMPTS}' exec bash --norc --noprofile"
    tmux("new-session", "-d", "-x", str(COLUMNS), "-y", str(ROWS), shell)
    try:
        tmux("set-option", "status", "off")
        tmux("pipe-pane", "cat > " + shlex.quote(str(SCREENS / "terminal.raw")))
        wait_for_prompt(0)
        session()
    finally:
        tmux("kill-server")


def session():
    run("init", "kvmc init --masters 1", 2, r"unexpected argument")
    run("init", "kvmc init", 0, r"`kvmc up` creates the cluster")
    run("plan", "kvmc plan", 2, r"\+ .*master0", r"worker2")
    count = begin("kvmc up")
    until(r"master0 +cloned")
    keep("up-begins")
    ends("up", count, 0, r"7 of 7 nodes started, all ready in [\d.]+ s", r"kvmc ssh master0")
    run("plan-after", "kvmc plan", 0, r"nothing to do|no change")
    run("status", "kvmc status", 0, r"(?s)master0 +ready.*worker2 +ready.*lbl0 +ready")
    count = begin("kvmc scale workers=4 lbl=0")
    until(r"remove lbl0 with all data\?")
    press("n", "Enter")
    ends("scale-refused", count, 1, r"lbl0")
    count = begin("kvmc scale workers=4 lbl=0")
    until(r"remove lbl0 with all data\?")
    press("y", "Enter")
    ends("scale", count, 0, r"worker3 .*ready", r"removed lbl0")
    run("exec", "kvmc exec workers -- 'echo on $NODE'", 0, *(rf"worker{n}.*on worker{n}" for n in range(4)))
    run("exec-fails", "kvmc exec master0 -- false", 1, r"master0")
    pathlib.Path("site.txt").write_text("of the host\n")
    run("cp", "kvmc cp site.txt workers:site.txt", 0)
    run("cp-back", "mkdir -p back && kvmc cp worker3:site.txt back && cat back/site.txt", 0, r"of the host")
    count = begin("kvmc console master0")
    until(r"Ctrl-\] leaves it")
    tmux("send-keys", "-l", "typed into the console")
    until(r"typed into the console")
    press("C-]")
    ends("console", count, 0, r"typed into the console")
    count = begin("kvmc top")
    until(r"9 ready|8 ready|7 ready")
    until(r"worker3 +ready .*%")
    # One more look, so that the rates have two values.
    time.sleep(2.5)
    keep("top")
    press("Down", "Down", "Enter")
    until(r"log of ")
    keep("top-log")
    press("Escape")
    until(r"NODE +STATE")
    press("q")
    ends("top-ends", count, 0)
    run("timeline", "kvmc timeline", 0, r"master0", r"ready")
    page = SCREENS / "timeline.html"
    run("timeline-html", f"kvmc timeline --html {shlex.quote(str(page))}", 0, r"timeline.html is written")
    assert "<svg" in page.read_text(), page
    run("doctor", "kvmc doctor", int(os.environ.get("DOCTOR_ENDS", "0")), r"KVM")
    run("snapshot", "kvmc snapshot ls", 0, r"has no snapshot", r"snapshot save. saves one")
    run("ls", "kvmc ls", 0, r"k80 +up")
    run("down", "kvmc down", 0, r"cluster `k80` is removed")
    run("ls-after", "kvmc ls", 0)


main()
