import json
import os
import socket
import unittest
from unittest import mock

from agent import agent, cloud, protocol
from agent.links import RTNLGRP_LINK


class Lines(unittest.TestCase):
    def setUp(self):
        self.host, guest = socket.socketpair()
        guest.setblocking(False)
        self.addCleanup(self.host.close)
        self.addCleanup(guest.close)
        self.guest = guest
        self.connection = protocol.Connection(guest.fileno())

    def test_requests_come_whole_however_they_are_cut(self):
        self.host.send(b'{"execute": "pi')
        self.assertEqual(self.connection.lines(), [])
        self.host.send(b'ng"}\n{"execute": "info"}\n{')
        self.assertEqual(self.connection.lines(), [b'{"execute": "ping"}', b'{"execute": "info"}'])
        self.assertEqual(self.connection.buffer, b"{")

    def test_an_end_that_is_closed_forgets_half_a_line(self):
        self.connection.buffer = b"half"
        self.host.close()
        with mock.patch.object(protocol.time, "sleep") as sleep:
            self.assertEqual(self.connection.lines(), [])
        self.assertTrue(sleep.called)
        self.assertEqual(self.connection.buffer, b"")

    def test_an_event_is_one_line(self):
        self.connection.event("stage", stage="lease", address=None)
        self.assertEqual(json.loads(self.host.recv(1000).decode()),
                         {"event": "stage", "data": {"stage": "lease", "address": None}})

    def test_what_is_no_request_is_none(self):
        for line in (b"", b"words", b"{}", b"[1]", b'"ping"', b"\xff", b"7"):
            self.assertIsNone(protocol.decode(line), line)
        self.assertEqual(protocol.decode(b'{"execute": "ping", "id": 3}'), ("ping", {}, 3))
        self.assertEqual(protocol.decode(b'{"execute": "x", "arguments": {"a": 1}}'), ("x", {"a": 1}, None))


class Guest(unittest.TestCase):
    """An agent on a socket, with the test's machine."""

    kind = agent.Agent

    def setUp(self):
        self.host, guest = socket.socketpair()
        guest.setblocking(False)
        for patch in (mock.patch.object(agent, "watch", mock.Mock), mock.patch.object(agent.Hold, "load"),
                      mock.patch.object(agent.identity, "is_configured", lambda: False),
                      mock.patch.object(agent.identity, "take", mock.Mock(return_value="00")),
                      mock.patch.object(agent, "notify"), mock.patch.object(agent, "address", lambda: "10.0.0.9"),
                      mock.patch.object(agent, "is_addressed", lambda _: self.is_addressed),
                      mock.patch.object(agent, "ssh_listener", lambda: "1" if self.listens else None)):
            patch.start()
            self.addCleanup(patch.stop)
        self.is_addressed = self.listens = False
        self.agent = self.kind(guest.fileno())
        self.addCleanup(self.host.close)
        self.addCleanup(guest.close)
        self.guest = guest

    def said(self):
        self.host.setblocking(False)
        try:
            return [json.loads(line) for line in self.host.recv(65536).decode().splitlines()]
        except BlockingIOError:
            return []

    def ask(self, name, **arguments):
        self.agent.handle(json.dumps({"execute": name, "arguments": arguments, "id": 1}).encode())
        return self.said()


