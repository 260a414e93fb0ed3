"""Taking the machine down: by logind where it runs, so that its inhibitors are heard, else by a signal to systemd."""
import os
import signal
import struct

from .bus import ERROR, ERROR_NAME, ask
from .hold import processes

# systemd(1): SIGRTMIN+4 powers the machine off, SIGRTMIN+5 reboots it.
SIGNALS = {"powerdown": signal.SIGRTMIN + 4, "reboot": signal.SIGRTMIN + 5}
METHODS = {"powerdown": "PowerOffWithFlags", "reboot": "RebootWithFlags"}
LOGIND = "systemd-logind"
LOGIN1 = ("org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager")
# Of org.freedesktop.login1(5): inhibitors are heard though root asks.
CHECK_INHIBITORS = 1
# It is on its way already.
UNDER_WAY = "org.freedesktop.login1.OperationInProgress"
# What logind says of an inhibitor that blocks; systemd before 257 has the second.
BLOCKED = ("org.freedesktop.login1.BlockedByInhibitorLock", "org.freedesktop.DBus.Error.AccessDenied")


def has_logind():
    return bool(processes((LOGIND,)))


def ask_logind(mode):
    """True when logind takes the machine down; an error when an inhibitor keeps it from that."""
    try:
        answer = ask(*LOGIN1, METHODS[mode], "t", struct.pack("<Q", CHECK_INHIBITORS))
    except OSError:
        return False
    if answer.kind != ERROR:
        return True
    name = answer.fields.get(ERROR_NAME)
    if name in BLOCKED:
        raise PermissionError("an inhibitor blocks it: systemd-inhibit --list names it")
    return name == UNDER_WAY


def go_down(mode):
    mode = mode if mode in SIGNALS else "powerdown"
    if not (has_logind() and ask_logind(mode)):
        os.kill(1, SIGNALS[mode])
