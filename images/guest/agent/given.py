"""What this machine was given: its identity comes once, and what its user changes afterwards is left alone."""
import json

from .files import read

# The machine has an identity; a machine that was frozen has a line feed in it. `image commit` removes it.
MARK = "/var/lib/kvmc/configured"
# Keys of what is in it beside the machine's id: the lines of ours by path, and whether all of it has reached the disk.
LINES, WHOLE = "lines", "whole"


class Given:
    def __init__(self, machine_id=None, lines=None, whole=True):
        # None while nobody's.
        self.machine_id = machine_id
        # The lines in each file's block as they were given; an agent before version 4 has noted none.
        self.lines = lines or {}
        # A clone's files are written in memory first, and after a power cut some may be the frozen machine's.
        self.whole = whole

    def text(self):
        return "%s\n%s\n" % (self.machine_id, json.dumps({LINES: self.lines, WHOLE: self.whole}))


def parse(text):
    # Zeros are of a file that grew in memory before a power cut.
    machine_id, _, rest = text.partition("\0")[0].partition("\n")
    try:
        # As json.loads, without its checks.
        noted = json.JSONDecoder().raw_decode(rest)[0]
        return Given(machine_id.strip() or None, noted[LINES], noted[WHOLE])
    except (ValueError, KeyError, TypeError):
        return Given(machine_id.strip() or None)


def load():
    try:
        return parse(read(MARK))
    except OSError:
        return Given()
