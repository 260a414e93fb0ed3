"""The agent of a prepared cloud image: its differences to a template's agent.

The NICs may have other names, the root file system is a partition, and cloud-init applies the user's user-data on each
node. The agent starts programs here where system calls are not enough.
"""
import ctypes
import os
import struct
import time

from . import main as program
from .agent import Agent
from .disk import DISK, Disk
from .files import read, write
from .identity import MACHINE_ID
from .links import IFF_UP, address, flags, interface, set_flags
from .network import is_addressed

PCI = "/sys/bus/pci/devices/"
VIRTIO, NETWORK = "0x1af4", ("0x1000", "0x1041")
SIOCSIFNAME = 0x8923  # netdevice(7)
MNT_DETACH = 2  # umount2(2)
SEED = "/var/lib/cloud/seed/nocloud/"
APPLY = "/usr/lib/kvmc/user-data"
# The instance whose user-data cloud-init has applied.
APPLIED = "/var/lib/kvmc/user-data"
GROW = "/usr/lib/kvmc/grow"
SECTOR = 512
# Attempts to grow the root, and seconds between two. Early in a boot some devices and tools may be missing.
TRIES, BETWEEN = 10, 3


def value(path):
    """A value of /sys."""
    return read(path).strip()


def nic_names():
    """The names of the NICs in the order of their PCI slots, once the kernel has all of them."""
    names = []
    for slot in sorted(os.listdir(PCI)):
        if value(PCI + slot + "/vendor") != VIRTIO or value(PCI + slot + "/device") not in NETWORK:
            continue
        for _ in range(400):
            found = [
                name
                for entry in os.listdir(PCI + slot)
                if entry.startswith("virtio") and os.path.isdir(PCI + slot + "/" + entry + "/net")
                for name in os.listdir(PCI + slot + "/" + entry + "/net")
            ]
            if found:
                names.append(found[0])
                break
            time.sleep(0.05)
    return names


def renames(names, prefix):
    """Pairs of a NIC's current and wanted name, if they differ."""
    wanted = ["%s%d" % (prefix, number) for number in range(len(names))]
    return [(name, new) for number, (name, new) in enumerate(zip(names, wanted)) if name not in (new, "eth%d" % number)]


def name_nics():
    """Names the NICs eth0 and so on, as the agent and its files for networkd do. Uses temporary names, to swap names."""
    for prefix in ("kvmc", "eth"):
        for name, new in renames(nic_names(), prefix):
            set_flags(name, flags(name) & ~IFF_UP)
            interface(SIOCSIFNAME, name, struct.pack("16s", new.encode()))


def is_short(expected, end):
    """Whether a partition that ends at a sector lacks more than a fiftieth of a disk of `expected` bytes."""
    sectors = expected // SECTOR
    return sectors - end > sectors // 50


def run(program, *arguments):
    return os.waitpid(os.posix_spawn(program, [program, *arguments], os.environ), 0)[1]


class PartitionedDisk(Disk):
    """A disk whose root file system is a partition."""

    def __init__(self):
        super().__init__()
        # The size that the partition has to grow to.
        self.due = None

    def grow(self, expected):
        """Grows the root's partition to the end of the disk, and its file system too; once for each size."""
        self.due = None
        if expected == self.grown:
            return
        with open(DISK, "rb") as disk:
            for _ in range(200):
                if disk.seek(0, os.SEEK_END) >= expected:
                    break
                time.sleep(0.005)
        device = os.stat("/").st_dev
        place = "/sys/dev/block/%d:%d/" % (os.major(device), os.minor(device))
        end = int(value(place + "start")) + int(value(place + "size"))
        if is_short(expected, end) and run(GROW, DISK, value(place + "partition")) != 0:
            self.due = expected
            return
        self.grown = expected


class CloudAgent(Agent):
    # The image's maker, or cloud-init, configures the network manager.
    network_manager = None
    boots_own_kernel = True

    def __init__(self, port):
        super().__init__(port, PartitionedDisk())
        # The user-data of the identity, and the process that applies it.
        self.cloud = None
        self.applying = None
        self.tries, self.next_try = 0, 0

    def take_identity(self, arguments):
        if arguments.get("cloud"):
            self.cloud = arguments["cloud"]
        # systemd mounts an id of its own over an empty machine-id, machine-id(5).
        if not arguments.get("woken") and os.path.ismount(MACHINE_ID):
            ctypes.CDLL(None).umount2(MACHINE_ID.encode(), MNT_DETACH)
        return super().take_identity(arguments)

    def progress(self):
        if self.identified and not self.ready and not (self.is_grown() and self.is_applied()):
            return
        super().progress()

    def is_grown(self):
        """Tries again to grow the root; true when it has grown, or after the last try."""
        due = self.disk.due
        if not due or self.tries >= TRIES:
            return True
        if time.monotonic() >= self.next_try:
            self.tries, self.next_try = self.tries + 1, time.monotonic() + BETWEEN
            self.disk.grow(due)
        return not self.disk.due

    def is_applied(self):
        """Makes cloud-init apply the user-data as a new instance's; true when it is done."""
        if not self.cloud:
            return True
        instance = self.cloud["instance"]
        if self.applying is None:
            if os.path.exists(APPLIED) and value(APPLIED) == instance:
                return True
            if not self.leased:
                if not is_addressed(self.nics):
                    return False
                self.leased = True
                self.connection.event("stage", stage="lease", address=address())
            os.makedirs(SEED, exist_ok=True)
            write(SEED + "user-data", self.cloud["user-data"], 0o600)
            write(SEED + "meta-data", self.cloud["meta-data"], 0o600)
            # cloud-init talks to programs that stand still in a clone.
            self.hold.release_now()
            self.applying = os.posix_spawn(APPLY, [APPLY], os.environ)
        pid, _ = os.waitpid(self.applying, os.WNOHANG)
        if not pid:
            return False
        # cloud-init's own log has its failures, as on any cloud.
        write(APPLIED, instance + "\n")
        self.applying = None
        return True


def main():
    name_nics()
    program.main(CloudAgent)
