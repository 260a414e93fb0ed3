"""The agent's connection to the host: lines of JSON in QMP's form. messages.json in kvmc's sources lists the messages."""
import json
import os
import select
import time

PORT = "org.kvmc.agent.0"
PORTS = "/sys/class/virtio-ports/"
VERSION = 6

DECODER = json.JSONDecoder()


def decode(line):
    """A request's name, arguments and id; None if the line is not a request."""
    try:
        # The same as json.loads without its checks.
        request = DECODER.raw_decode(line.decode())[0]
        name = request["execute"]
    except (ValueError, KeyError, TypeError):
        return None
    return name, request.get("arguments") or {}, request.get("id")


class Connection:
    """A virtio-serial port, non-blocking."""

    def __init__(self, port):
        self.port = port
        self.buffer = b""

    def send(self, message):
        data = json.dumps(message).encode() + b"\n"
        while data:
            try:
                data = data[os.write(self.port, data):]
            except BlockingIOError:
                # Nobody reads at the host's end, so the message is dropped.
                if not select.select([], [self.port], [], 1)[1]:
                    return

    def event(self, name, **data):
        self.send({"event": name, "data": data})

    def lines(self):
        """The whole lines that the host has sent."""
        try:
            chunk = os.read(self.port, 65536)
        except BlockingIOError:
            return []
        if not chunk:
            # The host's end is closed, and poll() would report that again at once.
            self.buffer = b""
            time.sleep(0.3)
            return []
        self.buffer += chunk
        *lines, self.buffer = self.buffer.split(b"\n")
        return lines
