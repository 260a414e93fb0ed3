import os
import tempfile
import unittest

from agent import disk
from agent.cloud import is_short, renames


class Growing(unittest.TestCase):
    def test_a_file_system_grows_where_a_fiftieth_is_missing(self):
        self.assertEqual(disk.blocks_to_grow_to(4 << 30, 4096, 100000), 1 << 20)
        self.assertIsNone(disk.blocks_to_grow_to(4 << 30, 4096, (1 << 20) - 100))

    def test_a_partition_grows_where_a_fiftieth_is_missing(self):
        self.assertTrue(is_short(4 << 30, 4194304))
        self.assertFalse(is_short(4 << 30, 8388608 - 34))


class Kernels(unittest.TestCase):
    def test_a_kernel_in_boot_that_does_not_run_is_told(self):
        with tempfile.TemporaryDirectory() as folder:
            boot = folder + "/"
            running = os.uname().release
            self.assertIsNone(disk.idle_kernel(boot + "none/"))
            for number, name in enumerate(["config-9.9", "initrd.img-9.9", "vmlinuz-" + running, "vmlinuz-9.10", "vmlinuz-9.9"]):
                open(boot + name, "w").close()
                os.utime(boot + name, (number, number))
                told = {"vmlinuz-9.10": "9.10", "vmlinuz-9.9": "9.9"}.get(name)
                self.assertEqual(disk.idle_kernel(boot), told, name)
            # Who installs the running one again boots it.
            os.utime(boot + "vmlinuz-" + running, (9, 9))
            self.assertIsNone(disk.idle_kernel(boot))


class Naming(unittest.TestCase):
    def test_nics_that_have_each_others_names_are_renamed_by_way_of_others(self):
        names = ["eth1", "eth0", "eth2"]
        self.assertEqual(renames(names, "kvmc"), [("eth1", "kvmc0"), ("eth0", "kvmc1")])
        self.assertEqual(renames(["kvmc0", "kvmc1", "eth2"], "eth"), [("kvmc0", "eth0"), ("kvmc1", "eth1")])
        self.assertEqual(renames(["eth0", "eth1"], "kvmc"), [])
