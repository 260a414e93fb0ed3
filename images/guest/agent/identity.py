"""Writes the node's identity where programs look for it: names, ids, keys and addresses.

The agent writes it once. At later boots the agent adds what is missing of kvmc's own, and touches nothing that the user
may have changed.
"""
import os
import socket
import stat

from . import clock, given, network, ssh
from .blocks import lines_of, with_lines
from .covers import BOOT_ID, PRODUCT_UUID, show
from .files import RUN, overwrite, read, write

ADMIN, ADMIN_ID, SHADOW_GROUP = "admin", 1000, 42
SSH_FOLDER = "/home/admin/.ssh"
AUTHORIZED_KEYS = SSH_FOLDER + "/authorized_keys"
HOSTNAME, HOSTS, RESOLV_CONF = "/etc/hostname", "/etc/hosts", "/etc/resolv.conf"
MACHINE_ID, SHADOW = "/etc/machine-id", "/etc/shadow"
# kvmc's units check it: this machine will be frozen.
IS_TEMPLATE = RUN + "template"
# As hosts(5) has them in Debian.
LOCAL = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\nff02::1 ip6-allnodes\nff02::2 ip6-allrouters\n"
# Debian's address for a name without one; a host of before version 4 may tell none.
NO_ADDRESS = "127.0.1.1"
# The name of a machine that is to be frozen, and a password that no one has.
FROZEN_NAME, FROZEN_HASH = "t", "!"


def is_configured():
    """Whether this machine got an identity before."""
    return given.load().machine_id is not None


def text_of(path):
    """A file's text, or none if there is no file.

    A file that grew in memory before a power cut has zeros at its end. They do not count.
    """
    try:
        return read(path).partition("\0")[0]
    except OSError:
        return ""


def hosts_lines(name, domain, address):
    """Our lines in /etc/hosts: the node's address, not one of the loopback, which programs would tell to others."""
    full = name + "." + domain + " " if domain else ""
    return "%s %s%s\n" % (address or NO_ADDRESS, full, name)


def hosts(text, lines):
    """The text of /etc/hosts for a new machine: the old one's own name goes, and what its user wrote stays."""
    kept = [line for line in text.splitlines(True) if line.split()[:1] != [NO_ADDRESS]]
    if not any("localhost" in line.split()[1:] for line in kept):
        kept.insert(0, LOCAL)
    return with_lines("".join(kept), lines)


def resolv_lines(servers, domain):
    """Our lines in /etc/resolv.conf."""
    lines = ["nameserver " + server for server in servers]
    if domain:
        lines.append("search " + domain)
    return "".join(line + "\n" for line in lines)


def resolv_conf(text, lines):
    """The text of /etc/resolv.conf for a new machine. A file without our block is another resolver's."""
    return with_lines(text if lines_of(text) is not None else "", lines)


def set_password(shadow, user, password_hash):
    """The text of /etc/shadow with the user's hash, shadow(5)."""
    lines = []
    for line in shadow.splitlines():
        fields = line.split(":")
        if fields[0] == user:
            fields[1] = password_hash
        lines.append(":".join(fields))
    return "\n".join(lines) + "\n"


def has_frozen_password(shadow):
    return any(line.split(":")[:2] == [ADMIN, FROZEN_HASH] for line in shadow.splitlines())


def with_keys(text, keys):
    """The text of authorized_keys with those keys that it lacks, sshd(8).

    A key is known by its base64, so one with options or another comment is there.
    """
    words = text.split()
    missing = [key for key in keys if key.split()[1:2] and key.split()[1] not in words]
    if text.strip() == "":
        text = ""
    elif missing and not text.endswith("\n"):
        text += "\n"
    return text + "".join(key + "\n" for key in missing)


