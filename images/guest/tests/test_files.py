import os
import stat
import tempfile
import unittest
from unittest import mock

from agent import files


class Files(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = os.path.join(self.folder.name, "file")
        # The tests run without root.
        self.write = lambda text, **more: files.write(self.path, text, uid=os.getuid(), gid=os.getgid(), **more)

    def test_what_is_written_is_read_with_its_mode(self):
        self.write("one\n", mode=0o600)
        self.assertEqual(files.read(self.path), "one\n")
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
        self.assertEqual(os.listdir(self.folder.name), ["file"])

    def test_a_file_longer_than_one_read_is_whole(self):
        self.write("x" * 200000)
        self.assertEqual(len(files.read(self.path)), 200000)

    def test_overwriting_keeps_the_inode_and_cuts_what_was_longer(self):
        self.write("longer than that\n")
        inode = os.stat(self.path).st_ino
        files.overwrite(self.path, "short\n")
        self.assertEqual(files.read(self.path), "short\n")
        self.assertEqual(os.stat(self.path).st_ino, inode)

    def test_overwriting_makes_a_file_that_is_not_there(self):
        with mock.patch("os.fchown"):
            files.overwrite(self.path, "new\n")
        self.assertEqual(files.read(self.path), "new\n")

    def test_overwriting_replaces_a_link_and_leaves_its_target(self):
        target = self.path + ".target"
        with open(target, "w") as file:
            file.write("kept")
        os.symlink(target, self.path)
        with mock.patch("os.fchown"):
            files.overwrite(self.path, "new\n")
        self.assertEqual(files.read(target), "kept")
        self.assertFalse(os.path.islink(self.path))

    def test_overwriting_a_pipe_that_nobody_reads_does_not_wait(self):
        os.mkfifo(self.path)
        with mock.patch("os.fchown"):
            files.overwrite(self.path, "new\n")
        self.assertEqual(files.read(self.path), "new\n")
