import os
import tempfile
import unittest
from unittest import mock

from agent import ssh

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
ROW = "   0: 00000000:%04X 00000000:0000 %s 00000000:00000000 00:00000000 00000000     0        0 %d 1\n"


class Listening(unittest.TestCase):
    def test_the_socket_that_listens_on_the_port_is_found(self):
        table = HEAD + ROW % (80, "0A", 1) + ROW % (22, "01", 2) + ROW % (22, "0A", 3)
        self.assertEqual(ssh.listener(table, 22), "3")
        self.assertIsNone(ssh.listener(table, 2222))
        self.assertIsNone(ssh.listener(HEAD + "odd\n", 22))

    def test_another_sshd_or_key_has_another_mark(self):
        with tempfile.TemporaryDirectory() as folder, mock.patch.object(ssh, "KEYS", folder + "/%s"), \
                mock.patch.object(ssh, "ssh_listener", side_effect=["7", "7", "7", "8", None]):
            none = ssh.mark()
            with open(folder + "/rsa", "w") as file:
                file.write("key")
            one = ssh.mark()
            self.assertEqual(one, ssh.mark())
            self.assertEqual(len({none, one, ssh.mark()}), 3)
            self.assertIsNone(ssh.mark())

    def test_a_configuration_that_names_addresses(self):
        self.assertTrue(ssh.names("Port 22\n  listenaddress 10.0.0.1\n", "listenaddress"))
        self.assertFalse(ssh.names("Port 22\n#ListenAddress 0.0.0.0\n", "listenaddress"))

    def spared(self, nics=None, cmdline="kvmc.coldplug=virtio", told=()):
        written = {}
        with mock.patch.multiple(ssh, read=lambda _: cmdline, is_told=lambda word: word in told,
                                 write=lambda path, text: written.update({path: text})), \
                mock.patch.object(ssh.os, "makedirs"):
            ssh.spare(nics)
        return written.get(ssh.SPARED)

    def test_an_emulated_sshd_offers_one_key_unless_its_user_names_keys(self):
        key = "HostKey /etc/ssh/ssh_host_ed25519_key\n"
        self.assertEqual(self.spared([{}]), key + "AddressFamily inet\n")
        self.assertEqual(self.spared([{"ipv6": True}]), key)
        self.assertEqual(self.spared(), key)
        self.assertEqual(self.spared([{}], told=("hostkey", "listenaddress")), "")
        self.assertIsNone(self.spared([{}], cmdline="root=/dev/vda"))


class Keys(unittest.TestCase):
    PAIRS = {"ed25519": {"private": "E\n", "public": "e\n"}, "rsa": {"private": "R\n", "public": "r\n"}}

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        patch = mock.patch.object(ssh, "KEYS", self.folder.name + "/%s_key")
        patch.start()
        self.addCleanup(patch.stop)

    def put(self, path, text, *_):
        with open(path, "w") as file:
            file.write(text)

    def test_new_keys_are_written_and_have_sshd_read_them_again(self):
        self.assertTrue(ssh.Sshd().give_keys(self.PAIRS, self.put))
        self.assertEqual(ssh.read(ssh.KEYS % "rsa"), "R\n")
        self.assertEqual(ssh.read(ssh.KEYS % "ed25519" + ".pub"), "e\n")
        self.assertFalse(ssh.Sshd().give_keys(self.PAIRS, self.put), "the same keys again")

    def test_an_sshd_that_waits_at_a_pipe_gets_its_key_there(self):
        sshd = ssh.Sshd()
        pipes = [self.folder.name + "/pipe_" + kind for kind in ssh.KINDS]
        for pipe in pipes:
            os.mkfifo(pipe)
        sshd.pipes = dict(zip(pipes, ssh.KINDS))
        waiting = os.open(pipes[1], os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, waiting)
        self.assertFalse(sshd.give_keys(self.PAIRS, self.put))
        self.assertEqual(os.read(waiting, 100), b"R\n")
        self.assertEqual(sshd.pipes, {})

    def test_where_nobody_waits_at_a_pipe_sshd_is_to_read_its_keys_again(self):
        sshd = ssh.Sshd()
        os.mkfifo(self.folder.name + "/pipe")
        sshd.pipes = {self.folder.name + "/pipe": "rsa"}
        self.assertTrue(sshd.give_keys(self.PAIRS, self.put))
