"""Announces an address, as a machine that begins to use it does, RFC 5227 section 2.3: LINK ADDRESS."""
import socket, sys
link, address = sys.argv[1:]
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
s.bind((link, 0x0806))
own, who = s.getsockname()[4], socket.inet_aton(address)
s.send(b"\xff" * 6 + own + b"\x08\x06\0\1\x08\0\6\4\0\1" + own + who + bytes(6) + who)
