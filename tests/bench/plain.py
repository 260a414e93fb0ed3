"""The plain way to save and restore machines: a full migration of each QEMU to a file, all at once.

It works on the QEMUs of a kvmc cluster whose keeper was killed, so that their monitors are free. A restore starts QEMUs
with the same arguments on the same disks and taps."""
import array
import ctypes
import fcntl
import json
import os
import re
import select
import signal
import socket
import subprocess
import threading
import time

LIBC = ctypes.CDLL(None, use_errno=True)
PIDFD_GETFD = 438
HIGH = 300  # above every descriptor's number in a QEMU's arguments


class Monitor:
    """A QMP connection."""
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.lines = self.socket.makefile("r")
        self.lines.readline()
        self.ask("qmp_capabilities")

    def ask(self, name, fd=None, **arguments):
        line = json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n"
        if fd is None:
            self.socket.sendall(line)
        else:
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))
            self.socket.sendmsg([line], [rights])
        while True:
            answer = json.loads(self.lines.readline())
            if "error" in answer:
                raise OSError("%s: %s" % (name, answer["error"]["desc"]))
            if "return" in answer:
                return answer["return"]

    def migrated(self):
        while True:
            status = self.ask("query-migrate").get("status", "none")
            if status == "completed":
                return
            if status in ("failed", "cancelled"):
                raise OSError("the migration is " + status)
            time.sleep(0.003)

    def close(self):
        self.lines.close()
        self.socket.close()


class Qemu:
    """A QEMU of a node, and what another needs to take its place."""
    def __init__(self, folder):
        self.folder = folder
        with open(folder + "/process.json") as file:
            self.identity = json.load(file)
        self.pid = self.identity["pid"]
        with open("/proc/%d/cmdline" % self.pid) as file:
            self.arguments = file.read().split("\0")[:-1]
        self.uid = os.stat("/proc/%d" % self.pid).st_uid
        self.monitor = Monitor(folder + "/qmp.sock")

    def chain(self):
        """The images of its disk, the writable one first, by the record."""
        cluster = os.path.dirname(os.path.dirname(self.folder))
        with open(cluster + "/cluster.json") as file:
            nodes = {node["name"]: node for node in json.load(file)["nodes"]}
        own = nodes[os.path.basename(self.folder)].get("chains") or [["disk.qcow2"]]
        top = self.folder + "/" + own[0][0]
        told = subprocess.run(["qemu-img", "info", "--backing-chain", "--force-share", "--output=json", top],
                              check=True, stdout=subprocess.PIPE).stdout
        return [image["filename"] for image in json.loads(told)]

    def save(self, path):
        """Writes its whole state to a file. The guest is stopped."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            self.monitor.ask("migrate-set-capabilities",
                             capabilities=[{"capability": "x-ignore-shared", "state": False}])
            self.monitor.ask("migrate-set-parameters", **{"max-bandwidth": 100 << 30})
            self.monitor.ask("getfd", fd=fd, fdname="state")
            self.monitor.ask("migrate", uri="fd:state")
            self.monitor.migrated()
        finally:
            os.close(fd)

    def take(self):
        """Copies of the descriptors that its arguments name, by their numbers there; images are opened later."""
        pidfd = os.pidfd_open(self.pid)
        text = " ".join(self.arguments)
        numbers = {int(n) for n in re.findall(r"(?:fd=|/proc/self/fd/)(\d+)", text)}
        numbers -= {int(n) for n in re.findall(r"fd=(\d+),set=", text)}
        taken = {}
        for number in numbers:
            fd = LIBC.syscall(PIDFD_GETFD, pidfd, number, 0)
            if fd < 0:
                raise OSError(ctypes.get_errno(), "pidfd_getfd")
            taken[number] = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, HIGH)
            os.close(fd)
        os.close(pidfd)
        return taken

    def images(self, chain):
        """Opens the images that its arguments name: descriptor sets, each of a block node `fileN`."""
        text = " ".join(self.arguments)
        sets = {int(s): int(n) for n, s in re.findall(r"fd=(\d+),set=(\d+)", text)}
        nodes = re.findall(r'"filename":"/dev/fdset/(\d+)","node-name":"file(\d+)"', text)
        opened = {}
        for number, place in ((sets[int(s)], int(place)) for s, place in nodes):
            fd = os.open(chain[place], os.O_RDWR if place == 0 else os.O_RDONLY)
            opened[number] = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, HIGH)
            os.close(fd)
        return opened

    def start(self, taken, chain):
        """Starts a QEMU in its place, which waits for its state. Its own has ended."""
        fds = {**taken, **self.images(chain)}
        words = list(self.arguments)
        if "-incoming" not in words:
            words += ["-incoming", "defer"]

        def child():
            os.setsid()
            for number, fd in fds.items():
                os.dup2(fd, number, inheritable=True)
            os.setgroups([])
            os.setresgid(self.uid, self.uid, self.uid)
            os.setresuid(self.uid, self.uid, self.uid)

        with open(self.folder + "/qemu.log", "w") as log:
            process = subprocess.Popen(words, preexec_fn=child, close_fds=False, stdin=subprocess.DEVNULL,
                                       stdout=log, stderr=log, cwd="/")
        for fd in fds.values():
            os.close(fd)
        self.pid = process.pid

    def load(self, path):
        self.monitor = Monitor(self.folder + "/qmp.sock")
        self.monitor.ask("migrate-set-parameters", **{"announce-rounds": 0})
        fd = os.open(path, os.O_RDONLY)
        self.monitor.ask("getfd", fd=fd, fdname="state")
        os.close(fd)
        self.monitor.ask("migrate-incoming", uri="fd:state")
        self.monitor.migrated()

    def record(self):
        """Tells kvmc that this process is the node's."""
        with open("/proc/%d/stat" % self.pid) as file:
            start = int(file.read().rpartition(")")[2].split()[19])
        identity = {**self.identity, "pid": self.pid, "start_time": start}
        with open(self.folder + "/process.json", "w") as file:
            json.dump(identity, file)


