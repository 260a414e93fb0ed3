"""The guest's side of kvmc: takes an identity from the host and says when the machine is ready.

One resident script that makes system calls and starts no program, since under emulation each program
started costs a good part of a second. It speaks lines of JSON in QMP's shape on a virtio-serial port.
"""
import binascii
import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import socket
import stat
import struct
import time

PORT = "org.kvmc.agent.0"
VERSION = 3
NETWORK_FILES = "/run/systemd/network/"
HOST_KEYS, KINDS = "/etc/ssh/ssh_host_%s_key", ("ed25519", "rsa")
AUTHORIZED_KEYS = "/home/admin/.ssh/authorized_keys"
MARK = "/var/lib/kvmc/configured"
SETTLE = "/usr/lib/kvmc/settle"
NETWORK = "/usr/lib/kvmc/eth0.network"
# Seconds from when all nodes are ready until a clone's other programs go on, and from there until its journal starts
# anew, where the host names no other time; how long they stand still when others do not become ready, and when it
# does not itself.
REST, JOURNAL, LONGEST_REST, LONGEST_HOLD = 2, 8, 10, 60

DECODER = json.JSONDecoder()

RNDADDENTROPY = 0x40085203  # random(4)
RNDRESEEDCRNG = 0x5207
BLKGETSIZE64 = 0x80081272
EXT4_IOC_RESIZE_FS = 0x40086610  # ext4's ioctl.h
SIOCGIFFLAGS, SIOCSIFFLAGS = 0x8913, 0x8914  # netdevice(7)
SIOCGIFHWADDR, SIOCSIFHWADDR, SIOCGIFADDR = 0x8927, 0x8924, 0x8915
SIOCSIFMTU, ETHERNET_MTU = 0x8922, 1500
SIOCGIFINDEX = 0x8933
IFF_UP, IFF_RUNNING = 1, 0x40
RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR = 1, 0x10, 0x100
SOL_NETLINK, NETLINK_DROP_MEMBERSHIP, RTNLGRP_LINK = 270, 2, 1
NLM_F_REQUEST, NLM_F_ACK, NLM_F_CREATE = 1, 4, 0x400  # netlink(7)
RTM_NEWADDR, RTM_NEWROUTE = 20, 24  # rtnetlink(7)
IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_RT_PRIORITY = 1, 2, 4, 9
RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC = 4, 5, 6, 7
RT_TABLE_MAIN, RTPROT_DHCP, RT_SCOPE_UNIVERSE, RTN_UNICAST = 254, 16, 0, 1
# As networkd gives the routes that it has by DHCP, systemd.network(5).
METRIC = 1024
MS_BIND = 4096
COVERS = "/run/kvmc/"
# Units of ours ask for it: this machine is to be frozen.
IS_TEMPLATE = COVERS + "template"
# sshd's configuration includes the one, and its unit the other, where they are there.
SSH_FAMILY, SSH_ENVIRONMENT = COVERS + "sshd.conf", COVERS + "sshd.env"
SSH_PID = "/run/sshd.pid"
# In the command line of emulated kernels alone.
EMULATED = "kvmc.coldplug="
# Stops systemd itself, in Linux's words cgroup-v2: it is the one process of its group.
INIT = "/sys/fs/cgroup/init.scope/cgroup.freeze"
# Seconds that it may stand still from when a clone hears who it is, and from when it is ready.
INIT_HOLD, INIT_REST = 10, 3
# What stands still in a clone or is off, for an agent that is started again meanwhile.
HELD = COVERS + "held"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
PRODUCT_UUID = "/sys/class/dmi/id/product_uuid"


# Sockets that are there before the machine is frozen, for a clone pays for all that runs in it for the first time.
INET = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
ROUTE = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)


def read(path):
    """All of a file, by less of Python's code than open() takes."""
    fd = os.open(path, os.O_RDONLY)
    try:
        data = b""
        while True:
            chunk = os.read(fd, 65536)
            if not chunk:
                return data.decode()
            data += chunk
    finally:
        os.close(fd)


