"""D-Bus, as far as the agent needs it: a call of logind's, and systemd's word of units that it had to kill.

By the D-Bus specification's marshalling, for a program such as busctl costs an emulated guest a second.
"""
import socket
import struct

SYSTEM, PRIVATE = "/run/dbus/system_bus_socket", "/run/systemd/private"
RETURN, ERROR, SIGNAL = 2, 3, 4
NO_AUTO_START = 2
PATH, INTERFACE, MEMBER, ERROR_NAME, REPLY_SERIAL, DESTINATION, SIGNATURE = 1, 2, 3, 4, 5, 6, 8
# Seconds that an answer may take.
PATIENCE = 5
UNITS = "/org/freedesktop/systemd1/unit/"
# systemd's property Result with the value of a unit that was killed because it took too long.
RESULT, TIMEOUT = b"Result\0\1s\0", b"timeout\0"


def pad(length, to):
    return bytes(-length % to)


def string(text):
    data = text.encode()
    return struct.pack("<I", len(data)) + data + b"\0"


def field(code, kind, text):
    """A field of a message's head: a string, an object's path or a signature."""
    value = bytes([len(text)]) + text.encode() + b"\0" if kind == b"g" else string(text)
    return bytes([code, 1]) + kind + b"\0" + value


def call(serial, destination, path, interface, member, signature="", body=b""):
    """The bytes of a method call."""
    fields = b""
    for code, kind, text in ((PATH, b"o", path), (INTERFACE, b"s", interface), (MEMBER, b"s", member),
                             (DESTINATION, b"s", destination), (SIGNATURE, b"g", signature)):
        if text:
            fields += pad(len(fields), 8) + field(code, kind, text)
    head = struct.pack("<cBBBIII", b"l", 1, NO_AUTO_START, 1, len(body), serial, len(fields))
    return head + fields + pad(len(fields), 8) + body


class Message:
    def __init__(self, kind, fields, body):
        self.kind, self.fields, self.body = kind, fields, body


def take_message(data):
    """The first message of what was received and the rest; None where it is not whole yet."""
    if len(data) < 16:
        return None, data
    order = "<" if data[:1] == b"l" else ">"
    length, _, heads = struct.unpack_from(order + "III", data, 4)
    start = 16 + heads + -heads % 8
    if len(data) < start + length:
        return None, data
    fields, at = {}, 16
    while at < 16 + heads:
        at += -at % 8
        code, kind = data[at], data[at + 2:at + 3]
        at += 4
        if kind == b"g":
            size = data[at]
            fields[code] = data[at + 1:at + 1 + size].decode()
            at += size + 2
        elif kind == b"u":
            fields[code] = struct.unpack_from(order + "I", data, at)[0]
            at += 4
        else:
            size = struct.unpack_from(order + "I", data, at)[0]
            fields[code] = data[at + 4:at + 4 + size].decode()
            at += size + 5
    return Message(data[1], fields, data[start:start + length]), data[start + length:]


def connect(path):
    """A connection that has authenticated as root, and what was received after that."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(PATIENCE)
        connection.connect(path)
        # The user's number in hex of its digits.
        connection.sendall(b"\0AUTH EXTERNAL 30\r\n")
        answer = b""
        while b"\r\n" not in answer:
            answer += received(connection)
        if not answer.startswith(b"OK"):
            raise OSError("D-Bus refuses root")
        connection.sendall(b"BEGIN\r\n")
        return connection, answer.partition(b"\r\n")[2]
    except OSError:
        connection.close()
        raise


def received(connection):
    data = connection.recv(65536)
    if not data:
        raise OSError("D-Bus ended the connection")
    return data


def ask(destination, path, interface, member, signature, body):
    """Calls a method on the system's bus; the answer, or an error's message."""
    connection, data = connect(SYSTEM)
    try:
        hello = call(1, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello")
        connection.sendall(hello + call(2, destination, path, interface, member, signature, body))
        while True:
            message, data = take_message(data)
            if message is None:
                data += received(connection)
            elif message.kind in (RETURN, ERROR) and message.fields.get(REPLY_SERIAL) == 2:
                return message
    finally:
        connection.close()


def unit_of(path):
    """A unit's name, of which an object's path has all but letters and digits as _ and two hex digits."""
    first, *parts = path[len(UNITS):].split("_")
    return first + "".join(chr(int(part[:2], 16)) + part[2:] for part in parts)


def killed_unit(message):
    """The unit that a signal of systemd's says was killed because it took too long to stop, or None."""
    path = message.fields.get(PATH, "")
    if message.kind != SIGNAL or not path.startswith(UNITS):
        return None
    at = message.body.find(RESULT)
    if at < 0:
        return None
    at += len(RESULT)
    at += -at % 4 + 4
    return unit_of(path) if message.body.startswith(TIMEOUT, at) else None


class Farewell:
    """Listens to systemd while it stops the units."""

    def __init__(self):
        self.connection, self.data = None, b""
        self.told = set()

    def begin(self):
        if self.connection is not None:
            return
        try:
            self.connection, self.data = connect(PRIVATE)
            self.connection.setblocking(False)
        except OSError:
            self.connection = None

    def fileno(self):
        return None if self.connection is None else self.connection.fileno()

    def killed(self):
        """Units that were killed since it was last asked."""
        try:
            self.data += received(self.connection)
        except BlockingIOError:
            return []
        except OSError:
            self.connection.close()
            self.connection = None
            return []
        found = []
        while True:
            message, self.data = take_message(self.data)
            if message is None:
                return found
            unit = killed_unit(message)
            if unit and unit not in self.told:
                self.told.add(unit)
                found.append(unit)
