"""Holds programs and processors in a frozen machine, and releases them in its clones when other nodes no longer need the
host."""
import json
import os
import signal
import time

from .files import RUN, read, write

# Programs that log or react to events of a node, and may do so later; by the kernel's names.
JOURNALD = "systemd-journal"
SPECTATORS = (JOURNALD, "systemd-udevd", "dbus-daemon")
# Requests a lease once it continues. Until then a clone has its addresses from the host.
NETWORKD = "systemd-network"
# Freezes systemd itself, the only process of this cgroup (Linux's cgroup-v2).
INIT = "/sys/fs/cgroup/init.scope/cgroup.freeze"
# The list of held programs, for an agent that starts again meanwhile.
HELD = RUN + "held"
# Seconds after all nodes are ready until the programs continue, and then until journald restarts. The host may send
# others.
REST, JOURNAL = 2, 8
# Seconds until the programs continue without a message about the others: after the node is ready, and if it never is.
LONGEST_REST, LONGEST_HOLD = 10, 60
# The same for systemd.
INIT_REST, INIT_HOLD = 3, 10


def of_init(stat):
    """The name in the text of /proc/PID/stat if systemd is the process's parent, else None; proc(5)."""
    end = stat.rindex(")")
    return stat[stat.index("(") + 1:end] if stat[end + 2:].split()[1] == "1" else None


def processes(names):
    """Pids by name of programs that systemd started itself; udev's workers, for one, have other names."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                name = of_init(read("/proc/%s/stat" % entry))
            except OSError:
                continue
            if name in names:
                found[name] = int(entry)
    return found


def signal_all(pids, number):
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:
            pass


def processors():
    """The switches of all processors but the first, Linux's cpu-hotplug."""
    found = ("/sys/devices/system/cpu/cpu%d/online" % n for n in range(1, os.sysconf("SC_NPROCESSORS_CONF")))
    return [path for path in found if os.path.exists(path)]


def switch(paths, value):
    """Writes a value to switches; returns those that accepted it."""
    done = []
    for path in paths:
        try:
            fd = os.open(path, os.O_WRONLY)
            try:
                os.write(fd, value)
            finally:
                os.close(fd)
            done.append(path)
        except OSError:
            continue
    return done


def left(paths, value):
    """Writes a value to switches; returns those that did not accept it on a busy host."""
    done = switch(paths, value)
    return [path for path in paths if path not in done]


class Hold:
    def __init__(self):
        # Pids of programs that stand still, by name.
        self.programs = {}
        # Switches of processors that are off.
        self.processors = []
        # systemd's switch while it stands still.
        self.init = []
        # When the programs continue, when journald restarts after that, and when systemd continues.
        self.release_due = self.journal_due = self.init_due = None
        self.journal_rest = JOURNAL

    def load(self):
        """Releases the programs that an earlier agent held."""
        if os.path.exists(HELD):
            self.programs, self.processors, self.init = json.loads(read(HELD))
            self.release_due = time.monotonic()
            self.release()

    def take(self, names, one_processor, may_hold_init):
        """Holds programs, processors and systemd in a machine that will be frozen."""
        self.programs = processes(names)
        signal_all(self.programs.values(), signal.SIGSTOP)
        if one_processor:
            self.processors = switch(processors(), b"0")
            # The kernel postpones a part of this work, which the clones would do.
            time.sleep(0.5)
        # In a clone systemd would only handle the clock change and the start of sshd.
        if may_hold_init:
            self.init = switch([INIT], b"1")
        write(HELD, json.dumps([self.programs, self.processors, self.init]))

    def woken(self, journal_rest):
        """Marks the machine as a clone."""
        now = time.monotonic()
        self.release_due = now + LONGEST_HOLD
        self.init_due = now + INIT_HOLD
        self.journal_rest = journal_rest

    def ready(self):
        """Starts the time-outs: the node is ready."""
        if self.release_due:
            self.release_due = time.monotonic() + LONGEST_REST
        if self.init_due:
            self.init_due = time.monotonic() + INIT_REST

    def all_ready(self, rest):
        """Handles `all-ready`: the programs continue after this many seconds, everything else now."""
        self.free_init()
        self.free_processors()
        if self.release_due:
            self.release_due = time.monotonic() + rest

    def free(self, name):
        """Releases one program at once."""
        signal_all([self.programs.pop(name)], signal.SIGCONT)

    def free_init(self):
        self.init_due = None
        self.init = left(self.init, b"0")

    def free_processors(self):
        self.processors = left(self.processors, b"1")

    def release(self):
        """Releases everything that is due.

        journald keeps the ids of its start, with which journalctl finds nothing in a clone. So the agent ends it, and
        systemd starts it again. Messages logged meanwhile wait in its sockets.
        """
        now = time.monotonic()
        if self.init_due and now >= self.init_due:
            self.free_init()
        if self.release_due and now >= self.release_due:
            self.release_due = None
            self.free_init()
            self.free_processors()
            self.journal_due = now + self.journal_rest
            if os.path.exists(HELD):
                os.unlink(HELD)
            signal_all([pid for name, pid in self.programs.items() if name != JOURNALD], signal.SIGCONT)
        if self.journal_due and now >= self.journal_due:
            self.journal_due = None
            journal = [pid for name, pid in self.programs.items() if name == JOURNALD]
            signal_all(journal, signal.SIGTERM)
            signal_all(journal, signal.SIGCONT)

    def let_go(self):
        """Lets everything go on at once, in a machine that is to go down."""
        self.free_init()
        if self.release_due:
            self.release_due = time.monotonic()
            self.release()
        signal_all(self.programs.values(), signal.SIGCONT)

    def release_now(self):
        """Releases everything, and restarts journald."""
        if self.release_due:
            self.release_due = time.monotonic()
            self.release()
            self.journal_due = time.monotonic()
            self.release()

    def due(self):
        """The time of the next release, in seconds of time.monotonic(); None if there is none."""
        due = [due for due in (self.init_due, self.release_due, self.journal_due) if due]
        return min(due) if due else None