def write(path, text, mode=0o644, uid=0, gid=0):
    """Replaces a file, so that a cut leaves the old or the new one."""
    new = path + ".kvmc"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        os.fchmod(fd, mode)
        os.fchown(fd, uid, gid)
        os.write(fd, text.encode())
    finally:
        os.close(fd)
    os.rename(new, path)


def overwrite(path, text, mode=0o644, uid=0, gid=0):
    """Writes a file that write() made before, at less cost: no new inode, no flush that ext4 adds to a
    rename. A cut may leave half of it, which is good enough for what each start is given anew."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return write(path, text, mode, uid, gid)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return write(path, text, mode, uid, gid)
        data = text.encode()
        os.write(fd, data)
        # Much work for ext4, also where there is nothing to cut off.
        if os.fstat(fd).st_size > len(data):
            os.ftruncate(fd, len(data))
    finally:
        os.close(fd)


def set_password(shadow, user, password_hash):
    """The text of /etc/shadow with the user's hash, shadow(5)."""
    lines = []
    for line in shadow.splitlines():
        fields = line.split(":")
        if fields[0] == user:
            fields[1] = password_hash
        lines.append(":".join(fields))
    return "\n".join(lines) + "\n"


def listener(table, port):
    """Inode of the socket that has the port in state LISTEN (0A) in a table like /proc/net/tcp."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == "0A" and fields[1].endswith(":%04X" % port):
            return fields[9]
    return None


def ssh_listener():
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        inode = listener(read(path), 22)
        if inode:
            return inode
    return None


def reseed(seed):
    """New bytes alone do not change what comes out; the reseed does."""
    fd = os.open("/dev/urandom", os.O_WRONLY)
    try:
        fcntl.ioctl(fd, RNDADDENTROPY, struct.pack("ii", 8 * len(seed), len(seed)) + seed)
        fcntl.ioctl(fd, RNDRESEEDCRNG)
    except OSError:
        pass
    finally:
        os.close(fd)


def interface(request, name, payload=b""):
    return fcntl.ioctl(INET, request, struct.pack("16s24s", name.encode(), payload))


def flags(name):
    return struct.unpack("H", interface(SIOCGIFFLAGS, name)[16:18])[0]


def set_flags(name, value):
    interface(SIOCSIFFLAGS, name, struct.pack("H", value))


def index_of(name):
    """As if_nametoindex(3), without a socket of its own."""
    return struct.unpack("i", interface(SIOCGIFINDEX, name)[16:20])[0]


def set_mac(name, mac):
    wanted = bytes(int(part, 16) for part in mac.split(":"))
    if interface(SIOCGIFHWADDR, name)[18:24] == wanted:
        return
    change = struct.pack("H", 1) + wanted
    try:
        # virtio cards can while they are up (IFF_LIVE_ADDR_CHANGE).
        interface(SIOCSIFHWADDR, name, change)
    except OSError:
        set_flags(name, flags(name) & ~IFF_UP)
        interface(SIOCSIFHWADDR, name, change)
        set_flags(name, flags(name) | IFF_UP)


def address(name="eth0"):
    """The card's IPv4 address, once it has one."""
    try:
        return socket.inet_ntoa(interface(SIOCGIFADDR, name)[20:24])
    except OSError:
        return None


def has_carrier(name):
    try:
        return bool(flags(name) & IFF_RUNNING)
    except OSError:
        return False


def has_global(table, name):
    """Whether a card has a global IPv6 address that is no longer tentative (0x40), in /proc/net/if_inet6."""
    for line in table.splitlines():
        fields = line.split()
        if len(fields) == 6 and fields[5] == name and fields[3] == "00" and not int(fields[4], 16) & 0x40:
            return True
    return False


