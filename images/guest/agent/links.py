"""The kernel's side of the NICs: netdevice(7) and rtnetlink(7)."""
import errno
import fcntl
import os
import socket
import struct

SIOCGIFFLAGS, SIOCSIFFLAGS = 0x8913, 0x8914  # netdevice(7)
SIOCGIFHWADDR, SIOCSIFHWADDR, SIOCGIFADDR = 0x8927, 0x8924, 0x8915
SIOCSIFMTU, SIOCGIFINDEX = 0x8922, 0x8933
ARPHRD_ETHER, ETHERNET_MTU = 1, 1500
IFF_UP, IFF_RUNNING = 1, 0x40
RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR = 1, 0x10, 0x100  # rtnetlink(7)
SOL_NETLINK, NETLINK_DROP_MEMBERSHIP, RTNLGRP_LINK = 270, 2, 1
NLM_F_REQUEST, NLM_F_ACK, NLM_F_CREATE = 1, 4, 0x400  # netlink(7)
RTM_NEWADDR, RTM_NEWROUTE = 20, 24
IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_RT_PRIORITY = 1, 2, 4, 9
RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC = 4, 5, 6, 7
RT_TABLE_MAIN, RTPROT_DHCP, RT_SCOPE_UNIVERSE, RTN_UNICAST = 254, 16, 0, 1
IFA_F_TENTATIVE, IPV6_ADDR_SCOPE_GLOBAL = 0x40, "00"  # /proc/net/if_inet6
# networkd's metric for routes from DHCP, systemd.network(5).
METRIC = 1024

# Made on import, and so before a machine is frozen: code that runs for the first time in a clone costs time.
INET = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
ROUTE = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)


def watch():
    """A socket that becomes readable when a link or an address changes."""
    changes = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
    changes.bind((0, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR))
    return changes


def ignore_links(changes):
    """Makes only addresses wake that socket, since the links of a Kubernetes node come and go."""
    changes.setsockopt(SOL_NETLINK, NETLINK_DROP_MEMBERSHIP, RTNLGRP_LINK)


def interface(request, name, payload=b""):
    return fcntl.ioctl(INET, request, struct.pack("16s24s", name.encode(), payload))


def flags(name):
    return struct.unpack("H", interface(SIOCGIFFLAGS, name)[16:18])[0]


def set_flags(name, value):
    interface(SIOCSIFFLAGS, name, struct.pack("H", value))


def index_of(name):
    """The same as if_nametoindex(3), without a socket of its own."""
    return struct.unpack("i", interface(SIOCGIFINDEX, name)[16:20])[0]


def mac_bytes(mac):
    return bytes(int(part, 16) for part in mac.split(":"))


def set_mac(name, mac):
    wanted = mac_bytes(mac)
    if interface(SIOCGIFHWADDR, name)[18:24] == wanted:
        return
    change = struct.pack("H", ARPHRD_ETHER) + wanted
    try:
        # virtio NICs allow this while they are up (IFF_LIVE_ADDR_CHANGE).
        interface(SIOCSIFHWADDR, name, change)
    except OSError:
        set_flags(name, flags(name) & ~IFF_UP)
        interface(SIOCSIFHWADDR, name, change)
        set_flags(name, flags(name) | IFF_UP)


def address(name="eth0"):
    """A NIC's IPv4 address, or None."""
    try:
        return socket.inet_ntoa(interface(SIOCGIFADDR, name)[20:24])
    except OSError:
        return None


def has_carrier(name):
    try:
        return bool(flags(name) & IFF_RUNNING)
    except OSError:
        return False


def has_global(table, name):
    """Whether a NIC has a global IPv6 address that is usable, by the text of /proc/net/if_inet6."""
    for line in table.splitlines():
        fields = line.split()
        if len(fields) == 6 and fields[5] == name and fields[3] == IPV6_ADDR_SCOPE_GLOBAL:
            if not int(fields[4], 16) & IFA_F_TENTATIVE:
                return True
    return False


def attribute(kind, data):
    return struct.pack("HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def broadcast(own, prefix):
    hosts = (1 << 32 - prefix) - 1
    return struct.pack("!I", struct.unpack("!I", own)[0] | hosts)


def address_message(index, own, prefix):
    """The body of RTM_NEWADDR for an IPv4 address."""
    return (
        struct.pack("BBBBI", socket.AF_INET, prefix, 0, RT_SCOPE_UNIVERSE, index)
        + attribute(IFA_LOCAL, own)
        + attribute(IFA_ADDRESS, own)
        + attribute(IFA_BROADCAST, broadcast(own, prefix))
        + attribute(IFA_RT_PRIORITY, struct.pack("I", METRIC))
    )


def route_message(index, own, router):
    """The body of RTM_NEWROUTE for the default route."""
    kind = (RT_TABLE_MAIN, RTPROT_DHCP, RT_SCOPE_UNIVERSE, RTN_UNICAST)
    return (
        struct.pack("BBBBBBBBI", socket.AF_INET, 0, 0, 0, *kind, 0)
        + attribute(RTA_GATEWAY, router)
        + attribute(RTA_PREFSRC, own)
        + attribute(RTA_OIF, struct.pack("I", index))
        + attribute(RTA_PRIORITY, struct.pack("I", METRIC))
    )


def ask_kernel(kind, body):
    """Makes the kernel create an object. An existing one is not an error."""
    head = struct.pack("IHHII", 16 + len(body), kind, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE, 1, 0)
    ROUTE.send(head + body)
    error = -struct.unpack_from("i", ROUTE.recv(4096), 16)[0]
    if error not in (0, errno.EEXIST):
        raise OSError(error, os.strerror(error))


def set_addresses(nics):
    """Gives the NICs the addresses and the route that networkd would set from their leases.

    networkd finds them when it continues.
    """
    for number, nic in enumerate(nics):
        name = "eth%d" % number
        index = index_of(name)
        if nic["mtu"] != ETHERNET_MTU:
            interface(SIOCSIFMTU, name, struct.pack("I", nic["mtu"]))
        own = socket.inet_aton(nic["address"])
        ask_kernel(RTM_NEWADDR, address_message(index, own, nic["prefix"]))
        if nic.get("router"):
            ask_kernel(RTM_NEWROUTE, route_message(index, own, socket.inet_aton(nic["router"])))
