"""The root file system, which grows to the size of its disk while it is mounted."""
import fcntl
import os
import struct
import time

DISK = "/dev/vda"
BLKGETSIZE64 = 0x80081272  # linux/fs.h
EXT4_IOC_RESIZE_FS = 0x40086610  # ext4's ioctl.h


def blocks_to_grow_to(size, block, blocks):
    """Blocks of a file system that fills `size` bytes, or None where it lacks less than a fiftieth of them."""
    return size // block if size // block * block - blocks * block > size // 50 else None


def idle_kernel(boot="/boot/"):
    """The release of the newest kernel in /boot, or None where it runs. The host gives the machine its kernel."""
    try:
        kernels = [(os.stat(boot + name).st_mtime, name) for name in os.listdir(boot) if name.startswith("vmlinuz-")]
    except OSError:  # what is there is its user's
        return None
    if not kernels:
        return None
    newest = max(kernels)[1]
    release = newest[len("vmlinuz-"):]
    return None if release == os.uname().release else release


class Disk:
    """A disk that is one file system."""

    def __init__(self):
        # The last size of the file system. A clone has this value from the machine that it woke from.
        self.grown = None

    def grow(self, expected):
        """Grows the file system to `expected` bytes. A woken kernel learns its disk's new size a moment late."""
        if expected == self.grown:
            return
        disk = os.open(DISK, os.O_RDONLY)
        root = os.open("/", os.O_RDONLY)
        try:
            for _ in range(200):
                size = struct.unpack("Q", fcntl.ioctl(disk, BLKGETSIZE64, bytes(8)))[0]
                if size >= expected:
                    break
                time.sleep(0.005)
            info = os.statvfs("/")
            blocks = blocks_to_grow_to(size, info.f_frsize, info.f_blocks)
            if blocks:
                fcntl.ioctl(root, EXT4_IOC_RESIZE_FS, struct.pack("Q", blocks))
            self.grown = size
        finally:
            os.close(disk)
            os.close(root)
