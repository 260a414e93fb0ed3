"""Writes the node's identity where programs look for it: names, ids, keys and addresses."""
import os
import socket

from . import clock, network, ssh
from .covers import BOOT_ID, PRODUCT_UUID, show
from .files import RUN, overwrite, read, write

ADMIN, ADMIN_ID, SHADOW_GROUP = "admin", 1000, 42
SSH_FOLDER = "/home/admin/.ssh"
AUTHORIZED_KEYS = SSH_FOLDER + "/authorized_keys"
RESOLV_CONF = "/etc/resolv.conf"
MACHINE_ID = "/etc/machine-id"
# Exists if the machine has an identity. In a frozen machine it holds a line feed.
MARK = "/var/lib/kvmc/configured"
# kvmc's units check it: this machine will be frozen.
IS_TEMPLATE = RUN + "template"


def is_configured():
    """Whether this machine got an identity before."""
    try:
        return bool(read(MARK).strip())
    except OSError:
        return False


def hosts(name, domain):
    """The text of /etc/hosts."""
    full = name + "." + domain + " " if domain else ""
    return "127.0.0.1 localhost\n127.0.1.1 %s%s\n::1 localhost ip6-localhost\n" % (full, name)


def resolv_conf(servers, domain):
    """The text of /etc/resolv.conf."""
    lines = ["nameserver " + server for server in servers]
    if domain:
        lines.append("search " + domain)
    return "".join(line + "\n" for line in lines)


def set_password(shadow, user, password_hash):
    """The text of /etc/shadow with the user's hash, shadow(5)."""
    lines = []
    for line in shadow.splitlines():
        fields = line.split(":")
        if fields[0] == user:
            fields[1] = password_hash
        lines.append(":".join(fields))
    return "\n".join(lines) + "\n"


def take(arguments, sshd, disk):
    """Makes the machine this node; returns its first random bytes, which no other node may have."""
    woken = arguments.get("woken")
    if "time" in arguments:
        clock.set_clock(arguments["time"])
    if "seed" in arguments:
        clock.reseed(arguments["seed"])
    first = os.urandom(32).hex()
    put = overwrite if woken else write
    name, domain = arguments["hostname"], arguments.get("search")
    socket.sethostname(name)
    put("/etc/hostname", name + "\n")
    put("/etc/hosts", hosts(name, domain))
    put(MACHINE_ID, arguments["machine_id"] + "\n", 0o444)
    if arguments.get("boot_id"):
        show(BOOT_ID, arguments["boot_id"] + "\n")
    if arguments.get("uuid"):
        show(PRODUCT_UUID, arguments["uuid"] + "\n")
    changed = sshd.give_keys(arguments.get("host_keys", {}), put)
    if not os.path.isdir(SSH_FOLDER):
        os.mkdir(SSH_FOLDER, 0o700)
        os.chown(SSH_FOLDER, ADMIN_ID, ADMIN_ID)
    keys = "".join(key + "\n" for key in arguments["authorized_keys"])
    put(AUTHORIZED_KEYS, keys, 0o600, ADMIN_ID, ADMIN_ID)
    shadow = set_password(read("/etc/shadow"), ADMIN, arguments["password_hash"])
    put("/etc/shadow", shadow, 0o640, 0, SHADOW_GROUP)
    put(RESOLV_CONF, resolv_conf(arguments.get("dns", []), domain))
    if arguments.get("disk"):
        disk.grow(arguments["disk"])
    nics = network.nics_of(arguments)
    network.set_up(nics)
    if not woken:
        ssh.spare(nics)
    if changed:
        sshd.restart()
    if arguments.get("template"):
        os.makedirs(RUN, exist_ok=True)
        write(IS_TEMPLATE, "")
    else:
        put(MARK, arguments["machine_id"] + "\n")
    if not woken:
        os.sync()
    return first
