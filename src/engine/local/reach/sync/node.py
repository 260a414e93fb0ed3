"""The node's side of `sync`, which ssh gives to the node's Python (3.6 or later) for one connection.

It reads lines of JSON on stdin and answers on stdout. Names are bytes, written as Latin-1. No name leads out of the folder:
each is opened part by part, and links are never followed. A file is written beside its place and takes it when it is whole.
"""
import errno
import json
import os
import stat
import struct
import sys

FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
FULL = (errno.ENOSPC, errno.EDQUOT)
SHOWN = 20  # failures that are told one by one
END, DISCARD = 0, 0xFFFFFFFF  # in the place of a length

came, goes = sys.stdin.buffer, sys.stdout.buffer


class Gone(Exception):
    """kvmc has ended, or the connection has."""


class Fatal(Exception):
    """Nothing more can be done here."""


def hear():
    line = came.readline()
    if not line.endswith(b"\n"):
        raise Gone()
    return json.loads(line.decode())


def say(value):
    goes.write(json.dumps(value).encode() + b"\n")
    goes.flush()


def exactly(length):
    data = came.read(length)
    if len(data) < length:
        raise Gone()
    return data


def name(text):
    return text.encode("latin-1")


def text(name):
    return name.decode("latin-1")


def why(error):
    return (error.strerror or str(error)).lower()


def is_same_time(there, wanted):
    """File systems that keep whole seconds cannot say more."""
    return there == wanted or (there % 10**9 == 0 and there // 10**9 == wanted // 10**9)


class Target:
    """The folder that is brought to what the host's holds."""

    def __init__(self, path, delete):
        home = os.path.expanduser(b"~")
        if path == b"~" or path.startswith(b"~/"):
            path = home + path[1:]
        self.path = os.path.join(os.getcwdb(), path)
        self.root = None
        self.at = None  # the last folder, opened
        self.modes = {}  # of folders, which they get last
        self.failed, self.failures, self.removed = [], 0, 0
        self.temporary = b".kvmc-sync.%d" % os.getpid()
        real = os.path.realpath(self.path)
        if os.path.lexists(self.path) and not os.path.isdir(self.path):
            raise Fatal("`%s` is no folder" % text(self.path))
        for kept in (home, os.getcwdb()):
            if delete and (os.path.realpath(kept) + b"/").startswith(real.rstrip(b"/") + b"/"):
                raise Fatal("`%s` holds the user's home folder, from which --delete would remove the user's keys" % text(real))

    def open(self):
        """Opens the folder, if there is one."""
        if self.root is None and os.path.isdir(self.path):
            self.root = os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return self.root is not None

    def make(self):
        if not self.open():
            try:
                os.makedirs(self.path)
            except OSError as error:
                raise Fatal("`%s` cannot be made: %s" % (text(self.path), why(error)))
            self.open()

    def leave(self):
        if self.at is not None:
            os.close(self.at[1])
            self.at = None

    def parent(self, path):
        """The opened folder of a path, and the last part of the path."""
        folder, last = os.path.split(path)
        if self.at is None or self.at[0] != folder:
            self.leave()
            fd = os.dup(self.root)
            for part in folder.split(b"/") if folder else []:
                try:
                    below = os.open(part, FOLDER, dir_fd=fd)
                finally:
                    os.close(fd)
                fd = below
            self.at = (folder, fd)
        return self.at[1], last

    def look(self, path):
        fd, last = self.parent(path)
        return os.stat(last, dir_fd=fd, follow_symlinks=False)

    def fail(self, path, error):
        self.failures += 1
        if len(self.failed) < SHOWN:
            self.failed.append([text(path), error if isinstance(error, str) else why(error)])

    def difference(self, entry):
        """What a path of the host lacks here: nothing, only its mode, or all."""
        kind, path, mode, size, time, link = entry
        try:
            there = self.look(path)
            if kind == "l":
                fd, last = self.parent(path)
                is_same = stat.S_ISLNK(there.st_mode) and os.readlink(last, dir_fd=fd) == link
                return None if is_same else "all"
        except OSError:
            return "all"
        if kind == "d":
            is_same = stat.S_ISDIR(there.st_mode)
        else:
            is_same = stat.S_ISREG(there.st_mode) and there.st_size == size and is_same_time(there.st_mtime_ns, time)
        if not is_same:
            return "all"
        return None if stat.S_IMODE(there.st_mode) == mode else "mode"

    def surplus(self, known):
        """What is here and not on the host, each folder before what is in it. Other file systems are left alone."""
        found, folders, device = [], [b""], os.fstat(self.root).st_dev
        while folders:
            folder = folders.pop()
            prefix = folder + b"/" if folder else b""
            try:
                fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.parent(prefix + b"x")[0])
            except OSError:
                continue
            for last in sorted(map(os.fsencode, os.listdir(fd))):
                try:
                    there = os.stat(last, dir_fd=fd, follow_symlinks=False)
                except OSError:
                    continue
                if there.st_dev != device:
                    continue
                is_folder = stat.S_ISDIR(there.st_mode)
                if prefix + last not in known:
                    found.append([is_folder, text(prefix + last)])
                if is_folder:
                    folders.append(prefix + last)
            os.close(fd)
        return found

    def remove(self, path):
        try:
            fd, last = self.parent(path)
            if stat.S_ISDIR(self.look(path).st_mode):
                self.reachable(lambda: os.rmdir(last, dir_fd=fd))
            else:
                self.reachable(lambda: os.unlink(last, dir_fd=fd))
            self.removed += 1
        except OSError as error:
            # A folder stays for what is left out, and for what could not be removed.
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ENOTEMPTY):
                self.fail(path, error)

    def reachable(self, act):
        """Acts in the last folder, which may be one that its owner may not write into."""
        try:
            return act()
        except PermissionError:
            folder, fd = self.at
            mode = stat.S_IMODE(os.fstat(fd).st_mode)
            if mode & 0o300 == 0o300:
                raise
            os.chmod(b"/proc/self/fd/%d" % fd, mode | 0o700)
            self.modes.setdefault(folder, mode)
            return act()

    def clear(self, path, keeps_folder):
        """Makes place for something of another kind."""
        fd, last = self.parent(path)
        try:
            is_folder = stat.S_ISDIR(self.look(path).st_mode)
        except FileNotFoundError:
            return False
        if is_folder and keeps_folder:
            return True
        if is_folder:
            try:
                os.rmdir(last, dir_fd=fd)
            except OSError as error:
                if error.errno == errno.ENOTEMPTY:
                    raise OSError(errno.ENOTEMPTY, "a folder of this name is not empty on the node")
                raise
        elif keeps_folder:
            self.reachable(lambda: os.unlink(last, dir_fd=fd))
        return False

    def folder(self, path, mode):
        try:
            if not self.clear(path, True):
                fd, last = self.parent(path)
                self.reachable(lambda: os.mkdir(last, 0o700, dir_fd=fd))
            self.modes[path] = mode
        except OSError as error:
            self.stop_if_full(path, error)
            self.fail(path, error)

    def link(self, path, to):
        try:
            self.clear(path, False)
            fd, last = self.parent(path)
            self.reachable(lambda: os.symlink(to, self.temporary, dir_fd=fd))
            os.rename(self.temporary, last, src_dir_fd=fd, dst_dir_fd=fd)
        except OSError as error:
            self.stop_if_full(path, error)
            self.fail(path, error)

    def mode(self, path, mode):
        try:
            fd, last = self.parent(path)
            if stat.S_ISREG(self.look(path).st_mode):
                os.chmod(last, mode, dir_fd=fd)
        except OSError as error:
            self.fail(path, error)

    def file(self, path, mode, time):
        fd = out = error = None
        try:
            fd, last = self.parent(path)
            out = self.reachable(lambda: os.open(self.temporary, NEW, 0o600, dir_fd=fd))
        except OSError as failure:
            error = failure
        is_whole = False
        size = 0
        try:
            while True:
                length = struct.unpack(">I", exactly(4))[0]
                if length in (END, DISCARD):
                    is_whole = length == END
                    break
                data = exactly(length)
                if error is None:
                    try:
                        size = self.write(out, data, size)
                    except OSError as failure:
                        error = failure
                        if error.errno in FULL:
                            break
            if is_whole and error is None:
                os.ftruncate(out, size)
                os.fchmod(out, mode)
                os.utime(out, ns=(time, time))
                self.clear(path, False)
                os.rename(self.temporary, last, src_dir_fd=fd, dst_dir_fd=fd)
                os.close(out)
                out = None
        except OSError as failure:
            error = failure
        finally:
            if out is not None:
                os.close(out)
                os.unlink(self.temporary, dir_fd=fd)
        if error is not None:
            self.stop_if_full(path, error)
            self.fail(path, error)

    @staticmethod
    def write(out, data, size):
        """Leaves zeros out, so that a file with holes keeps most of them."""
        if data.count(0) == len(data):
            os.lseek(out, len(data), os.SEEK_CUR)
        else:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(out, rest):]
        return size + len(data)

    def stop_if_full(self, path, error):
        if error.errno in FULL:
            self.finish()
            raise Fatal("no space is left on the node for `%s`" % text(path))

    def finish(self):
        """Gives folders their modes, the deepest first."""
        for path in sorted(self.modes, reverse=True):
            mode = self.modes[path]
            try:
                if path == b"":
                    os.chmod(b"/proc/self/fd/%d" % self.root, mode)
                    continue
                fd, last = self.parent(path)
                if stat.S_ISDIR(self.look(path).st_mode):
                    os.chmod(last, mode, dir_fd=fd)
            except OSError as error:
                self.fail(path, error)
        self.modes = {}
        self.leave()


