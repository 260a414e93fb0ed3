"""kvmc's agent in a cloud image that was prepared: what such an image has differently.

Its cards may have other names, its root file system is a partition, and it has cloud-init, which is to take
the user's own user-data on each node. Programs may be started here where nothing else helps.
"""
import ctypes
import os
import struct
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import agent

PCI = "/sys/bus/pci/devices/"
VIRTIO, NETWORK = "0x1af4", ("0x1000", "0x1041")
SIOCSIFNAME = 0x8923
SEED = "/var/lib/cloud/seed/nocloud/"
APPLY = "/usr/lib/kvmc/user-data"
APPLIED = "/var/lib/kvmc/user-data"
GROW = "/usr/lib/kvmc/grow"
MACHINE_ID = "/etc/machine-id"
MNT_DETACH = 2


def read(path):
    with open(path) as file:
        return file.read().strip()


def cards():
    """Names of the cards in the order of their places, once the kernel has them all."""
    names = []
    for place in sorted(os.listdir(PCI)):
        if read(PCI + place + "/vendor") != VIRTIO or read(PCI + place + "/device") not in NETWORK:
            continue
        for _ in range(400):
            found = [
                name
                for entry in os.listdir(PCI + place)
                if entry.startswith("virtio") and os.path.isdir(PCI + place + "/" + entry + "/net")
                for name in os.listdir(PCI + place + "/" + entry + "/net")
            ]
            if found:
                names.append(found[0])
                break
            time.sleep(0.05)
    return names


def name_cards():
    """eth0 and so on, which the agent and its files for networkd speak of."""
    for prefix in ("kvmc", "eth"):
        for number, name in enumerate(cards()):
            wanted = "%s%d" % (prefix, number)
            if name == wanted or (prefix == "kvmc" and name == "eth%d" % number):
                continue
            agent.set_flags(name, agent.flags(name) & ~agent.IFF_UP)
            agent.interface(SIOCSIFNAME, name, struct.pack("16s", wanted.encode()))


replace = agent.write


def write(path, *arguments):
    """As the agent's; systemd covers an empty machine-id by a mount of one that it makes up, machine-id(5)."""
    if path == MACHINE_ID and os.path.ismount(path):
        ctypes.CDLL(None).umount2(path.encode(), MNT_DETACH)
    replace(path, *arguments)


def run(program, *arguments):
    return os.waitpid(os.posix_spawn(program, [program, *arguments], os.environ), 0)[1]


# The size that the root is to grow to and did not yet: early in a boot not all is there that growing takes.
due = None
TRIES, BETWEEN = 10, 3


def grow(expected):
    """The root's partition to the end of its disk, and its file system with it; once for each size."""
    global due
    due = None
    if expected == agent.grown:
        return
    with open("/dev/vda", "rb") as disk:
        for _ in range(200):
            if disk.seek(0, os.SEEK_END) >= expected:
                break
            time.sleep(0.005)
    device = os.stat("/").st_dev
    place = "/sys/dev/block/%d:%d/" % (os.major(device), os.minor(device))
    number = read(place + "partition")
    end = int(read(place + "start")) + int(read(place + "size"))
    if expected // 512 - end > expected // 512 // 50:
        if run(GROW, "/dev/vda", number) != 0:
            due = expected
            return
    agent.grown = expected


class CloudAgent(agent.Agent):
    # cloud-init, or whoever made the image, says who it is and what it does.
    network_manager = None

    def __init__(self, port):
        super().__init__(port)
        # The user-data being applied, and whether it may be: when the network is there.
        self.cloud = None
        self.applying = None
        self.tries, self.next_try = 0, 0

    def execute(self, name, a):
        if name == "identity" and a.get("cloud"):
            self.cloud = a["cloud"]
        return super().execute(name, a)

    def progress(self):
        if due and self.identified and not self.ready and self.tries < TRIES:
            if time.monotonic() >= self.next_try:
                self.tries, self.next_try = self.tries + 1, time.monotonic() + BETWEEN
                grow(due)
            if due:
                return
        if self.cloud and self.identified and not self.ready and not self.apply():
            return
        super().progress()

    def let_go(self):
        """cloud-init speaks to those that stand still in a clone until it is ready."""
        if self.release_due:
            self.release_due = time.monotonic()
            self.release()
            self.journal_due = time.monotonic()
            self.release()

    def apply(self):
        """Has cloud-init take the user-data, as that of a new instance; true when there is nothing left to do."""
        instance = self.cloud["instance"]
        if self.applying is None:
            if os.path.exists(APPLIED) and read(APPLIED) == instance:
                return True
            if not self.leased:
                if not agent.is_addressed(self.nics):
                    return False
                self.leased = True
                self.event("stage", stage="lease", address=agent.address())
            os.makedirs(SEED, exist_ok=True)
            agent.write(SEED + "user-data", self.cloud["user-data"], 0o600)
            agent.write(SEED + "meta-data", self.cloud["meta-data"], 0o600)
            self.let_go()
            self.applying = os.posix_spawn(APPLY, [APPLY], os.environ)
        pid, _ = os.waitpid(self.applying, os.WNOHANG)
        if not pid:
            return False
        # What failed of it is in cloud-init's own logs, as on any cloud.
        agent.write(APPLIED, instance + "\n")
        self.applying = None
        return True


if __name__ == "__main__":
    agent.grow = grow
    agent.write = write
    agent.Agent = CloudAgent
    name_cards()
    agent.main()
