import unittest
from unittest import mock

from agent import identity


class Texts(unittest.TestCase):
    def test_hosts_have_the_full_name_first_where_there_is_a_domain(self):
        text = identity.hosts("master0", "k80.internal")
        self.assertIn("127.0.1.1 master0.k80.internal master0\n", text)
        self.assertIn("127.0.1.1 master0\n", identity.hosts("master0", None))
        self.assertTrue(text.startswith("127.0.0.1 localhost\n"))

    def test_resolv_conf_names_servers_and_domain(self):
        self.assertEqual(identity.resolv_conf(["10.0.0.1", "10.0.0.2"], "d"),
                         "nameserver 10.0.0.1\nnameserver 10.0.0.2\nsearch d\n")
        self.assertEqual(identity.resolv_conf([], None), "")

    def test_the_password_of_the_user_alone_is_set(self):
        before = "root:*:1::::::\nadmin:!:19000:0:99999:7:::\nadministrator:!:1::::::\n"
        after = "root:*:1::::::\nadmin:$6$x:19000:0:99999:7:::\nadministrator:!:1::::::\n"
        self.assertEqual(identity.set_password(before, "admin", "$6$x"), after)


class Sshd:
    def __init__(self, changed=False):
        self.changed, self.restarts = changed, 0

    def give_keys(self, pairs, put):
        self.pairs = pairs
        return self.changed

    def restart(self):
        self.restarts += 1


class Taken(unittest.TestCase):
    """Runs take() and catches its changes to the machine."""

    ARGUMENTS = {
        "hostname": "worker1", "machine_id": "ab", "authorized_keys": ["ssh-rsa A"], "password_hash": "$6$",
        "host_keys": {}, "search": "d", "dns": ["1.2.3.4"], "disk": 7, "nics": [{"mac": "52:54:00:00:00:01"}],
    }

    def take(self, sshd=None, **more):
        self.written, self.shown, self.sync = {}, {}, mock.Mock()
        put = lambda path, text, *_: self.written.__setitem__(path, text)
        self.disk, self.reseed, self.set_clock, self.spare = mock.Mock(), mock.Mock(), mock.Mock(), mock.Mock()
        with mock.patch.multiple(identity, write=put, overwrite=put, read=lambda _: "admin:!:1\n",
                                 show=self.shown.__setitem__), \
                mock.patch.multiple(identity.os, sync=self.sync, mkdir=mock.Mock(), chown=mock.Mock(),
                                    makedirs=mock.Mock()), \
                mock.patch.multiple(identity.clock, reseed=self.reseed, set_clock=self.set_clock), \
                mock.patch.object(identity.socket, "sethostname") as self.name, \
                mock.patch.object(identity.network, "set_up") as self.set_up, \
                mock.patch.object(identity.ssh, "spare", self.spare):
            return identity.take({**self.ARGUMENTS, **more}, sshd or Sshd(), self.disk)

    def test_a_node_that_boots_gets_all_of_its_identity(self):
        first = self.take(time=5, seed="AAAA")
        self.assertEqual(len(first), 64)
        self.name.assert_called_once_with("worker1")
        self.assertEqual(self.written["/etc/hostname"], "worker1\n")
        self.assertEqual(self.written["/etc/machine-id"], "ab\n")
        self.assertEqual(self.written[identity.MARK], "ab\n")
        self.assertEqual(self.written["/etc/shadow"], "admin:$6$:1\n")
        self.assertEqual(self.written[identity.AUTHORIZED_KEYS], "ssh-rsa A\n")
        self.assertEqual(self.written["/etc/resolv.conf"], "nameserver 1.2.3.4\nsearch d\n")
        self.disk.grow.assert_called_once_with(7)
        self.set_up.assert_called_once_with(self.ARGUMENTS["nics"])
        self.set_clock.assert_called_once_with(5)
        self.reseed.assert_called_once_with("AAAA")
        self.assertTrue(self.spare.called and self.sync.called)

    def test_a_clone_shows_its_ids_and_neither_syncs_nor_spares(self):
        self.take(woken=True, boot_id="b", uuid="u")
        self.assertEqual(self.shown, {identity.BOOT_ID: "b\n", identity.PRODUCT_UUID: "u\n"})
        self.assertFalse(self.sync.called or self.spare.called or self.reseed.called or self.set_clock.called)

    def test_a_template_is_marked_and_not_configured(self):
        self.take(template=True)
        self.assertIn(identity.IS_TEMPLATE, self.written)
        self.assertNotIn(identity.MARK, self.written)

    def test_sshd_restarts_only_for_keys_that_it_has_not(self):
        for changed in (False, True):
            sshd = Sshd(changed)
            self.take(sshd)
            self.assertEqual(sshd.restarts, int(changed))

    def test_a_host_before_version_3_speaks_of_one_nic(self):
        self.take(nics=None, mac="52:54:00:00:00:02")
        self.set_up.assert_called_once_with([{"mac": "52:54:00:00:00:02"}])