class Commands(Guest):
    def test_ping_tells_version_and_state(self):
        self.assertEqual(self.ask("ping"), [{"id": 1, "return": {"version": 6, "configured": False}}])

    def test_an_unknown_command_is_an_error_and_no_request_is_silence(self):
        answer = self.ask("fly")[0]["error"]
        self.assertEqual(answer, {"class": "ValueError", "desc": "no command fly"})
        self.agent.handle(b"words")
        self.assertEqual(self.said(), [])

    def test_an_exception_is_told_with_its_kind(self):
        agent.identity.take.side_effect = KeyError("hostname")
        self.assertEqual(self.ask("identity")[0]["error"], {"class": "KeyError", "desc": "'hostname'"})

    def test_a_boot_goes_from_identity_to_lease_to_ready(self):
        self.assertEqual(self.ask("identity", hostname="x")[0]["return"]["ready"], False)
        agent.notify.assert_called_once_with()
        self.assertEqual(self.agent.pause(), 200)
        self.is_addressed = True
        self.agent.progress()
        self.assertEqual(self.said(), [{"event": "stage", "data": {"stage": "lease", "address": "10.0.0.9"}}])
        self.assertEqual(self.agent.pause(), 50)
        self.listens = True
        self.agent.progress()
        self.assertEqual(self.said(), [{"event": "ready", "data": {"address": "10.0.0.9"}}])
        self.assertIsNone(self.agent.pause())
        self.agent.progress()
        self.assertEqual(self.said(), [])
        self.assertEqual(self.agent.changes.setsockopt.call_args[0][-1], RTNLGRP_LINK)

    def test_a_clone_is_ready_with_its_answer_and_does_not_tell_systemd(self):
        self.is_addressed = self.listens = True
        said = self.ask("identity", hostname="x", woken=True, journal=3)
        self.assertEqual([m.get("event") for m in said], ["stage", "ready", None])
        self.assertTrue(said[-1]["return"]["ready"])
        self.assertFalse(agent.notify.called)
        self.assertEqual(self.agent.hold.journal_rest, 3)
        self.assertLessEqual(self.agent.pause(), 3001)

    def test_a_clone_without_networkd_is_given_its_addresses(self):
        self.agent.hold.programs = {agent.NETWORKD: 7}
        with mock.patch.object(agent, "set_addresses") as given:
            self.ask("identity", nics=[{"address": "10.0.0.9"}], woken=True)
        given.assert_called_once_with([{"address": "10.0.0.9"}])
        with mock.patch.object(agent, "set_addresses", side_effect=KeyError("mtu")), \
                mock.patch("agent.hold.signal_all") as signals:
            self.ask("identity", nics=[{}], woken=True)
        self.assertEqual(list(signals.call_args[0][0]), [7])
        self.assertEqual(self.agent.hold.programs, {})

    def test_a_template_is_not_configured(self):
        self.ask("identity", template=True)
        self.assertFalse(self.agent.configured)

    def test_shutdown_lets_go_what_is_held_and_listens_before_it_goes_down(self):
        order = mock.Mock()
        with mock.patch.object(agent.os, "sync"), mock.patch.object(self.agent.hold, "let_go", order.let_go), \
                mock.patch.object(self.agent.farewell, "begin", order.begin), \
                mock.patch.object(agent.power, "go_down", order.go_down):
            self.assertEqual(self.ask("shutdown", mode="reboot"), [{"id": 1, "return": {}}])
        self.assertEqual(order.mock_calls, [mock.call.let_go(), mock.call.begin(), mock.call.go_down("reboot")])

    def test_a_unit_that_was_killed_on_the_way_down_is_told(self):
        with mock.patch.object(self.agent.farewell, "killed", lambda: ["slow.service"]):
            self.agent.farewell.connection = mock.Mock()
            self.agent.bid_farewell(9)
        self.assertEqual(self.said(), [{"event": "killed", "data": {"unit": "slow.service"}}])

    def test_a_clone_confirms_its_identity_once_it_goes_on(self):
        self.ask("identity", woken=True)
        with mock.patch.object(agent.identity, "confirm") as confirm, \
                mock.patch.object(self.agent, "poll", mock.Mock(poll=lambda _: [])):
            self.agent.turn()
            self.assertFalse(confirm.called)
            self.agent.hold.release_due = None
            self.agent.turn()
            self.agent.turn()
        confirm.assert_called_once_with()

    def test_what_is_held_depends_on_networkd_and_sshd(self):
        cases = [
            (True, [{}], {"p": "rsa"}, agent.SPECTATORS + (agent.NETWORKD,), True),
            (False, [{}], {}, agent.SPECTATORS, False),
            (True, [{"ipv6": True}], {}, agent.SPECTATORS, False),
        ]
        for original, nics, pipes, names, init in cases:
            self.agent.nics, self.agent.sshd.pipes = nics, pipes
            with mock.patch.object(agent, "settle", lambda _: "b"), mock.patch.object(agent, "is_original", lambda: original), \
                    mock.patch.object(self.agent.hold, "take") as take:
                self.ask("settle", one_processor=True)
            take.assert_called_once_with(names, True, init)

    def test_a_restored_machine_takes_randomness_and_then_the_time(self):
        done = []
        with mock.patch.object(agent.clock, "reseed", lambda seed: done.append(seed)), \
                mock.patch.object(agent.clock, "set_clock", lambda time: done.append(time)):
            answer = self.ask("restored", seed="c2VlZA==", time=7.5)
            self.assertEqual(answer, [{"id": 1, "return": {"ready": False}}])
            self.assertEqual(done, ["c2VlZA==", 7.5])
            self.ask("restored", seed="bW9yZQ==")
        self.assertEqual(done[2:], ["bW9yZQ=="], "the clock stays")

    def test_vitals_are_the_guests_own(self):
        with mock.patch.object(agent.ssh, "mark", lambda: "7"):
            answer = self.ask("info")[0]["return"]
        self.assertEqual(answer["sshd"], "7")
        self.assertEqual(sorted(answer), ["disk", "kernel", "load", "sshd", "time"])
        self.assertEqual(len(answer["load"]), 3)


