"""Sends frames as a hostile guest would, and prints for each whether the neighbour sees it.

spoof.py FROM TO: the ends of two ports of a bridge. The guest at FROM is 52:54:00:00:00:05, 192.0.2.5 and
fd00:1:2:3:5054:ff:fe00:5; its neighbour at TO is ...:06 and 192.0.2.6; the host is 192.0.2.1.
"""

import socket
import struct
import sys
import time

OWN, NEIGHBOUR, HOST = (bytes.fromhex("52540000000" + n) for n in "561")
OWN_IP, NEIGHBOUR_IP, HOST_IP, NONE = (socket.inet_aton(a) for a in ("192.0.2.5", "192.0.2.6", "192.0.2.1", "0.0.0.0"))
ALL = b"\xff" * 6


def ip6(text):
    return socket.inet_pton(socket.AF_INET6, text)


LINK, GLOBAL = ip6("fe80::5054:ff:fe00:5"), ip6("fd00:1:2:3:5054:ff:fe00:5")


def frame(kind, body, ether=OWN, to=NEIGHBOUR):
    return to + ether + struct.pack("!H", kind) + body


def arp(sender, target=NEIGHBOUR_IP, hardware=OWN, operation=2, **more):
    body = struct.pack("!HHBBH", 1, 0x800, 6, 4, operation) + hardware + sender + NEIGHBOUR + target
    return frame(0x806, body, **more)


def ipv4_packet(source, payload=None, protocol=17, target=NEIGHBOUR_IP):
    payload = udp(1000, 2000) if payload is None else payload
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0) + source + target
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return head[:10] + struct.pack("!H", total ^ 0xFFFF) + head[12:] + payload


def ipv4(source, payload=None, protocol=17, target=NEIGHBOUR_IP, **more):
    return frame(0x800, ipv4_packet(source, payload, protocol, target), **more)


def udp(source, target):
    return struct.pack("!HHHH", source, target, 12, 0) + b"kvmc"


def ipv6(source, payload, protocol=58, before=b""):
    head = struct.pack("!IHBB", 6 << 28, len(before) + len(payload), 0 if before else protocol, 255)
    return frame(0x86DD, head + source + ip6("ff02::1") + before + payload)


def icmp6(kind, body=b"\0" * 24):
    return struct.pack("!BBH", kind, 0, 0) + body


def neighbour(kind, target):
    return icmp6(kind, b"\0" * 4 + target)


def tagged(kind, number, body):
    return frame(kind, struct.pack("!HH", number, 0x800) + body)


FRAMES = {
    "own address": ipv4(OWN_IP),
    "own arp": arp(OWN_IP),
    "own arp to all": arp(OWN_IP, to=ALL),
    "arp probe": arp(NONE, operation=1, to=ALL),
    "dhcp discover": ipv4(NONE, udp(68, 67), to=ALL),
    "igmp join": ipv4(NONE, b"\x16" + b"\0" * 7, 2),
    "floating address": ipv4(socket.inet_aton("192.0.2.200")),
    "floating arp": arp(socket.inet_aton("192.0.2.200")),
    "pod address": ipv4(socket.inet_aton("10.244.3.4")),
    "own link-local": ipv6(LINK, udp(1, 2), 17),
    "own global": ipv6(GLOBAL, udp(1, 2), 17),
    "own advertisement": ipv6(LINK, neighbour(136, LINK)),
    "own global advertisement": ipv6(GLOBAL, neighbour(136, GLOBAL)),
    "solicitation": ipv6(LINK, neighbour(135, ip6("fe80::1"))),
    "address probe": ipv6(ip6("::"), neighbour(135, LINK)),
    "group report": ipv6(ip6("::"), icmp6(143), before=b"\x3a\0\x05\x02\0\0\x01\0"),
    "vlan 5": tagged(0x8100, 5, ipv4_packet(OWN_IP)),
    "! neighbour's address": ipv4(NEIGHBOUR_IP),
    "! host's address": ipv4(HOST_IP),
    "! outside address": ipv4(socket.inet_aton("8.8.8.8")),
    "! no address": ipv4(NONE),
    "! neighbour's arp": arp(NEIGHBOUR_IP),
    "! host's arp": arp(HOST_IP),
    "! host's arp to all": arp(HOST_IP, to=ALL),
    "! host's arp request": arp(HOST_IP, operation=1, to=ALL),
    "! arp of other hardware": arp(OWN_IP, hardware=HOST),
    "! neighbour in a floating range": ipv4(socket.inet_aton("192.0.2.6")),
    "! dhcp offer": ipv4(OWN_IP, udp(67, 68)),
    "! dhcp offer of the host": ipv4(HOST_IP, udp(67, 68), to=ALL),
    "! router advertisement": ipv6(LINK, icmp6(134)),
    "! router advertisement behind options": ipv6(LINK, icmp6(134), before=b"\x3a\0\x05\x02\0\0\x01\0"),
    "! redirect": ipv6(LINK, icmp6(137, b"\0" * 36)),
    "! advertisement of the host": ipv6(LINK, neighbour(136, ip6("fe80::1"))),
    "! advertisement of a neighbour": ipv6(LINK, neighbour(136, ip6("fd00:1:2:3:5054:ff:fe00:6"))),
    "! advertisement from no address": ipv6(ip6("::"), neighbour(136, ip6("fd00:1:2:3::1"))),
    "! neighbour's global": ipv6(ip6("fd00:1:2:3:5054:ff:fe00:6"), udp(1, 2), 17),
    "! host's link-local": ipv6(ip6("fe80::1"), udp(1, 2), 17),
    "! dhcpv6 reply": ipv6(LINK, udp(547, 546), 17),
    "! vlan 0": tagged(0x8100, 0, ipv4_packet(HOST_IP)),
    "! vlan 0 with priority": tagged(0x8100, 0xE000, ipv4_packet(HOST_IP)),
    "! service tag": tagged(0x88A8, 5, ipv4_packet(HOST_IP)),
    "! random ethernet address": ipv4(OWN_IP, ether=b"\x02\x01\x02\x03\x04\x05"),
    # Last, because without the guard the bridge then sends the neighbour's frames to this port.
    "! neighbour's ethernet address": ipv4(OWN_IP, ether=NEIGHBOUR, to=ALL),
}


def heard(receiver, wanted):
    receiver.settimeout(0.15)
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        try:
            seen = receiver.recv(2000)
        except TimeoutError:
            return False
        # The kernel takes a VLAN's tag out of the frame.
        if seen[:12] == wanted[:12] and wanted[-12:] in seen:
            return True
    return False


def main():
    sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    sender.bind((sys.argv[1], 0))
    receiver = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    receiver.setsockopt(socket.SOL_SOCKET, 33, 1 << 26)  # SO_RCVBUFFORCE
    receiver.bind((sys.argv[2], 3))
    for name, data in FRAMES.items():
        # What the links sent by themselves is no answer.
        receiver.setblocking(False)
        try:
            while True:
                receiver.recv(2000)
        except BlockingIOError:
            pass
        sender.send(data)
        print(name, "->", "seen" if heard(receiver, data) else "not seen")
    flood = arp(OWN_IP, operation=1, to=ALL)
    for _ in range(20000):
        sender.send(flood)
    time.sleep(0.2)
    receiver.setblocking(False)
    count = 0
    try:
        while True:
            count += receiver.recv(2000) == flood
    except BlockingIOError:
        pass
    print("flood ->", count)


main()
