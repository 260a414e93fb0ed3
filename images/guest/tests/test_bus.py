import socket
import struct
import unittest
from unittest import mock

from agent import bus, power


def signal(path, body, serial=9):
    """A signal, by the specification's marshalling."""
    fields = b""
    for code, kind, text in ((bus.PATH, b"o", path), (bus.INTERFACE, b"s", "org.freedesktop.DBus.Properties"),
                             (bus.MEMBER, b"s", "PropertiesChanged"), (bus.SIGNATURE, b"g", "sa{sv}as")):
        fields += bus.pad(len(fields), 8) + bus.field(code, kind, text)
    head = struct.pack("<cBBBIII", b"l", bus.SIGNAL, 1, 1, len(body), serial, len(fields))
    return head + fields + bus.pad(len(fields), 8) + body


def changed(result):
    body = bus.string("org.freedesktop.systemd1.Service") + bus.pad(37, 4) + struct.pack("<I", 0)
    body += bus.pad(len(body), 8) + bus.string("Result") + b"\1s\0"
    return body + bus.pad(len(body), 4) + bus.string(result)


def answer(kind, **fields):
    heads = bytes([bus.REPLY_SERIAL, 1]) + b"u\0" + struct.pack("<I", 2)
    if "error" in fields:
        heads += bus.pad(len(heads), 8) + bus.field(bus.ERROR_NAME, b"s", fields["error"])
    return struct.pack("<cBBBIII", b"l", kind, 1, 1, 0, 3, len(heads)) + heads + bus.pad(len(heads), 8)


class Messages(unittest.TestCase):
    def test_a_call_is_read_back_and_cut_anywhere(self):
        data = bus.call(7, "org.x", "/x", "org.x.I", "Do", "t", bytes(8))
        for cut in range(len(data)):
            self.assertIsNone(bus.take_message(data[:cut])[0])
        message, rest = bus.take_message(data + b"more")
        self.assertEqual((message.kind, message.body, rest), (1, bytes(8), b"more"))
        self.assertEqual(message.fields, {bus.PATH: "/x", bus.INTERFACE: "org.x.I", bus.MEMBER: "Do",
                                          bus.DESTINATION: "org.x", bus.SIGNATURE: "t"})

    def test_a_unit_that_was_killed_is_known_by_its_result(self):
        path = bus.UNITS + "slow_2dthing_40a_2eservice"
        for result, unit in (("timeout", "slow-thing@a.service"), ("success", None)):
            message, _ = bus.take_message(signal(path, changed(result)))
            self.assertEqual(bus.killed_unit(message), unit)
        message, _ = bus.take_message(signal("/org/other", changed("timeout")))
        self.assertIsNone(bus.killed_unit(message))

    def test_a_farewell_tells_each_unit_once(self):
        host, guest = socket.socketpair()
        self.addCleanup(host.close)
        farewell = bus.Farewell()
        farewell.connection = guest
        guest.setblocking(False)
        self.assertEqual(farewell.killed(), [])
        data = signal(bus.UNITS + "a_2eservice", changed("timeout"))
        host.send(data + data[:20])
        self.assertEqual(farewell.killed(), ["a.service"])
        host.send(data[20:])
        self.assertEqual(farewell.killed(), [])
        host.close()
        self.assertEqual(farewell.killed(), [])
        self.assertIsNone(farewell.fileno())


class Power(unittest.TestCase):
    def down(self, mode="powerdown", logind=True, said=None):
        asked = mock.Mock(side_effect=said) if isinstance(said, OSError) else mock.Mock(return_value=said)
        with mock.patch.object(power, "has_logind", lambda: logind), mock.patch.object(power, "ask", asked), \
                mock.patch.object(power.os, "kill") as kill:
            power.go_down(mode)
        return asked, kill

    def said(self, kind, **fields):
        return bus.take_message(answer(kind, **fields))[0]

    def test_logind_takes_the_machine_down_where_it_runs(self):
        asked, kill = self.down(said=self.said(bus.RETURN))
        self.assertEqual(asked.call_args[0][3], "PowerOffWithFlags")
        self.assertFalse(kill.called)
        asked, kill = self.down("reboot", said=self.said(bus.ERROR, error=power.UNDER_WAY))
        self.assertEqual(asked.call_args[0][3], "RebootWithFlags")
        self.assertFalse(kill.called)

    def test_systemd_is_signalled_where_logind_does_not_run_or_answer(self):
        for mode, number in (("reboot", power.SIGNALS["reboot"]), (None, power.SIGNALS["powerdown"])):
            for more in ({"logind": False}, {"said": OSError("no bus")},
                         {"said": self.said(bus.ERROR, error="org.freedesktop.DBus.Error.UnknownMethod")}):
                _, kill = self.down(mode, **more)
                kill.assert_called_once_with(1, number)

    def test_an_inhibitor_that_blocks_is_told(self):
        for error in power.BLOCKED:
            with self.assertRaises(PermissionError):
                self.down(said=self.said(bus.ERROR, error=error))