def at_once(all_of, work):
    """Runs work on each in a thread of its own."""
    errors = []

    def one(item):
        try:
            work(item)
        except Exception as error:  # told below
            errors.append(error)
    threads = [threading.Thread(target=one, args=(item,)) for item in all_of]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def kill_keeper(cluster):
    with open(cluster + "/keeper.json") as file:
        pid = json.load(file)["pid"]
    fd = os.pidfd_open(pid)
    signal.pidfd_send_signal(fd, signal.SIGKILL)
    select.select([fd], [], [], 10)
    os.close(fd)


def attach(cluster):
    """The QEMUs of a running cluster. Its keeper ends."""
    kill_keeper(cluster)
    nodes = sorted(os.listdir(cluster + "/nodes"))
    return [Qemu(cluster + "/nodes/" + node) for node in nodes]


def save(qemus, folder):
    """Saves all, and lets them go on. Returns the seconds that they stood, and the bytes."""
    paths = {qemu: "%s/%s" % (folder, os.path.basename(qemu.folder)) for qemu in qemus}
    began = time.monotonic()
    at_once(qemus, lambda qemu: qemu.monitor.ask("stop"))
    at_once(qemus, lambda qemu: qemu.save(paths[qemu]))
    at_once(qemus, lambda qemu: qemu.monitor.ask("cont"))
    stood = time.monotonic() - began
    return stood, sum(os.stat(path).st_blocks * 512 for path in paths.values())


def restore(qemus, folder):
    """Saves all once more, ends them, and restores them from that. Returns the seconds until all run, from when the
    first of them is killed, and that moment."""
    paths = {qemu: "%s/%s" % (folder, os.path.basename(qemu.folder)) for qemu in qemus}
    at_once(qemus, lambda qemu: qemu.monitor.ask("stop"))
    at_once(qemus, lambda qemu: qemu.save(paths[qemu]))
    chains = {qemu: qemu.chain() for qemu in qemus}
    taken = {qemu: qemu.take() for qemu in qemus}
    began = time.monotonic()
    fds = [os.pidfd_open(qemu.pid) for qemu in qemus]
    for fd, qemu in zip(fds, qemus):
        signal.pidfd_send_signal(fd, signal.SIGKILL)
        qemu.monitor.close()
    for fd in fds:
        select.select([fd], [], [], 10)
        os.close(fd)
    for qemu in qemus:
        qemu.start(taken[qemu], chains[qemu])
    at_once(qemus, lambda qemu: qemu.load(paths[qemu]))
    at_once(qemus, lambda qemu: qemu.monitor.ask("cont"))
    ran = time.monotonic() - began
    for qemu in qemus:
        qemu.record()
        qemu.monitor.close()
    return ran, began