def compare(target, request):
    """Reads the host's paths, and says which of them differ here and what else is here."""
    entries, known, needs, modes = [], set(), [], []
    is_there = target.open()
    walks = request["walk"]
    for number in range(request["entries"]):
        kind, path, mode, size, time, link = hear()
        entry = (kind, name(path), mode, size, time, name(link))
        difference = target.difference(entry) if is_there else "all"
        entries.append(entry if difference else None)
        if difference == "all":
            needs.append(number)
        elif difference == "mode":
            modes.append(number)
        if walks:
            known.add(entry[1])
    surplus = target.surplus(known) if walks and is_there else []
    target.leave()
    say({"needs": needs, "modes": modes, "surplus": surplus})
    return entries


def apply(target, entries):
    """Does what the host says, one thing a line, until it has said all."""
    target.make()
    while True:
        item = hear()
        what = item[0]
        if what == "end":
            break
        if what == "remove":
            target.remove(name(item[1]))
            continue
        if what == "file":
            target.file(name(item[1]), item[2], item[3])
            continue
        kind, path, mode, _, _, link = entries[item[1]]
        if what == "mode" and kind == "f":
            target.mode(path, mode)
        elif kind == "d":
            target.folder(path, mode)
        elif kind == "l":
            target.link(path, link)
    target.finish()
    say({"removed": target.removed, "failed": target.failed, "failures": target.failures})
    target.failed, target.failures, target.removed = [], 0, 0


def main():
    head = hear()
    try:
        target = Target(name(head["path"]), head["delete"])
        say({"ready": text(target.path)})
        while True:
            entries = compare(target, hear())
            if hear() == ["apply"]:
                apply(target, entries)
    except Fatal as fatal:
        say({"fatal": str(fatal)})
    except Gone:
        pass


main()