def take(arguments, sshd, disk):
    """Makes the machine this node; returns its first random bytes, which no other node may have."""
    woken = arguments.get("woken")
    if "time" in arguments:
        clock.set_clock(arguments["time"])
    if "seed" in arguments:
        clock.reseed(arguments["seed"])
    first = os.urandom(32).hex()
    if arguments.get("boot_id"):
        show(BOOT_ID, arguments["boot_id"] + "\n")
    if arguments.get("uuid"):
        show(PRODUCT_UUID, arguments["uuid"] + "\n")
    nics = network.nics_of(arguments)
    lines = {
        HOSTS: hosts_lines(arguments["hostname"], arguments.get("search"), nics[0].get("address")),
        RESOLV_CONF: resolv_lines(arguments.get("dns", []), arguments.get("search")),
    }
    was = given.load()
    is_new = arguments.get("template") or was.machine_id != arguments["machine_id"]
    changed = give(arguments, lines, sshd) if is_new else complete(arguments, lines, sshd, was)
    if arguments.get("disk"):
        disk.grow(arguments["disk"])
    network.set_up(nics)
    if not woken:
        ssh.spare(nics)
    if changed:
        sshd.restart()
    if arguments.get("template"):
        os.makedirs(RUN, exist_ok=True)
        write(IS_TEMPLATE, "")
    elif is_new or was.lines != lines or not was.whole:
        if not was.whole:
            os.sync()
        put = overwrite if woken else write
        put(given.MARK, given.Given(arguments["machine_id"], lines, not woken).text())
    if not woken:
        os.sync()
    return first


def give(arguments, lines, sshd):
    """Gives a new machine all of its identity; true when sshd has to read its keys again."""
    put = overwrite if arguments.get("woken") else write
    socket.sethostname(arguments["hostname"])
    put(HOSTNAME, arguments["hostname"] + "\n")
    put(HOSTS, hosts(text_of(HOSTS), lines[HOSTS]))
    put(MACHINE_ID, arguments["machine_id"] + "\n", 0o444)
    changed = sshd.give_keys(arguments.get("host_keys", {}), put)
    make_ssh_folder()
    keys = with_keys(text_of(AUTHORIZED_KEYS), arguments["authorized_keys"])
    put(AUTHORIZED_KEYS, keys, 0o600, ADMIN_ID, ADMIN_ID)
    give_password(arguments, put)
    is_file = os.path.isfile(RESOLV_CONF) and not os.path.islink(RESOLV_CONF)
    put(RESOLV_CONF, resolv_conf(text_of(RESOLV_CONF) if is_file else "", lines[RESOLV_CONF]))
    return changed


def give_password(arguments, put):
    put(SHADOW, set_password(text_of(SHADOW), ADMIN, arguments["password_hash"]), 0o640, 0, SHADOW_GROUP)


def make_ssh_folder():
    if not os.path.isdir(SSH_FOLDER):
        os.mkdir(SSH_FOLDER, 0o700)
        os.chown(SSH_FOLDER, ADMIN_ID, ADMIN_ID)


def complete(arguments, lines, sshd, was):
    """Adds what is missing of kvmc's own, and what a clone had not on its disk when the power went."""
    if not was.whole:
        repair(arguments)
        frozen = {HOSTS: hosts_lines(FROZEN_NAME, None, None), RESOLV_CONF: ""}
        for path, text in lines.items():
            update(path, frozen[path], text)
    for path, text in lines.items():
        update(path, was.lines.get(path), text)
    text = text_of(AUTHORIZED_KEYS)
    more = with_keys(text, arguments["authorized_keys"])
    if more != text:
        make_ssh_folder()
        rewrite(AUTHORIZED_KEYS, more, 0o600, ADMIN_ID)
    return sshd.give_missing_keys(arguments.get("host_keys", {}), write)


def repair(arguments):
    """Replaces what is the frozen machine's yet."""
    if text_of(HOSTNAME).strip() in ("", FROZEN_NAME):
        socket.sethostname(arguments["hostname"])
        write(HOSTNAME, arguments["hostname"] + "\n")
    if text_of(MACHINE_ID).strip() != arguments["machine_id"]:
        write(MACHINE_ID, arguments["machine_id"] + "\n", 0o444)
    if has_frozen_password(text_of(SHADOW)):
        give_password(arguments, write)


def update(path, old, new):
    """Changes our lines in a file from what they were given as; lines that the user changed or removed stay so."""
    if old is None or old == new or os.path.islink(path):
        return
    text = text_of(path)
    if lines_of(text) == old:
        rewrite(path, with_lines(text, new))


def rewrite(path, text, mode=0o644, owner=0):
    """Replaces a file, which keeps its mode and owner; a link stays, and leads to the new text."""
    path = os.path.realpath(path)
    try:
        status = os.stat(path)
        mode, uid, gid = stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid
    except OSError:
        uid = gid = owner
    write(path, text, mode, uid, gid)


def confirm():
    """Notes that all that a clone was given has reached its disk."""
    os.sync()
    was = given.load()
    if was.machine_id and not was.whole:
        was.whole = True
        overwrite(given.MARK, was.text())
