"""Reads and writes files by fewer instructions than open() takes."""
import os
import stat

# The folder of kvmc's files that last until the machine is off.
RUN = "/run/kvmc/"


def read(path):
    """The text of a file."""
    fd = os.open(path, os.O_RDONLY)
    try:
        data = b""
        while True:
            chunk = os.read(fd, 65536)
            if not chunk:
                return data.decode("utf-8", "surrogateescape")
            data += chunk
    finally:
        os.close(fd)


def encoded(text):
    """The bytes of a text that read() may have given: not all that users write is UTF-8."""
    return text.encode("utf-8", "surrogateescape")


def write(path, text, mode=0o644, uid=0, gid=0):
    """Replaces a file. After a power cut either the old or the new file is there, whole."""
    new = path + ".kvmc"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        os.fchmod(fd, mode)
        os.fchown(fd, uid, gid)
        os.write(fd, encoded(text))
    finally:
        os.close(fd)
    os.rename(new, path)


def overwrite(path, text, mode=0o644, uid=0, gid=0):
    """Overwrites a file that write() made before, without a new inode and without ext4's flush at a rename.

    After a power cut the old text may be there with zeros behind it. The next boot repairs that, see identity.complete().
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return write(path, text, mode, uid, gid)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return write(path, text, mode, uid, gid)
        data = encoded(text)
        os.write(fd, data)
        # Only if needed: ext4 does much work even for a truncation that cuts nothing.
        if os.fstat(fd).st_size > len(data):
            os.ftruncate(fd, len(data))
    finally:
        os.close(fd)
