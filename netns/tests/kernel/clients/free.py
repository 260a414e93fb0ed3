"""Exits with 1 if a station answers by ARP for an address: LINK ADDRESS."""
import socket, sys, time
link, address = sys.argv[1:]
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
s.bind((link, 0x0806))
own = s.getsockname()[4]
who = socket.inet_aton(address)
s.send(b"\xff" * 6 + own + b"\x08\x06\0\1\x08\0\6\4\0\1" + own + bytes(4) + bytes(6) + who)
s.settimeout(0.3)
until = time.monotonic() + 0.5
while time.monotonic() < until:
    try:
        frame = s.recv(64)
    except TimeoutError:
        continue
    if frame[28:32] == who and frame[22:28] != own:
        sys.exit(1)
