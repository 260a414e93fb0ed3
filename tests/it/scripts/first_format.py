"""Makes a running cluster look as the release with record format 1 left it.

    first_format.py record FIXTURE RECORD   writes RECORD anew in format 1, by the example of FIXTURE
    keeper CLUSTER --folder=FOLDER          serves protocol 1 on FOLDER/keeper.sock (a copy of this file, named keeper)
"""

import json
import os
import socketserver
import sys


def write_record(fixture, path):
    with open(path) as file:
        new = json.load(file)
    with open(fixture) as file:
        old = json.load(file)
    assert new["format"] == 2, "the record is not of format 2"
    assert [n["name"] for n in new["networks"]] == ["main", "storage"], new["networks"]
    assert [n["name"] for n in new["nodes"]] == [n["name"] for n in old["nodes"]], new["nodes"]
    old["generation"] = new["generation"]
    old["project"] = new["project"]
    old["image"] = new["nodes"][0]["base"]["image"]
    for then, now in zip([old["network"], *old["more_networks"]], new["networks"]):
        then.update({key: now[key] for key in ("mac", "mtu", "dns", "bridge", "table", "subnet", "gateway")})
        then.update({key: new["host"][key] for key in ("namespace", "boot_id")})
    old["network"]["forwarding_was_off"] = new["host"].get("forwarding_was_off", False)
    for then, now in zip(old["nodes"], new["nodes"]):
        then.update({key: now[key] for key in ("uuid", "machine_id", "uid", "vcpus", "ram", "disk")})
        first, second = now["nics"]
        then.update({key: first[key] for key in ("address", "mac", "tap")})
        then["more_nics"] = [{key: second[key] for key in ("address", "mac", "tap")}]
        if "frozen" in now["base"]:
            then["frozen"] = now["base"]["frozen"]
        else:
            del then["frozen"]
    text = json.dumps(old, indent=2)
    for name in (path, f"{path}.last"):
        with open(name, "w") as file:
            file.write(text)


class Handler(socketserver.StreamRequestHandler):
    """One request a connection: a line of JSON without a version."""

    def handle(self):
        request = json.loads(self.rfile.readline())
        if request.get("request") not in ("board", "watch"):
            # A request of protocol 2 has one field more, which protocol 1 ignores.
            self.wfile.write(b'"done"\n')
            return
        board = {}
        nodes = os.path.join(self.server.folder, "nodes")
        for node in os.listdir(nodes):
            with open(os.path.join(nodes, node, "process.json")) as file:
                process = json.load(file)
            board[node] = {"process": [process["pid"], process["start_time"]], "stage": "ready", "passed": ["ready"]}
        self.wfile.write(json.dumps({"board": board}).encode() + b"\n")


def start_time(pid):
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[19])


def keep(mark):
    folder = mark.removeprefix("--folder=")
    server = socketserver.UnixStreamServer(os.path.join(folder, "keeper.sock"), Handler)
    server.folder = folder
    with open("/proc/sys/kernel/random/boot_id") as file:
        boot_id = file.read().strip()
    identity = {"pid": os.getpid(), "start_time": start_time(os.getpid()), "boot_id": boot_id, "mark": mark}
    with open(os.path.join(folder, "keeper.json"), "w") as file:
        json.dump(identity, file)
    server.serve_forever()


if os.path.basename(sys.argv[0]) == "keeper":
    keep(sys.argv[2])
else:
    write_record(sys.argv[2], sys.argv[3])
