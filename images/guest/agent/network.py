"""The node's network: writes networkd's files for its NICs, and checks their addresses."""
import errno
import os

from .files import read, write
from .links import address, has_carrier, has_global, set_mac

FOLDER = "/etc/systemd/network/"
RUN_FOLDER = "/run/systemd/network/"
FIRST = "10-eth0.network"
# A copy of the template's file for the first NIC, to detect changes.
ORIGINAL = "/usr/lib/kvmc/eth0.network"
IPV6 = """LinkLocalAddressing=ipv6
IPv6AcceptRA=yes
IPv6DuplicateAddressDetection=0
[IPv6AcceptRA]
Token=eui64
DHCPv6Client=no
"""
MORE = """[Match]
Name=%s
[Link]
RequiredForOnline=no
[DHCPv4]
ClientIdentifier=mac
UseMTU=yes
UseHostname=no
UseGateway=no
UseDNS=no
[Network]
DHCP=ipv4
"""
NO_IPV6 = "LinkLocalAddressing=no\nIPv6AcceptRA=no\n"


def nics_of(arguments):
    """The NICs of an identity. A host older than version 3 sends only one."""
    return arguments.get("nics") or [{"mac": arguments.get("mac")}]


def network_file(number, ipv6):
    """Path and text of networkd's file for a NIC. The template has its own file for the first one.

    None if there is nothing to add. A file of that name in /etc wins over it, systemd.network(5).
    """
    name = "10-eth%d.network" % number
    if number:
        return name, MORE % ("eth%d" % number) + (IPV6 if ipv6 else NO_IPV6)
    return (name + ".d/ipv6.conf", "[Network]\n" + IPV6) if ipv6 else None


def set_up(nics):
    """Writes networkd's files, which it reads when it starts, and sets the Ethernet addresses."""
    for number, nic in enumerate(nics):
        file = network_file(number, nic.get("ipv6"))
        if file:
            path = RUN_FOLDER + file[0]
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if not os.path.exists(path):
                write(path, file[1])
        if nic.get("mac"):
            try:
                set_mac("eth%d" % number, nic["mac"])
            except OSError as error:
                # There is no such NIC. The host sees this by the missing address.
                if error.errno != errno.ENODEV:
                    raise


def is_addressed(nics):
    """Whether every NIC has a carrier and all of its addresses."""
    for number, nic in enumerate(nics):
        name = "eth%d" % number
        if not address(name) or not has_carrier(name):
            return False
        if nic.get("ipv6"):
            if not has_global(read("/proc/net/if_inet6"), name):
                return False
    return True


def is_original():
    """Whether networkd's configuration is only the template's, so that no image has changed it."""
    try:
        return os.listdir(FOLDER) == [FIRST] and read(FOLDER + FIRST) == read(ORIGINAL)
    except OSError:
        return False
