import os
import tempfile
import unittest
from unittest import mock

from agent import blocks, files, given, identity


class Blocks(unittest.TestCase):
    def test_only_what_is_between_the_marks_is_changed(self):
        text = blocks.with_lines("mine\n", "ours\n")
        self.assertEqual(text, "mine\n# kvmc begin\nours\n# kvmc end\n")
        self.assertEqual(blocks.with_lines(text + "more\n", "new\n"), "mine\n# kvmc begin\nnew\n# kvmc end\nmore\n")
        self.assertEqual(blocks.lines_of(text), "ours\n")
        self.assertEqual(blocks.with_lines("no line feed", ""), "no line feed\n# kvmc begin\n# kvmc end\n")

    def test_half_a_block_is_none(self):
        for text in ("", "# kvmc begin\nx\n", "x # kvmc begin\ny\n# kvmc end\n", "# kvmc end\n# kvmc begin\n"):
            self.assertIsNone(blocks.lines_of(text), text)
        self.assertEqual(blocks.lines_of("# kvmc begin\n# kvmc end\n"), "")


class Marks(unittest.TestCase):
    def test_a_mark_is_read_as_it_was_written(self):
        was = given.parse(given.Given("ab", {"/etc/hosts": "x\n"}, False).text())
        self.assertEqual((was.machine_id, was.lines, was.whole), ("ab", {"/etc/hosts": "x\n"}, False))

    def test_the_mark_of_an_agent_before_version_4_has_an_id_alone(self):
        was = given.parse("ab\n")
        self.assertEqual((was.machine_id, was.lines, was.whole), ("ab", {}, True))

    def test_a_frozen_machine_is_nobodys(self):
        for text in ("", "\n", "\n\0\0\0"):
            self.assertIsNone(given.parse(text).machine_id, repr(text))


class Texts(unittest.TestCase):
    def test_the_nodes_name_has_its_address_and_the_full_name_first(self):
        self.assertEqual(identity.hosts_lines("master0", "k80.internal", "192.168.80.2"),
                         "192.168.80.2 master0.k80.internal master0\n")
        self.assertEqual(identity.hosts_lines("master0", None, "192.168.80.2"), "192.168.80.2 master0\n")
        self.assertEqual(identity.hosts_lines("master0", "d", None), "127.0.1.1 master0.d master0\n")

    def test_hosts_of_a_new_machine_keep_what_an_images_maker_wrote(self):
        self.assertTrue(identity.hosts("", "x\n").startswith("127.0.0.1 localhost\n::1 localhost "))
        old = "127.0.0.1 localhost\n127.0.1.1 old.d old\n10.0.0.1 registry\n"
        self.assertEqual(identity.hosts(old, "x\n"),
                         "127.0.0.1 localhost\n10.0.0.1 registry\n# kvmc begin\nx\n# kvmc end\n")

    def test_resolv_conf_names_servers_and_domain(self):
        self.assertEqual(identity.resolv_lines(["10.0.0.1", "10.0.0.2"], "d"),
                         "nameserver 10.0.0.1\nnameserver 10.0.0.2\nsearch d\n")
        self.assertEqual(identity.resolv_lines([], None), "")

    def test_the_password_of_the_user_alone_is_set(self):
        before = "root:*:1::::::\nadmin:!:19000:0:99999:7:::\nadministrator:!:1::::::\n"
        after = "root:*:1::::::\nadmin:$6$x:19000:0:99999:7:::\nadministrator:!:1::::::\n"
        self.assertEqual(identity.set_password(before, "admin", "$6$x"), after)

    def test_a_key_is_added_where_its_base64_is_not(self):
        self.assertEqual(identity.with_keys("\n", ["ssh-rsa A me"]), "ssh-rsa A me\n")
        for there in ("ssh-rsa A other\n", 'from="10.0.0.1" ssh-rsa A me\n', "ssh-rsa B\nssh-rsa A"):
            self.assertEqual(identity.with_keys(there, ["ssh-rsa A me"]), there)
        self.assertEqual(identity.with_keys("ssh-rsa B", ["ssh-rsa A me"]), "ssh-rsa B\nssh-rsa A me\n")


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
        with mock.patch.multiple(identity, write=put, overwrite=put, read=lambda path: "admin:!:1\n" if path == identity.SHADOW else "",
                                 show=self.shown.__setitem__), \
                mock.patch.object(given, "load", given.Given), mock.patch.object(identity.os.path, "isfile"), \
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
        self.assertEqual(given.parse(self.written[given.MARK]).machine_id, "ab")
        self.assertEqual(self.written["/etc/shadow"], "admin:$6$:1\n")
        self.assertEqual(self.written[identity.AUTHORIZED_KEYS], "ssh-rsa A\n")
        self.assertEqual(self.written["/etc/resolv.conf"], "# kvmc begin\nnameserver 1.2.3.4\nsearch d\n# kvmc end\n")
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
        self.assertNotIn(given.MARK, self.written)

    def test_sshd_restarts_only_for_keys_that_it_has_not(self):
        for changed in (False, True):
            sshd = Sshd(changed)
            self.take(sshd)
            self.assertEqual(sshd.restarts, int(changed))

    def test_a_host_before_version_3_speaks_of_one_nic(self):
        self.take(nics=None, mac="52:54:00:00:00:02")
        self.set_up.assert_called_once_with([{"mac": "52:54:00:00:00:02"}])


