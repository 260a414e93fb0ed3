"""sshd: its host keys, and how a clone's sshd waits for them."""
import os
import signal
import time

from .files import RUN, read, write

KEYS, KINDS = "/etc/ssh/ssh_host_%s_key", ("ed25519", "rsa", "ecdsa")
CONFIG, CONFIG_FOLDER = "/etc/ssh/sshd_config", "/etc/ssh/sshd_config.d/"
PID = "/run/sshd.pid"
PORT = 22
# sshd's configuration includes the first, and its unit the second, if they exist.
SPARED, ENVIRONMENT = RUN + "sshd.conf", RUN + "sshd.env"
# Only the command line of emulated kernels has this word.
EMULATED = "kvmc.coldplug="
# The kernel's function in which a process waits for the other end of a pipe, fs/pipe.c.
WAITS = "wait_for_partner"


def listener(table, port):
    """The inode of the socket that listens (0A) on a port, in a table like /proc/net/tcp."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == "0A" and fields[1].endswith(":%04X" % port):
            return fields[9]
    return None


def ssh_listener():
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        inode = listener(read(path), PORT)
        if inode:
            return inode
    return None


def mark():
    """Differs once another sshd listens, or once a host key's file is another; None if nothing listens."""
    inode = ssh_listener()
    if not inode:
        return None
    for kind in KINDS:
        try:
            key = os.stat(KEYS % kind)
            inode += " %d.%d" % (key.st_ino, key.st_mtime_ns)
        except OSError:
            inode += " -"
    return inode


def names(text, keyword):
    """Whether a configuration of sshd has a keyword, sshd_config(5)."""
    return any(line.strip().lower().startswith(keyword) for line in text.splitlines())


def is_told(keyword):
    """Whether sshd's configuration has a keyword."""
    paths = [CONFIG_FOLDER + name for name in os.listdir(CONFIG_FOLDER)] if os.path.isdir(CONFIG_FOLDER) else []
    return any(names(read(path), keyword) for path in [CONFIG] + paths if os.path.isfile(path))


def spare(nics=None):
    """Writes configuration that saves an emulated sshd work, before it starts.

    Each session would read OpenSSL's configuration, which has no settings for ssh, and all host keys, of which clients
    use the ed25519 key. If sshd listened with both address families, each session would also open sockets to find out
    which it would prefer.
    """
    if EMULATED not in read("/proc/cmdline"):
        return
    os.makedirs(RUN, exist_ok=True)
    write(ENVIRONMENT, "OPENSSL_CONF=/dev/null\n")
    text = "" if is_told("hostkey") else "HostKey %s\n" % (KEYS % KINDS[0])
    if nics and not any(nic.get("ipv6") for nic in nics) and not is_told("listenaddress"):
        text += "AddressFamily inet\n"
    write(SPARED, text)


def has_text(path):
    """Whether a file has more than blanks, and than the zeros of one that grew before a power cut. A link is left alone."""
    if os.path.islink(path):
        return True
    try:
        return bool(read(path).strip("\0 \n"))
    except OSError:
        return False


class Sshd:
    def __init__(self):
        # Pipes at which hold() makes sshd wait, with their kinds of keys.
        self.pipes = {}

    def pid(self):
        return int(read(PID))

    def restart(self):
        """Makes sshd read its keys again (SIGHUP, sshd(8)), and waits until it no longer uses the old ones."""
        old = ssh_listener()
        if not old:
            return
        try:
            os.kill(self.pid(), signal.SIGHUP)
        except (OSError, ValueError):
            return
        for _ in range(1000):
            if ssh_listener() != old:
                return
            time.sleep(0.002)

    def hold(self):
        """Restarts sshd and makes it wait where it reads its first key, which is a pipe that nobody writes to.

        In a clone, sshd's start is then complete except for the keys, which give_keys() writes. sshd's configuration
        decides which key is the first. The keys' files stay, with a line feed in them, so a clone only overwrites them.
        """
        try:
            pid = self.pid()
        except (OSError, ValueError):
            return
        os.makedirs(RUN, exist_ok=True)
        for kind in KINDS:
            path, pipe = KEYS % kind, RUN + "ssh_" + kind
            if not os.path.exists(pipe):
                os.mkfifo(pipe, 0o600)
            if os.path.exists(path):
                os.rename(path, path + ".kvmc")
            os.symlink(pipe, path)
        os.kill(pid, signal.SIGHUP)
        is_held = False
        for _ in range(500):
            is_held = read("/proc/%d/wchan" % pid) == WAITS
            if is_held:
                break
            time.sleep(0.02)
        for kind in KINDS:
            os.unlink(KEYS % kind)
            if os.path.exists(KEYS % kind + ".kvmc"):
                os.rename(KEYS % kind + ".kvmc", KEYS % kind)
            if is_held:
                self.pipes[RUN + "ssh_" + kind] = kind
        if not is_held:
            # sshd did not reach the pipe, so it starts again with its keys.
            os.kill(pid, signal.SIGHUP)
            return
        for kind in KINDS:
            write(KEYS % kind, "\n", 0o600)
            write(KEYS % kind + ".pub", "\n")

    def give_keys(self, pairs, put):
        """Writes this node's keys by `put` and into sshd's pipe; true if sshd has to read them again."""
        changed = False
        for kind, pair in pairs.items():
            path = KEYS % kind
            try:
                changed = changed or read(path) != pair["private"]
            except OSError:
                changed = True
            put(path, pair["private"], 0o600)
            put(path + ".pub", pair["public"])
        return self.release(pairs, changed)

    def give_missing_keys(self, pairs, put):
        """Writes those keys that have no file; true when sshd has to read them. Others are the user's by now."""
        changed = False
        for kind, pair in pairs.items():
            path = KEYS % kind
            if not has_text(path):
                put(path, pair["private"], 0o600)
                put(path + ".pub", pair["public"])
                changed = True
            elif not has_text(path + ".pub") and read(path) == pair["private"]:
                put(path + ".pub", pair["public"])
        return changed

    def release(self, pairs, changed):
        """Writes the key into the pipe that sshd waits at; true when sshd has to read its keys again."""
        for pipe, kind in self.pipes.items():
            try:
                # The kernel refuses this unless sshd waits at the other end, which it does at one of the pipes.
                fd = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                continue
            # sshd then reads the other keys from their files, which are complete by now.
            if kind in pairs:
                pair = pairs[kind]
                os.write(fd, pair["private"].encode())
            os.close(fd)
            changed = False
            break
        self.pipes.clear()
        return changed
