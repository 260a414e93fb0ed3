import errno
import struct
import unittest
from unittest import mock

from agent import links, network


class Messages(unittest.TestCase):
    def attributes(self, body):
        found = {}
        while body:
            length, kind = struct.unpack_from("HH", body)
            found[kind] = body[4:length]
            body = body[length + -length % 4:]
        return found

    def test_an_address_has_its_prefix_link_and_broadcast(self):
        body = links.address_message(3, bytes([10, 0, 0, 9]), 24)
        self.assertEqual(struct.unpack_from("BBBBI", body), (2, 24, 0, 0, 3))
        found = self.attributes(body[8:])
        self.assertEqual(found[links.IFA_LOCAL], bytes([10, 0, 0, 9]))
        self.assertEqual(found[links.IFA_ADDRESS], bytes([10, 0, 0, 9]))
        self.assertEqual(found[links.IFA_BROADCAST], bytes([10, 0, 0, 255]))
        self.assertEqual(struct.unpack("I", found[links.IFA_RT_PRIORITY]), (1024,))

    def test_a_route_is_the_one_that_dhcp_gives(self):
        body = links.route_message(3, bytes([10, 0, 0, 9]), bytes([10, 0, 0, 1]))
        self.assertEqual(struct.unpack_from("BBBBBBBBI", body), (2, 0, 0, 0, 254, 16, 0, 1, 0))
        found = self.attributes(body[12:])
        self.assertEqual(found[links.RTA_GATEWAY], bytes([10, 0, 0, 1]))
        self.assertEqual(found[links.RTA_PREFSRC], bytes([10, 0, 0, 9]))
        self.assertEqual(struct.unpack("I", found[links.RTA_OIF]), (3,))

    def test_an_attribute_is_padded_to_four_bytes(self):
        self.assertEqual(links.attribute(1, b"abc"), struct.pack("HH", 7, 1) + b"abc\0")

    def test_broadcasts_of_odd_prefixes(self):
        for prefix, last in ((8, [10, 255, 255, 255]), (30, [10, 1, 2, 7]), (32, [10, 1, 2, 5])):
            self.assertEqual(links.broadcast(bytes([10, 1, 2, 5]), prefix), bytes(last))

    def kernel(self, error):
        answer = struct.pack("IHHII", 36, 2, 0, 1, 0) + struct.pack("i", -error) + bytes(16)
        return mock.patch.object(links, "ROUTE", mock.Mock(recv=lambda _: answer))

    def test_what_the_kernel_has_already_is_no_error_and_what_it_refuses_is(self):
        for error in (0, errno.EEXIST):
            with self.kernel(error):
                links.ask_kernel(links.RTM_NEWADDR, b"")
        with self.kernel(errno.ENODEV), self.assertRaises(OSError) as caught:
            links.ask_kernel(links.RTM_NEWADDR, b"")
        self.assertEqual(caught.exception.errno, errno.ENODEV)

    def test_addresses_are_set_on_each_nic_and_the_route_where_there_is_a_router(self):
        nics = [{"address": "10.0.0.9", "prefix": 24, "mtu": 1400, "router": "10.0.0.1"},
                {"address": "10.1.0.9", "prefix": 16, "mtu": 1500}]
        with mock.patch.multiple(links, index_of=lambda name: int(name[3:]) + 2, ask_kernel=mock.DEFAULT,
                                 interface=mock.DEFAULT) as caught:
            links.set_addresses(nics)
        kinds = [call[0][0] for call in caught["ask_kernel"].call_args_list]
        self.assertEqual(kinds, [links.RTM_NEWADDR, links.RTM_NEWROUTE, links.RTM_NEWADDR])
        caught["interface"].assert_called_once_with(links.SIOCSIFMTU, "eth0", struct.pack("I", 1400))

    def test_a_nic_without_an_address_is_an_error(self):
        with mock.patch.object(links, "index_of", lambda _: 2), self.assertRaises(KeyError):
            links.set_addresses([{"mac": "52:54:00:00:00:01"}])


class Nics(unittest.TestCase):
    def test_a_mac_is_set_once_and_with_the_link_down_where_it_must_be(self):
        new, asked = links.mac_bytes("52:54:00:00:00:01"), []

        def interface(request, _, payload=b""):
            asked.append(request)
            if request == links.SIOCGIFHWADDR:
                return bytes(18) + (new if same else bytes(6)) + bytes(16)
            if request == links.SIOCSIFHWADDR and asked.count(request) == 1:
                raise OSError(errno.EBUSY, "busy")
            return bytes(40)

        with mock.patch.object(links, "interface", interface):
            for same in (True, False):
                del asked[:]
                links.set_mac("eth0", "52:54:00:00:00:01")
                self.assertEqual(asked.count(links.SIOCSIFHWADDR), 0 if same else 2)
                self.assertEqual(asked.count(links.SIOCSIFFLAGS), 0 if same else 2)

    def test_a_global_address_counts_once_it_is_not_tentative(self):
        table = "fe80000000000000505400fffe000001 02 40 20 80     eth0\n%s 02 40 00 %s     eth0\n"
        self.assertTrue(links.has_global(table % ("fd" + "0" * 30, "80"), "eth0"))
        self.assertFalse(links.has_global(table % ("fd" + "0" * 30, "c0"), "eth0"))
        self.assertFalse(links.has_global(table % ("fd" + "0" * 30, "80"), "eth1"))
        self.assertFalse(links.has_global("odd line\n", "eth0"))

    def test_networkd_is_told_only_what_the_template_does_not_say(self):
        self.assertIsNone(network.network_file(0, False))
        path, text = network.network_file(0, True)
        self.assertEqual(path, "10-eth0.network.d/ipv6.conf")
        self.assertIn("IPv6AcceptRA=yes", text)
        path, text = network.network_file(2, False)
        self.assertEqual(path, "10-eth2.network")
        self.assertIn("Name=eth2", text)
        self.assertIn("IPv6AcceptRA=no", text)

    def test_a_node_is_addressed_when_every_nic_is(self):
        state = {"eth0": ("10.0.0.9", True), "eth1": (None, True)}
        table = "fd%030d 02 40 00 80 eth0\n" % 1
        with mock.patch.multiple(network, address=lambda name: state[name][0], has_carrier=lambda name: state[name][1],
                                 read=lambda _: table):
            self.assertTrue(network.is_addressed([{"ipv6": True}]))
            self.assertFalse(network.is_addressed([{}, {}]))
            state["eth1"] = ("10.1.0.9", False)
            self.assertFalse(network.is_addressed([{}, {}]))
            state["eth1"] = ("10.1.0.9", True)
            self.assertTrue(network.is_addressed([{}, {}]))
            self.assertFalse(network.is_addressed([{}, {"ipv6": True}]))

    def test_a_nic_that_is_missing_is_no_error_of_set_up(self):
        with mock.patch.object(network, "set_mac", side_effect=OSError(errno.ENODEV, "none")):
            network.set_up([{"mac": "52:54:00:00:00:01"}])
        with mock.patch.object(network, "set_mac", side_effect=OSError(errno.EPERM, "no")):
            self.assertRaises(OSError, network.set_up, [{"mac": "52:54:00:00:00:01"}])
