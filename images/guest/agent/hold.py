"""What stands still or is off in a frozen machine, and goes on in its clones once others need the host no more."""
import json
import os
import signal
import time

from .files import RUN, read, write

# Programs that log or react to what happens on a node, and may do so later, by the kernel's names.
JOURNALD = "systemd-journal"
SPECTATORS = (JOURNALD, "systemd-udevd", "dbus-daemon")
# Asks for a lease once it goes on; a clone has its addresses from the host until then.
NETWORKD = "systemd-network"
# Stops systemd itself, the one process of this cgroup (Linux's cgroup-v2).
INIT = "/sys/fs/cgroup/init.scope/cgroup.freeze"
# What is held, for an agent that is started again meanwhile.
HELD = RUN + "held"
# Seconds from when all nodes are ready until the programs go on, and from there until journald starts anew; the host
# may name others.
REST, JOURNAL = 2, 8
# Seconds until the programs go on without word of the others: from when the node is ready, and when it never is.
LONGEST_REST, LONGEST_HOLD = 10, 60
# The same of systemd.
INIT_REST, INIT_HOLD = 3, 10


def of_init(stat):
    """The name in the text of /proc/PID/stat where systemd is the process's parent, else None; proc(5)."""
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
    """Writes a value to switches; returns those that took it."""
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
    """Writes a value to switches; returns those that a busy host kept from taking it."""
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
        # When the programs go on, when journald starts anew after that, and when systemd goes on.
        self.release_due = self.journal_due = self.init_due = None
        self.journal_rest = JOURNAL

    def load(self):
        """Lets go on what an agent before this one held."""
        if os.path.exists(HELD):
            self.programs, self.processors, self.init = json.loads(read(HELD))
            self.release_due = time.monotonic()
            self.release()

    def take(self, names, one_processor, may_hold_init):
        """Holds programs, processors and systemd in a machine that is to be frozen."""
        self.programs = processes(names)
        signal_all(self.programs.values(), signal.SIGSTOP)
        if one_processor:
            self.processors = switch(processors(), b"0")
            # The kernel postpones a part of it, which would be left to the clones.
            time.sleep(0.5)
        # In a clone systemd would only note that the clock was set and that sshd has started.
        if may_hold_init:
            self.init = switch([INIT], b"1")
        write(HELD, json.dumps([self.programs, self.processors, self.init]))

    def woken(self, journal_rest):
        """The machine is a clone from now on."""
        now = time.monotonic()
        self.release_due = now + LONGEST_HOLD
        self.init_due = now + INIT_HOLD
        self.journal_rest = journal_rest

    def ready(self):
        """The node is ready."""
        if self.release_due:
            self.release_due = time.monotonic() + LONGEST_REST
        if self.init_due:
            self.init_due = time.monotonic() + INIT_REST

    def all_ready(self, rest):
        """All nodes are ready: the programs go on after so many seconds, all else now."""
        self.free_init()
        self.free_processors()
        if self.release_due:
            self.release_due = time.monotonic() + rest

    def free(self, name):
        """Lets one program go on at once."""
        signal_all([self.programs.pop(name)], signal.SIGCONT)

    def free_init(self):
        self.init_due = None
        self.init = left(self.init, b"0")

    def free_processors(self):
        self.processors = left(self.processors, b"1")

    def release(self):
        """Lets go on what is due.

        journald keeps the ids that it started with, by which journalctl finds nothing in a clone. So it is ended, and
        systemd starts it again; what was logged meanwhile waits in its sockets.
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

    def release_now(self):
        """Lets everything go on, and starts journald anew."""
        if self.release_due:
            self.release_due = time.monotonic()
            self.release()
            self.journal_due = time.monotonic()
            self.release()

    def due(self):
        """When something is due, in time.monotonic()'s seconds; None when nothing is."""
        due = [due for due in (self.init_due, self.release_due, self.journal_due) if due]
        return min(due) if due else None
