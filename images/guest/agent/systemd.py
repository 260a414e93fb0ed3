"""Tells systemd that the boot may continue."""
import os
import socket


def notify():
    """Tells systemd that this service has started, sd_notify(3)."""
    path = os.environ.get("NOTIFY_SOCKET")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"READY=1", "\0" + path[1:] if path[0] == "@" else path)
