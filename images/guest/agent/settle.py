"""Brings a machine to rest before it is frozen. The agent may start programs here."""
import os
import socket

from .covers import BOOT_ID, cover_ids
from .files import overwrite, read, write
from .given import MARK
from .identity import AUTHORIZED_KEYS, RESOLV_CONF
from .ssh import PORT

PROGRAM = "/usr/lib/kvmc/settle"


def settle(sshd):
    """Waits for the end of the boot, reads the files that nodes read first, and creates files that clones overwrite.

    Returns the boot id.
    """
    status = os.waitpid(os.posix_spawn(PROGRAM, [PROGRAM], os.environ), 0)[1]
    if status != 0:
        raise OSError("settle ended with %d" % status)
    with socket.create_connection(("127.0.0.1", PORT), 60) as sock:
        if not sock.recv(4) == b"SSH-":
            raise OSError("ssh does not answer")
    boot_id = read(BOOT_ID).strip()
    cover_ids()
    sshd.hold()
    # An overwritten file needs no new block in a clone.
    write(MARK, "\n")
    for path in (AUTHORIZED_KEYS, RESOLV_CONF):
        if os.path.isfile(path) and not os.path.getsize(path):
            overwrite(path, "\n")
    # Every clone's disk begins as this one is now.
    os.sync()
    return boot_id