def is_addressed(nics):
    """Whether every card has a carrier and all the addresses that it is to get."""
    for number, nic in enumerate(nics):
        name = "eth%d" % number
        if not address(name) or not has_carrier(name):
            return False
        if nic.get("ipv6"):
            if not has_global(read("/proc/net/if_inet6"), name):
                return False
    return True


def attribute(kind, data):
    return struct.pack("HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def ask_kernel(kind, body):
    """Has the kernel make something, and takes it for made when it is there already; rtnetlink(7)."""
    head = struct.pack("IHHII", 16 + len(body), kind, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE, 1, 0)
    ROUTE.send(head + body)
    error = -struct.unpack_from("i", ROUTE.recv(4096), 16)[0]
    if error not in (0, errno.EEXIST):
        raise OSError(error, os.strerror(error))


def set_addresses(nics):
    """The cards' IPv4 addresses and the first one's route to the outside, as networkd will have them by
    DHCP once it goes on: it then finds what it would make."""
    for number, nic in enumerate(nics):
        name = "eth%d" % number
        index = index_of(name)
        if nic["mtu"] != ETHERNET_MTU:
            interface(SIOCSIFMTU, name, struct.pack("I", nic["mtu"]))
        own = socket.inet_aton(nic["address"])
        hosts = (1 << 32 - nic["prefix"]) - 1
        broadcast = struct.pack("!I", struct.unpack("!I", own)[0] | hosts)
        ask_kernel(
            RTM_NEWADDR,
            struct.pack("BBBBI", socket.AF_INET, nic["prefix"], 0, RT_SCOPE_UNIVERSE, index)
            + attribute(IFA_LOCAL, own)
            + attribute(IFA_ADDRESS, own)
            + attribute(IFA_BROADCAST, broadcast)
            + attribute(IFA_RT_PRIORITY, struct.pack("I", METRIC)),
        )
        if nic.get("router"):
            kind = (RT_TABLE_MAIN, RTPROT_DHCP, RT_SCOPE_UNIVERSE, RTN_UNICAST)
            ask_kernel(
                RTM_NEWROUTE,
                struct.pack("BBBBBBBBI", socket.AF_INET, 0, 0, 0, *kind, 0)
                + attribute(RTA_GATEWAY, socket.inet_aton(nic["router"]))
                + attribute(RTA_PREFSRC, own)
                + attribute(RTA_OIF, struct.pack("I", index))
                + attribute(RTA_PRIORITY, struct.pack("I", METRIC)),
            )


IPV6 = """LinkLocalAddressing=ipv6
IPv6AcceptRA=yes
IPv6DuplicateAddressDetection=0
[IPv6AcceptRA]
Token=eui64
DHCPv6Client=no
"""
MORE = """[Match]
Name=%s
[Link]
RequiredForOnline=no
[DHCPv4]
ClientIdentifier=mac
UseMTU=yes
UseHostname=no
UseGateway=no
UseDNS=no
[Network]
DHCP=ipv4
"""
NO_IPV6 = "LinkLocalAddressing=no\nIPv6AcceptRA=no\n"


def network_file(number, ipv6):
    """Path and text of what networkd is to know of a card, beside the template's own file for the first.

    None when there is nothing to add. A file of that name in /etc wins over it, systemd.network(5).
    """
    name = "10-eth%d.network" % number
    if number:
        return name, MORE % ("eth%d" % number) + (IPV6 if ipv6 else NO_IPV6)
    return (name + ".d/ipv6.conf", "[Network]\n" + IPV6) if ipv6 else None


def set_up_nics(nics):
    """Cards become this node's: networkd's files, read when it starts, and Ethernet addresses."""
    for number, nic in enumerate(nics):
        file = network_file(number, nic.get("ipv6"))
        if file:
            path = NETWORK_FILES + file[0]
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if not os.path.exists(path):
                write(path, file[1])
        if nic.get("mac"):
            try:
                set_mac("eth%d" % number, nic["mac"])
            except OSError as error:
                # What a card is missing for, the host sees by its address that does not come.
                if error.errno != errno.ENODEV:
                    raise


# What grow() last made of the disk; a clone knows it from the machine that it woke from.
grown = None


def grow(expected):
    """The root file system to the size of its disk, while it is mounted.

    A woken kernel hears of its disk's new size a moment after it runs again.
    """
    global grown
    if expected == grown:
        return
    disk = os.open("/dev/vda", os.O_RDONLY)
    root = os.open("/", os.O_RDONLY)
    try:
        for _ in range(200):
            size = struct.unpack("Q", fcntl.ioctl(disk, BLKGETSIZE64, bytes(8)))[0]
            if size >= expected:
                break
            time.sleep(0.005)
        info = os.statvfs("/")
        if size // info.f_frsize * info.f_frsize - info.f_blocks * info.f_frsize > size // 50:
            fcntl.ioctl(root, EXT4_IOC_RESIZE_FS, struct.pack("Q", size // info.f_frsize))
        grown = size
    finally:
        os.close(disk)
        os.close(root)


def cover(path, mode):
    """Shows a file of ours at a path of /proc or /sys that cannot be written; mount(2)."""
    source = COVERS + os.path.basename(path)
    os.makedirs(COVERS, exist_ok=True)
    write(source, read(path), mode)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source.encode(), path.encode(), None, MS_BIND, None) != 0:
        raise OSError(ctypes.get_errno(), "mount", path)


def show(text, path):
    """Changes what a covered path shows, by as many bytes; one that never was covered shows the truth."""
    shown = COVERS + os.path.basename(path)
    # Asked before: to raise an error takes much of Python's code.
    if not os.access(shown, os.W_OK):
        return
    fd = os.open(shown, os.O_WRONLY)
    os.write(fd, text.encode())
    os.close(fd)


def ssh_pid():
    return int(read(SSH_PID))


def restart_ssh():
    """sshd reads its keys when it starts; SIGHUP makes it start again, sshd(8).

    Waits until nothing listens with the old keys any more.
    """
    old = ssh_listener()
    if not old:
        return
    try:
        os.kill(ssh_pid(), signal.SIGHUP)
    except (OSError, ValueError):
        return
    for _ in range(1000):
        if ssh_listener() != old:
            return
        time.sleep(0.002)


def spare_ssh(nics):
    """Has sshd do less where each new instruction takes long, before it starts.

    A session reads all of OpenSSL's configuration, which has nothing for ssh. With addresses of both kinds to
    listen on, it also finds out which would come first, by sockets of its own.
    """
    if EMULATED not in read("/proc/cmdline"):
        return
    os.makedirs(COVERS, exist_ok=True)
    write(SSH_ENVIRONMENT, "OPENSSL_CONF=/dev/null\n")
    if not any(nic.get("ipv6") for nic in nics) and not names_addresses():
        write(SSH_FAMILY, "AddressFamily inet\n")


def names_addresses():
    """Whether sshd's configuration says what it is to listen on, sshd_config(5)."""
    folder = "/etc/ssh/sshd_config.d/"
    paths = [folder + name for name in os.listdir(folder)] if os.path.isdir(folder) else []
    for path in ["/etc/ssh/sshd_config"] + paths:
        lines = read(path).splitlines() if os.path.isfile(path) else []
        if any(line.strip().lower().startswith("listenaddress") for line in lines):
            return True
    return False


# Pipes of hold_ssh(), with the kinds of keys that they stand for.
pipes = {}


def hold_ssh():
    """Makes sshd start again and stand where it reads its first key: a pipe that nobody writes to yet.

    A clone then has all of sshd's start behind it but the keys, which it gets from give_host_keys(). Which
    of them is the first, sshd's configuration says. Their files are kept, with next to nothing in them: a
    clone only writes into them.
    """
    try:
        pid = ssh_pid()
    except (OSError, ValueError):
        return
    os.makedirs(COVERS, exist_ok=True)
    for kind in KINDS:
        path, pipe = HOST_KEYS % kind, COVERS + "ssh_" + kind
        if not os.path.exists(pipe):
            os.mkfifo(pipe, 0o600)
        if os.path.exists(path):
            os.rename(path, path + ".kvmc")
        os.symlink(pipe, path)
    os.kill(pid, signal.SIGHUP)
    is_held = False
    for _ in range(500):
        # The kernel's name for who has opened one end of a pipe and waits for the other, fs/pipe.c.
        is_held = read("/proc/%d/wchan" % pid) == "wait_for_partner"
        if is_held:
            break
        time.sleep(0.02)
    for kind in KINDS:
        os.unlink(HOST_KEYS % kind)
        if os.path.exists(HOST_KEYS % kind + ".kvmc"):
            os.rename(HOST_KEYS % kind + ".kvmc", HOST_KEYS % kind)
        if is_held:
            pipes[COVERS + "ssh_" + kind] = kind
    if not is_held:
        # It did not come there: as it was before.
        os.kill(pid, signal.SIGHUP)
        return
    for kind in KINDS:
        write(HOST_KEYS % kind, "\n", 0o600)
        write(HOST_KEYS % kind + ".pub", "\n")


def give_host_keys(pairs, put):
    """The keys of this node into sshd's files and to it; true when sshd has to read them again."""
    changed = False
    for kind, pair in pairs.items():
        path = HOST_KEYS % kind
        try:
            changed = changed or read(path) != pair["private"]
        except OSError:
            changed = True
        put(path, pair["private"], 0o600)
        put(path + ".pub", pair["public"])
    for pipe, kind in pipes.items():
        try:
            # Refused unless sshd stands at the other end, as it does at one of them.
            fd = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            continue
        # It goes on to the others, which are in their files by now.
        os.write(fd, pairs[kind]["private"].encode())
        os.close(fd)
        changed = False
        break
    pipes.clear()
    return changed


# What writes down or reacts to what happens on a node, and may do so a little later.
SPECTATORS = ("systemd-journal", "systemd-udevd", "dbus-daemon")
# It asks for a lease once it goes on; a clone has its addresses from the host until then.
NETWORKD = "systemd-network"


def is_ours():
    """Whether networkd does with the cards what the template has it do, and an image made of it nothing else."""
    folder = "/etc/systemd/network/"
    try:
        return os.listdir(folder) == ["10-eth0.network"] and read(folder + "10-eth0.network") == read(NETWORK)
    except OSError:
        return False


def processes(names):
    """Pids by name of the programs that run for as long as the machine does, as the kernel names them."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                text = read("/proc/%s/stat" % entry)
            except OSError:
                continue
            name = text[text.index("(") + 1:text.rindex(")")]
            # Those that systemd started itself; udev's workers are named otherwise.
            if name in names and text[text.rindex(")") + 2:].split()[1] == "1":
                found[name] = int(entry)
    return found


def signal_all(pids, number):
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:
            pass


def processors():
    """The switches of all processors but the first, in Linux's words cpu-hotplug."""
    found = ("/sys/devices/system/cpu/cpu%d/online" % n for n in range(1, os.sysconf("SC_NPROCESSORS_CONF")))
    return [path for path in found if os.path.exists(path)]


def switch(paths, value):
    """Those that could be switched."""
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
    """Those that could not be switched: one that a busy host kept from it is tried again."""
    done = switch(paths, value)
    return [path for path in paths if path not in done]


def cards(a):
    """The cards of an identity; a host of before speaks of one alone."""
    return a.get("nics") or [{"mac": a.get("mac")}]


def take_identity(a):
    """Becomes the node; returns the first random bytes drawn as such, which no two nodes may share."""
    if "time" in a:
        if abs(time.time() - a["time"]) > 0.5:
            time.clock_settime(time.CLOCK_REALTIME, a["time"])
    if "seed" in a:
        reseed(binascii.a2b_base64(a["seed"]))
    first = os.urandom(32).hex()
    put = overwrite if a.get("woken") else write
    name = a["hostname"]
    socket.sethostname(name)
    put("/etc/hostname", name + "\n")
    full = name + "." + a["search"] + " " if a.get("search") else ""
    put("/etc/hosts", "127.0.0.1 localhost\n127.0.1.1 %s%s\n::1 localhost ip6-localhost\n" % (full, name))
    put("/etc/machine-id", a["machine_id"] + "\n", 0o444)
    if a.get("boot_id"):
        show(a["boot_id"] + "\n", BOOT_ID)
    if a.get("uuid"):
        show(a["uuid"] + "\n", PRODUCT_UUID)
    changed = give_host_keys(a.get("host_keys", {}), put)
    if not os.path.isdir("/home/admin/.ssh"):
        os.mkdir("/home/admin/.ssh", 0o700)
        os.chown("/home/admin/.ssh", 1000, 1000)
    put(AUTHORIZED_KEYS, "".join(k + "\n" for k in a["authorized_keys"]), 0o600, 1000, 1000)
    put("/etc/shadow", set_password(read("/etc/shadow"), "admin", a["password_hash"]), 0o640, 0, 42)
    lines = ["nameserver " + address for address in a.get("dns", [])]
    if a.get("search"):
        lines.append("search " + a["search"])
    put("/etc/resolv.conf", "".join(line + "\n" for line in lines))
    if a.get("disk"):
        grow(a["disk"])
    set_up_nics(cards(a))
    if not a.get("woken"):
        spare_ssh(cards(a))
    if changed:
        restart_ssh()
    if a.get("template"):
        os.makedirs(COVERS, exist_ok=True)
        write(IS_TEMPLATE, "")
    else:
        put(MARK, a["machine_id"] + "\n")
    if not a.get("woken"):
        os.sync()
    return first


def settle():
    """Waits until the boot is over, and touches what nodes touch first, so that it is in memory.

    Only in a machine that is to be frozen; programs may be started there.
    """
    status = os.waitpid(os.posix_spawn(SETTLE, [SETTLE], os.environ), 0)[1]
    if status != 0:
        raise OSError("settle ended with %d" % status)
    with socket.create_connection(("127.0.0.1", 22), 60) as sock:
        if not sock.recv(4) == b"SSH-":
            raise OSError("ssh does not answer")
    cover(BOOT_ID, 0o444)
    if os.path.exists(PRODUCT_UUID):
        cover(PRODUCT_UUID, 0o400)
    hold_ssh()
    # A clone only writes into them, and has no block to find for what is in there.
    write(MARK, "\n")
    for path in (AUTHORIZED_KEYS, "/etc/resolv.conf"):
        if os.path.isfile(path) and not os.path.getsize(path):
            overwrite(path, "\n")
    # Every clone's disk is this one's, as it is now.
    os.sync()


def is_configured():
    """Whether this machine was given an identity before; what was frozen has the file, with nothing in it."""
    try:
        return bool(read(MARK).strip())
    except OSError:
        return False


def notify():
    """Tells systemd that the boot may go on, sd_notify(3)."""
    path = os.environ.get("NOTIFY_SOCKET")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"READY=1", "\0" + path[1:] if path[0] == "@" else path)


def find_port():
    for entry in os.listdir("/sys/class/virtio-ports"):
        if read("/sys/class/virtio-ports/%s/name" % entry).strip() == PORT:
            return "/dev/" + entry
    return None


class Agent:
    # What manages the cards and is held in a machine that is to be frozen.
    network_manager = NETWORKD

    def __init__(self, port):
        self.port = port
        self.buffer = b""
        self.configured = is_configured()
        self.identified = False
        self.leased = False
        self.ready = False
        self.spectators = {}
        # The switches of processors that are off until all nodes are ready, or the spectators go on.
        self.off = []
        # When they may go on, and when the journal is to start anew.
        self.release_due = self.journal_due = None
        self.journal_rest = JOURNAL
        # systemd's switch while it stands still, and when that is to end.
        self.init = []
        self.init_due = None
        # Whether sshd is on its way to listen, and writes down its pid when it does.
        self.ssh_comes = False
        self.nics = [{}]
        if os.path.exists(HELD):
            self.spectators, self.off, self.init = json.loads(read(HELD))
            self.release_due = time.monotonic()
            self.release()
        # Tells of addresses as they come, rtnetlink(7).
        self.netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
        self.netlink.bind((0, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR))

    def say(self, message):
        data = json.dumps(message).encode() + b"\n"
        while data:
            try:
                data = data[os.write(self.port, data):]
            except BlockingIOError:
                # Nobody takes it at the other end: nobody is told.
                if not select.select([], [self.port], [], 1)[1]:
                    return

    def event(self, name, **data):
        self.say({"event": name, "data": data})

    def execute(self, name, a):
        if name == "ping":
            return {"version": VERSION, "configured": self.configured}
        if name == "identity":
            self.ssh_comes = bool(pipes) and not os.access(SSH_PID, os.F_OK)
            first = take_identity(a)
            # A clone's boot was over before.
            if not a.get("woken") and not (self.configured and self.identified):
                notify()
            self.identified = True
            self.nics = cards(a)
            if a.get("woken") and NETWORKD in self.spectators:
                self.give_addresses()
            self.configured = not a.get("template")
            if a.get("woken"):
                self.leased = self.ready = False
                self.release_due = time.monotonic() + LONGEST_HOLD
                self.init_due = time.monotonic() + INIT_HOLD
                self.journal_rest = a.get("journal", JOURNAL)
            self.progress()
            return {"ready": self.ready, "address": address(), "random": first}
        if name == "settle":
            settle()
            self.identified = False
            # From here on they would only make each clone's waking longer.
            names = SPECTATORS
            # IPv6 addresses come by networkd alone.
            if self.network_manager and is_ours() and not any(nic.get("ipv6") for nic in self.nics):
                names += (self.network_manager,)
            self.spectators = processes(names)
            signal_all(self.spectators.values(), signal.SIGSTOP)
            if a.get("one_processor"):
                self.off = switch(processors(), b"0")
                # What the kernel puts off of it is not to be left to the clones.
                time.sleep(0.5)
            # Of all that a clone does, systemd would say to itself that the clock was set and that sshd is there. It
            # starts nothing anew meanwhile, so sshd must be one that needs it no more.
            if pipes:
                self.init = switch([INIT], b"1")
            write(HELD, json.dumps([self.spectators, self.off, self.init]))
            return {}
        if name == "all-ready":
            self.let_init_go_on()
            self.switch_on()
            if self.release_due:
                self.release_due = time.monotonic() + a.get("rest", REST)
            return {}
        if name == "info":
            disk = os.statvfs("/")
            return {"time": time.time(), "load": os.getloadavg(), "disk": disk.f_blocks * disk.f_frsize}
        if name == "adjust":
            time.clock_settime(time.CLOCK_REALTIME, time.time() + a["seconds"])
            return {"time": time.time()}
        if name == "shutdown":
            self.let_init_go_on()
            os.sync()
            os.kill(1, signal.SIGRTMIN + (5 if a.get("mode") == "reboot" else 4))
            return {}
        raise ValueError("no command " + name)

    def handle(self, line):
        try:
            # As json.loads, without what else it looks at.
            request = DECODER.raw_decode(line.decode())[0]
            name = request["execute"]
        except (ValueError, KeyError, TypeError):
            return
        answer = {"id": request.get("id")}
        try:
            answer["return"] = self.execute(name, request.get("arguments") or {})
        except Exception as error:  # whatever it is, the host is to hear of it
            answer["error"] = {"class": type(error).__name__, "desc": str(error)}
        self.say(answer)

    def progress(self):
        """Looks how far the boot is, and tells what is new."""
        if not self.identified or self.ready:
            return
        if not self.leased and is_addressed(self.nics):
            self.leased = True
            self.event("stage", stage="lease", address=address())
        if self.leased and (os.access(SSH_PID, os.F_OK) if self.ssh_comes else ssh_listener()):
            self.ready = True
            if self.release_due:
                self.release_due = time.monotonic() + LONGEST_REST
            if self.init_due:
                self.init_due = time.monotonic() + INIT_REST
            self.event("ready", address=address())
            # A node of Kubernetes has links that come and go, which are nobody's business here.
            self.netlink.setsockopt(SOL_NETLINK, NETLINK_DROP_MEMBERSHIP, RTNLGRP_LINK)

    def give_addresses(self):
        """In place of networkd while it stands still; or else it goes on at once."""
        try:
            set_addresses(self.nics)
        except (OSError, KeyError):
            signal_all([self.spectators.pop(NETWORKD)], signal.SIGCONT)

    def let_init_go_on(self):
        self.init_due = None
        self.init = left(self.init, b"0")

    def switch_on(self):
        """All processors, once there is nothing left to wake to; again when the spectators go on."""
        self.off = left(self.off, b"1")

    def release(self):
        """Lets those go on that stood still since the machine was frozen.

        journald keeps the ids it started with, and journalctl would look for the new ones in vain, so it
        ends, for systemd to start it again; what was logged meanwhile waits in its sockets.
        """
        now = time.monotonic()
        if self.init_due and now >= self.init_due:
            self.let_init_go_on()
        if self.release_due and now >= self.release_due:
            self.release_due = None
            self.let_init_go_on()
            self.switch_on()
            self.journal_due = now + self.journal_rest
            if os.path.exists(HELD):
                os.unlink(HELD)
            signal_all([p for n, p in self.spectators.items() if n != SPECTATORS[0]], signal.SIGCONT)
        if self.journal_due and now >= self.journal_due:
            self.journal_due = None
            journal = [p for n, p in self.spectators.items() if n == SPECTATORS[0]]
            signal_all(journal, signal.SIGTERM)
            signal_all(journal, signal.SIGCONT)

    def pause(self):
        """Milliseconds until there is something to look at, if nobody says anything before."""
        if self.identified and not self.ready:
            # A boot makes its way without word of sshd; a clone's is there before the address.
            if self.leased:
                return 15 if self.ssh_comes else 50
            return 200
        due = [due for due in (self.init_due, self.release_due, self.journal_due) if due]
        return max(0, int(1000 * (min(due) - time.monotonic()))) + 1 if due else None

    def read(self):
        """What the host says; an end that is closed would be reported again at once, for ever."""
        try:
            chunk = os.read(self.port, 65536)
        except BlockingIOError:
            return
        if not chunk:
            self.buffer = b""
            time.sleep(0.3)
            return
        self.buffer += chunk
        *lines, self.buffer = self.buffer.split(b"\n")
        for line in lines:
            self.handle(line)

    def run(self):
        if self.configured:
            notify()
        self.event("hello", version=VERSION, configured=self.configured)
        poll = select.poll()
        poll.register(self.port, select.POLLIN)
        poll.register(self.netlink, select.POLLIN)
        try:
            while True:
                self.turn(poll)
        finally:
            # It could not start this again.
            self.let_init_go_on()

    def turn(self, poll):
        for fd, events in poll.poll(self.pause()):
            if fd != self.port:
                try:
                    self.netlink.recv(65536)
                except OSError:
                    # More than it could keep; what there is now is looked at below.
                    pass
            elif events & select.POLLIN:
                self.read()
            else:
                time.sleep(0.3)
        self.progress()
        self.release()


def main():
    path = None
    for _ in range(600):
        path = os.path.isdir("/sys/class/virtio-ports") and find_port()
        if path and os.path.exists(path):
            break
        time.sleep(0.05)
    if not path:
        # Started by something other than kvmc: the boot must not wait for it.
        notify()
        return
    Agent(os.open(path, os.O_RDWR | os.O_NONBLOCK)).run()


if __name__ == "__main__":
    main()
