import signal
import unittest
from unittest import mock

from agent import hold


class Machine:
    """A hold with the test's clock, signals and switches."""

    def __init__(self, test):
        self.now, self.log, self.stuck = 100.0, [], set()
        for name, value in (("signal_all", self.signal_all), ("switch", self.switch), ("write", self.write),
                            ("processes", lambda names: {name: 10 + n for n, name in enumerate(names)}),
                            ("processors", lambda: ["cpu1", "cpu2"])):
            self.patch(test, mock.patch.object(hold, name, value))
        self.patch(test, mock.patch.object(hold.time, "monotonic", lambda: self.now))
        self.patch(test, mock.patch.object(hold.time, "sleep", lambda _: None))
        self.patch(test, mock.patch.object(hold.os.path, "exists", lambda _: False))
        self.hold = hold.Hold()

    def patch(self, test, patch):
        patch.start()
        test.addCleanup(patch.stop)

    def signal_all(self, pids, number):
        self.log.append((signal.Signals(number).name, list(pids)))

    def switch(self, paths, value):
        done = [path for path in paths if path not in self.stuck]
        self.log.extend((path, value.decode()) for path in done)
        return done

    def write(self, path, text):
        self.held = text

    def frozen(self):
        self.hold.take(hold.SPECTATORS + (hold.NETWORKD,), True, True)
        self.hold.woken(8)
        del self.log[:]
        return self.hold

    def after(self, seconds):
        self.now += seconds
        del self.log[:]
        self.hold.release()
        return self.log


class Holding(unittest.TestCase):
    def test_what_is_held_is_written_down(self):
        machine = Machine(self)
        machine.hold.take(("systemd-journal",), True, True)
        self.assertEqual(machine.held, '[{"systemd-journal": 10}, ["cpu1", "cpu2"], ["%s"]]' % hold.INIT)
        self.assertEqual(machine.log[0], ("SIGSTOP", [10]))

    def test_processors_and_systemd_are_held_only_where_it_is_asked(self):
        machine = Machine(self)
        machine.hold.take(("systemd-journal",), False, False)
        self.assertEqual((machine.hold.processors, machine.hold.init), ([], []))

    def test_when_all_are_ready_processors_go_on_at_once_and_programs_after_their_rest(self):
        machine = Machine(self)
        held = machine.frozen()
        held.ready()
        held.all_ready(2)
        self.assertEqual(machine.log, [(hold.INIT, "0"), ("cpu1", "1"), ("cpu2", "1")])
        self.assertEqual(machine.after(1.9), [])
        self.assertEqual(machine.after(0.2), [("SIGCONT", [11, 12, 13])])
        self.assertEqual(machine.after(7.9), [])
        self.assertEqual(machine.after(0.2), [("SIGTERM", [10]), ("SIGCONT", [10])])
        self.assertIsNone(held.due())

    def test_without_word_of_the_others_systemd_goes_on_after_three_seconds_and_the_rest_after_ten(self):
        machine = Machine(self)
        held = machine.frozen()
        held.ready()
        self.assertEqual(held.due(), 103)
        self.assertEqual(machine.after(3), [(hold.INIT, "0")])
        self.assertEqual(machine.after(6.9), [])
        self.assertIn(("SIGCONT", [11, 12, 13]), machine.after(0.2))

    def test_a_node_that_does_not_become_ready_goes_on_all_the_same(self):
        machine = Machine(self)
        machine.frozen()
        self.assertEqual(machine.after(10), [(hold.INIT, "0")])
        self.assertIn(("SIGCONT", [11, 12, 13]), machine.after(50))

    def test_a_switch_that_is_stuck_is_tried_again(self):
        machine = Machine(self)
        held = machine.frozen()
        machine.stuck = {"cpu2"}
        held.all_ready(2)
        self.assertEqual(held.processors, ["cpu2"])
        machine.stuck = set()
        self.assertIn(("cpu2", "1"), machine.after(2))
        self.assertEqual(held.processors, [])

    def test_cloud_init_is_not_kept_waiting(self):
        machine = Machine(self)
        machine.frozen().release_now()
        self.assertIn(("SIGCONT", [11, 12, 13]), machine.log)
        self.assertEqual(machine.log[-2:], [("SIGTERM", [10]), ("SIGCONT", [10])])
        self.assertEqual(machine.after(100), [])

    def test_a_machine_that_was_not_frozen_has_nothing_due(self):
        machine = Machine(self)
        machine.hold.ready()
        machine.hold.all_ready(2)
        machine.hold.release_now()
        self.assertIsNone(machine.hold.due())
        self.assertEqual(machine.log, [])

    def test_what_an_agent_before_held_goes_on(self):
        machine = Machine(self)
        with mock.patch.object(hold, "read", lambda _: '[{"dbus-daemon": 7}, ["cpu1"], ["i"]]'), \
                mock.patch.object(hold.os.path, "exists", lambda _: True), mock.patch.object(hold.os, "unlink"):
            machine.hold.load()
        self.assertEqual(machine.log, [("i", "0"), ("cpu1", "1"), ("SIGCONT", [7])])

    def test_only_children_of_systemd_are_spectators(self):
        self.assertEqual(hold.of_init("88 (systemd-udevd) S 1 88 88 0"), "systemd-udevd")
        self.assertEqual(hold.of_init("88 (a (b) c) S 1 88"), "a (b) c")
        self.assertIsNone(hold.of_init("89 (systemd-udevd) S 88 88 88 0"))