class Files(unittest.TestCase):
    """take() on a machine whose files lie in a folder."""

    PATHS = {"HOSTNAME": "hostname", "HOSTS": "hosts", "RESOLV_CONF": "resolv.conf", "MACHINE_ID": "machine-id",
             "SHADOW": "shadow", "AUTHORIZED_KEYS": "ssh/authorized_keys", "SSH_FOLDER": "ssh", "RUN": "run/",
             "IS_TEMPLATE": "run/template"}
    ARGUMENTS = {
        "hostname": "worker1", "machine_id": "ab", "authorized_keys": ["ssh-rsa A kvmc"], "password_hash": "$6$given",
        "search": "k80.internal", "dns": ["192.168.80.1"], "nics": [{"address": "192.168.80.3"}],
        "host_keys": {kind: {"private": kind + "\n", "public": kind + " pub\n"} for kind in identity.ssh.KINDS},
    }

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name + "/"
        paths = {name: self.folder + path for name, path in self.PATHS.items()}
        for patch in (mock.patch.multiple(identity, **paths),
                      mock.patch.object(given, "MARK", self.folder + "configured"),
                      mock.patch.object(identity.ssh, "KEYS", self.folder + "ssh_host_%s_key"),
                      mock.patch.object(identity.socket, "sethostname"), mock.patch.object(identity.network, "set_up"),
                      mock.patch.object(identity.ssh, "spare"), mock.patch.object(files.os, "fchown"),
                      mock.patch.object(identity.os, "chown"), mock.patch.object(identity.os, "sync")):
            patch.start()
            self.addCleanup(patch.stop)
        self.write("shadow", "root:*:1::::::\nadmin:!:19000:0:99999:7:::\n")

    def write(self, name, text):
        with open(self.folder + name, "w") as file:
            file.write(text)

    def text(self, name):
        return files.read(self.folder + name)

    def all(self):
        found = {}
        for folder, _, names in os.walk(self.folder):
            for name in names:
                path = os.path.join(folder, name)
                found[path] = os.readlink(path) if os.path.islink(path) else files.read(path)
        return found

    def take(self, **more):
        self.sshd = identity.ssh.Sshd()
        with mock.patch.object(self.sshd, "restart") as self.restarted:
            identity.take({**self.ARGUMENTS, **more}, self.sshd, mock.Mock())

    def changed_by_its_user(self):
        self.take()
        self.write("hostname", "renamed\n")
        self.write("hosts", self.text("hosts") + "10.0.0.1 registry\n")
        self.write("shadow", self.text("shadow").replace("$6$given", "$6$own"))
        self.write("ssh/authorized_keys", self.text("ssh/authorized_keys") + "ssh-rsa B colleague\n")
        self.write("ssh_host_rsa_key", "own\n")
        os.unlink(self.folder + "resolv.conf")
        os.symlink("/run/systemd/resolve/stub-resolv.conf", self.folder + "resolv.conf")

    def test_a_new_machine_gets_everything(self):
        self.take()
        self.assertEqual(self.text("hostname"), "worker1\n")
        self.assertEqual(self.text("machine-id"), "ab\n")
        self.assertIn("192.168.80.3 worker1.k80.internal worker1\n", self.text("hosts"))
        self.assertEqual(self.text("resolv.conf"),
                         "# kvmc begin\nnameserver 192.168.80.1\nsearch k80.internal\n# kvmc end\n")
        self.assertIn("admin:$6$given:", self.text("shadow"))
        self.assertEqual(self.text("ssh/authorized_keys"), "ssh-rsa A kvmc\n")
        self.assertEqual(self.text("ssh_host_ecdsa_key"), "ecdsa\n")
        identity.socket.sethostname.assert_called_once_with("worker1")

    def test_what_its_user_changed_stays_at_later_boots(self):
        self.changed_by_its_user()
        before = self.all()
        identity.socket.sethostname.reset_mock()
        self.take()
        self.assertEqual(self.all(), before)
        self.assertFalse(identity.socket.sethostname.called or self.restarted.called)

    def test_what_is_missing_of_kvmcs_own_comes_back_and_nothing_else(self):
        self.take()
        self.write("ssh/authorized_keys", "ssh-rsa B colleague")
        os.unlink(self.folder + "ssh_host_ecdsa_key")
        os.unlink(self.folder + "resolv.conf")
        self.write("hosts", "127.0.0.1 localhost\n")
        self.take()
        self.assertEqual(self.text("ssh/authorized_keys"), "ssh-rsa B colleague\nssh-rsa A kvmc\n")
        self.assertEqual(self.text("ssh_host_ecdsa_key"), "ecdsa\n")
        self.assertTrue(self.restarted.called)
        self.assertFalse(os.path.exists(self.folder + "resolv.conf"))
        self.assertEqual(self.text("hosts"), "127.0.0.1 localhost\n")

    def test_a_file_that_gets_our_key_keeps_its_mode(self):
        self.take()
        self.write("ssh/authorized_keys", "")
        os.chmod(self.folder + "ssh/authorized_keys", 0o640)
        self.take()
        self.assertEqual(os.stat(self.folder + "ssh/authorized_keys").st_mode & 0o777, 0o640)

    def test_our_lines_change_when_what_they_say_does_and_only_where_they_are_ours(self):
        self.take()
        self.write("hosts", "10.0.0.1 registry\n" + self.text("hosts"))
        self.take(dns=["10.9.9.9"], nics=[{"address": "192.168.80.9"}])
        self.assertIn("192.168.80.9 worker1", self.text("hosts"))
        self.assertNotIn("192.168.80.3", self.text("hosts"))
        self.assertTrue(self.text("hosts").startswith("10.0.0.1 registry\n"))
        self.assertIn("nameserver 10.9.9.9\n", self.text("resolv.conf"))
        # A user's line between the marks is his.
        self.write("resolv.conf", self.text("resolv.conf").replace("10.9.9.9", "1.1.1.1"))
        self.take(dns=["10.8.8.8"])
        self.assertIn("nameserver 1.1.1.1\n", self.text("resolv.conf"))

    def test_a_clone_of_an_image_is_a_new_machine(self):
        self.changed_by_its_user()
        # As images/src/layer/identity.rs leaves it.
        for name in ("configured", "ssh/authorized_keys", "ssh_host_rsa_key", "ssh_host_ed25519_key", "ssh_host_ecdsa_key"):
            os.unlink(self.folder + name)
        self.write("machine-id", "")
        self.take(machine_id="cd", hostname="worker2", nics=[{"address": "192.168.80.4"}])
        self.assertEqual((self.text("machine-id"), self.text("hostname")), ("cd\n", "worker2\n"))
        self.assertIn("192.168.80.4 worker2.k80.internal worker2\n", self.text("hosts"))
        self.assertIn("10.0.0.1 registry\n", self.text("hosts"))
        self.assertNotIn("worker1", self.text("hosts"))
        self.assertIn("admin:$6$given:", self.text("shadow"))
        self.assertEqual(self.text("ssh/authorized_keys"), "ssh-rsa A kvmc\n")
        self.assertEqual(self.text("ssh_host_rsa_key"), "rsa\n")
        self.assertIn("nameserver 192.168.80.1\n", self.text("resolv.conf"))

    def test_a_node_of_an_agent_before_version_4_keeps_what_it_has(self):
        self.changed_by_its_user()
        self.write("configured", "ab\n")
        self.write("hosts", "127.0.0.1 localhost\n127.0.1.1 worker1\n")
        before = self.all()
        self.take()
        del before[given.MARK]
        after = self.all()
        del after[given.MARK]
        self.assertEqual(after, before)

    def frozen(self):
        self.take(template=True, hostname="t", machine_id="tt", password_hash="!", authorized_keys=[], search=None,
                  dns=[], nics=[{}], host_keys={})
        for kind in identity.ssh.KINDS:
            self.write("ssh_host_%s_key" % kind, "\n")
        self.write("configured", "\n")

    def test_a_clone_that_lost_power_before_its_files_were_on_disk_is_completed(self):
        self.frozen()
        before = {name: self.text(name) for name in ("hostname", "hosts", "resolv.conf", "shadow", "ssh/authorized_keys",
                                                     "machine-id", "ssh_host_rsa_key")}
        self.take(woken=True)
        whole = self.all()
        for name, text in before.items():
            # The old text, with zeros where the new one is longer.
            new = self.text(name)
            self.write(name, text + "\0" * max(0, len(new) - len(text)))
        self.take()
        after = self.all()
        self.assertFalse(given.parse(whole.pop(given.MARK)).whole)
        self.assertTrue(given.parse(after.pop(given.MARK)).whole)
        self.assertEqual(after, whole)

    def test_a_clone_that_reboots_at_once_keeps_its_users_changes(self):
        self.frozen()
        self.take(woken=True)
        self.write("hosts", self.text("hosts") + "10.0.0.1 registry\n")
        self.write("hostname", "renamed\n")
        before = self.all()
        self.take()
        del before[given.MARK]
        after = self.all()
        del after[given.MARK]
        self.assertEqual(after, before)

    def test_a_clone_is_whole_once_it_has_synced(self):
        self.frozen()
        self.take(woken=True)
        identity.confirm()
        self.assertTrue(identity.os.sync.called)
        self.assertTrue(given.load().whole)
