"""The agent: answers the host's commands, and reports the progress of the boot."""
import os
import select
import time

from . import clock, identity, power, ssh
from .bus import Farewell
from .disk import Disk, idle_kernel
from .hold import JOURNAL, NETWORKD, REST, SPECTATORS, Hold
from .links import address, ignore_links, set_addresses, watch
from .network import is_addressed, is_original, nics_of
from .protocol import VERSION, Connection, decode
from .settle import settle
from .ssh import PID, Sshd, ssh_listener
from .systemd import notify


class Agent:
    # The network manager, which is held in a machine that will be frozen.
    network_manager = NETWORKD
    # Whether the machine's firmware boots the kernel in /boot.
    boots_own_kernel = False

    def __init__(self, port, disk=None):
        self.connection = Connection(port)
        self.handlers = {
            "ping": self.ping,
            "identity": self.take_identity,
            "settle": self.settle,
            "all-ready": self.all_ready,
            "info": self.info,
            "adjust": self.adjust,
            "restored": self.restored,
            "shutdown": self.shut_down,
        }
        self.configured = identity.is_configured()
        self.identified = False
        self.leased = False
        self.ready = False
        self.sshd = Sshd()
        self.disk = disk or Disk()
        # Whether sshd is about to listen. It then writes its pid file.
        self.ssh_comes = False
        self.nics = [{}]
        self.hold = Hold()
        self.hold.load()
        self.changes = watch()
        # A clone's identity is in memory until what it holds goes on.
        self.unconfirmed = False
        self.farewell = Farewell()
        self.poll = select.poll()

    def ping(self, _):
        return {"version": VERSION, "configured": self.configured}

    def take_identity(self, arguments):
        woken = arguments.get("woken")
        self.ssh_comes = bool(self.sshd.pipes) and not os.access(PID, os.F_OK)
        first = identity.take(arguments, self.sshd, self.disk)
        # A clone's boot ended before the freeze.
        if not woken and not (self.configured and self.identified):
            notify()
        self.identified = True
        self.nics = nics_of(arguments)
        if woken and NETWORKD in self.hold.programs:
            self.give_addresses()
        self.configured = not arguments.get("template")
        if woken:
            self.leased = self.ready = False
            self.hold.woken(arguments.get("journal", JOURNAL))
            self.unconfirmed = True
        self.progress()
        return {"ready": self.ready, "address": address(), "random": first, "version": VERSION}

    def give_addresses(self):
        """Sets addresses in place of networkd while it stands still. If that fails, networkd continues at once."""
        try:
            set_addresses(self.nics)
        except (OSError, KeyError):
            self.hold.free(NETWORKD)

    def settle(self, arguments):
        boot_id = settle(self.sshd)
        self.identified = False
        names = SPECTATORS
        # Only networkd sets IPv6 addresses.
        if self.network_manager and is_original() and not any(nic.get("ipv6") for nic in self.nics):
            names += (self.network_manager,)
        # systemd starts nothing while it is held, so hold it only once sshd no longer needs it.
        self.hold.take(names, arguments.get("one_processor"), bool(self.sshd.pipes))
        return {"boot_id": boot_id}

    def all_ready(self, arguments):
        self.hold.all_ready(arguments.get("rest", REST))
        return {}

    def info(self, _):
        disk = os.statvfs("/")
        kernel = None if self.boots_own_kernel else idle_kernel()
        size = disk.f_blocks * disk.f_frsize
        return {"time": time.time(), "load": os.getloadavg(), "disk": size, "kernel": kernel, "sshd": ssh.mark()}

    def adjust(self, arguments):
        return {"time": clock.adjust(arguments["seconds"])}

    def restored(self, arguments):
        """The machine goes on from a saved state, from which others may go on, too."""
        if "seed" in arguments:
            clock.reseed(arguments["seed"])
        if "time" in arguments:
            clock.set_clock(arguments["time"])
        return {"ready": self.ready}

    def shut_down(self, arguments):
        self.hold.let_go()
        os.sync()
        self.farewell.begin()
        if self.farewell.fileno() is not None:
            self.poll.register(self.farewell.fileno(), select.POLLIN)
        power.go_down(arguments.get("mode"))
        return {}

    def bid_farewell(self, fd):
        """Tells the host of units that systemd had to kill on its way down."""
        for unit in self.farewell.killed():
            self.connection.event("killed", unit=unit)
        if self.farewell.fileno() is None:
            self.poll.unregister(fd)

    def handle(self, line):
        """Answers one line of the host."""
        request = decode(line)
        if request is None:
            return
        name, arguments, number = request
        answer = {"id": number}
        try:
            handler = self.handlers.get(name)
            if handler is None:
                raise ValueError("no command %s" % name)
            answer["return"] = handler(arguments)
        except Exception as error:  # the host gets any error
            answer["error"] = {"class": type(error).__name__, "desc": str(error)}
        self.connection.send(answer)

    def progress(self):
        """Checks the progress of the boot, and reports new stages to the host."""
        if not self.identified or self.ready:
            return
        if not self.leased and is_addressed(self.nics):
            self.leased = True
            self.connection.event("stage", stage="lease", address=address())
        if self.leased and (os.access(PID, os.F_OK) if self.ssh_comes else ssh_listener()):
            self.ready = True
            self.hold.ready()
            self.connection.event("ready", address=address())
            ignore_links(self.changes)

    def pause(self):
        """Milliseconds until the next check, unless an event comes earlier; None if there is no next check."""
        if self.identified and not self.ready:
            # No event reports a boot's sshd. A clone's sshd listens before the clone has an address.
            if self.leased:
                return 15 if self.ssh_comes else 50
            return 200
        due = self.hold.due()
        return None if due is None else max(0, int(1000 * (due - time.monotonic()))) + 1

    def run(self):
        if self.configured:
            ssh.spare()
            notify()
        self.connection.event("hello", version=VERSION, configured=self.configured)
        self.poll.register(self.connection.port, select.POLLIN)
        self.poll.register(self.changes, select.POLLIN)
        try:
            while True:
                self.turn()
        finally:
            # systemd could not start this program again while it stands still.
            self.hold.free_init()

    def turn(self):
        for fd, events in self.poll.poll(self.pause()):
            if fd == self.farewell.fileno():
                self.bid_farewell(fd)
            elif fd != self.connection.port:
                try:
                    self.changes.recv(65536)
                except OSError:
                    # There were more changes than the socket holds. progress() checks the current state.
                    pass
            elif events & select.POLLIN:
                for line in self.connection.lines():
                    self.handle(line)
            else:
                time.sleep(0.3)
        self.progress()
        self.hold.release()
        if self.unconfirmed and not self.hold.release_due:
            self.unconfirmed = False
            identity.confirm()
