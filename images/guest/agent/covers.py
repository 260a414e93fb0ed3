"""Mounts files over read-only files of /proc and /sys, so that each clone shows its own ids."""
import ctypes
import os

from .files import RUN, read, write

BOOT_ID = "/proc/sys/kernel/random/boot_id"
PRODUCT_UUID = "/sys/class/dmi/id/product_uuid"
MS_BIND = 4096  # mount(2)


def cover_ids():
    """Covers the ids, in a machine that will be frozen."""
    cover(BOOT_ID, 0o444)
    if os.path.exists(PRODUCT_UUID):
        cover(PRODUCT_UUID, 0o400)


def cover(path, mode):
    """Mounts a copy of a file over it."""
    source = RUN + os.path.basename(path)
    os.makedirs(RUN, exist_ok=True)
    write(source, read(path), mode)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source.encode(), path.encode(), None, MS_BIND, None) != 0:
        raise OSError(ctypes.get_errno(), "mount", path)


def show(path, text):
    """Replaces the text of a covered file by one of the same length. A file without a cover stays."""
    source = RUN + os.path.basename(path)
    # Checked first, since an exception runs much of Python's code.
    if not os.access(source, os.W_OK):
        return
    fd = os.open(source, os.O_WRONLY)
    os.write(fd, text.encode())
    os.close(fd)