class CloudCommands(Guest):
    kind = cloud.CloudAgent

    def setUp(self):
        super().setUp()
        self.applied = None
        for patch in (mock.patch.object(cloud, "write"), mock.patch.object(cloud, "address", lambda: "10.0.0.9"),
                      mock.patch.object(cloud, "is_addressed", lambda _: self.is_addressed),
                      mock.patch.object(cloud, "value", lambda _: self.applied),
                      mock.patch.object(cloud.os.path, "exists", lambda _: self.applied is not None),
                      mock.patch.object(cloud.os.path, "ismount", lambda _: False),
                      mock.patch.object(cloud.os, "makedirs"),
                      mock.patch.object(cloud.os, "posix_spawn", mock.Mock(return_value=5)),
                      mock.patch.object(cloud.os, "waitpid", lambda *_: (self.ended, 0))):
            patch.start()
            self.addCleanup(patch.stop)
        self.ended = 0

    CLOUD = {"instance": "i", "user-data": "u", "meta-data": "m"}

    def test_user_data_is_applied_between_lease_and_ready(self):
        self.listens = True
        self.ask("identity", cloud=self.CLOUD)
        self.assertFalse(cloud.os.posix_spawn.called)
        self.is_addressed = True
        self.agent.progress()
        self.assertEqual([m["event"] for m in self.said()], ["stage"])
        self.assertTrue(cloud.os.posix_spawn.called)
        self.ended = 5
        self.agent.progress()
        self.assertEqual([m["event"] for m in self.said()], ["ready"])
        cloud.write.assert_called_with(cloud.APPLIED, "i\n")

    def test_user_data_of_an_instance_is_applied_once(self):
        self.applied, self.is_addressed, self.listens = "i", True, True
        self.ask("identity", cloud=self.CLOUD)
        self.assertTrue(self.agent.ready)
        self.assertFalse(cloud.os.posix_spawn.called)

    def test_a_root_that_cannot_grow_yet_is_tried_again_and_given_up(self):
        self.is_addressed = self.listens = True
        now = [0]
        with mock.patch.object(cloud.time, "monotonic", lambda: now[0]), \
                mock.patch.object(self.agent.disk, "grow") as grow:
            self.agent.identified, self.agent.disk.due = True, 7
            for _ in range(2 * cloud.TRIES):
                self.assertFalse(self.agent.ready and grow.call_count < cloud.TRIES)
                now[0] += cloud.BETWEEN
                self.agent.progress()
        self.assertEqual(grow.call_count, cloud.TRIES)
        self.assertTrue(self.agent.ready)


class Imports(unittest.TestCase):
    def test_a_clone_imports_nothing(self):
        """All imports are at the modules' heads, so that they run before a machine is frozen."""
        import ast
        folder = os.path.dirname(agent.__file__)
        for name in os.listdir(folder):
            if not name.endswith(".py"):
                continue
            with open(os.path.join(folder, name)) as file:
                tree = ast.parse(file.read())
            for function in ast.walk(tree):
                if isinstance(function, (ast.FunctionDef, ast.Lambda)):
                    for node in ast.walk(function):
                        self.assertNotIsInstance(node, (ast.Import, ast.ImportFrom), "%s: %s" % (name, function))
