"""Reads the kernel's data about a process, proc(5)."""
import os

TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    """User and system time, in seconds."""
    with open("/proc/%d/stat" % pid) as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def _kib(path, key):
    with open(path) as file:
        return 1024 * sum(int(line.split()[1]) for line in file if line.startswith(key + ":"))


def pss(pid):
    """Proportional set size, in bytes."""
    return _kib("/proc/%d/smaps_rollup" % pid, "Pss")


def rss(pid):
    """Resident set size, in bytes."""
    return _kib("/proc/%d/status" % pid, "VmRSS")


def private_guest_ram(pid):
    """Bytes of guest memory that this process has for itself alone: of its largest mapping, the pages
    that are anonymous. A guest that booted has all of its memory there."""
    size, anonymous, largest, best = 0, 0, 0, 0
    with open("/proc/%d/smaps" % pid) as file:
        for line in file:
            words = line.split()
            if words[0] == "Size:":
                size = int(words[1])
            elif words[0] == "Anonymous:":
                anonymous = int(words[1])
                # Translated code is a larger mapping than the memory of a small guest, and executable.
                if size > largest and is_ram:
                    largest, best = size, anonymous
            elif "-" in words[0] and not words[0].endswith(":"):
                is_ram = "x" not in words[1]
    return 1024 * best
