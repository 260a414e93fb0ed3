"""Runs the arms of the benchmark in turn; see `run`. Everything happens in this process's own network
and mount namespace, and is gone with it."""
import argparse
import glob
import json
import os
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time

import procs
import report

KVMC = os.environ["KVMC"]
HERE = os.path.dirname(os.path.abspath(__file__))
WORK = os.environ["BENCH_DIR"]
STATE = WORK + "/state"
NODES = 7
RAM = "512M"
SHAPE = ["--master-ram", RAM, "--worker-ram", RAM, "--lbl-ram", RAM, "--vcpus", "1", "--accel", "tcg"]
LONGEST = 900  # seconds that an arm may take


def run(*words, **more):
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more).stdout


def kvmc(*words):
    """Runs kvmc as a user does; returns its output and the seconds that it took."""
    began = time.monotonic()
    ended = subprocess.run([KVMC, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                           cwd=WORK + "/project", env={**os.environ, "KVMC_STATE_DIR": STATE}, timeout=LONGEST)
    if ended.returncode != 0:
        sys.exit("kvmc %s ended with %d:\n%s" % (" ".join(words), ended.returncode, ended.stdout))
    return ended.stdout, time.monotonic() - began


def uplink():
    """Makes the internet: a second namespace on a TEST-NET address."""
    run("mount", "--make-rprivate", "/")
    os.makedirs("/run/netns", exist_ok=True)
    run("mount", "-t", "tmpfs", "none", "/run/netns")
    run("ip", "netns", "add", "outside")
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "in0", "netns", "outside")
    run("ip", "addr", "add", "203.0.113.2/24", "dev", "up0")
    run("ip", "link", "set", "up0", "up")
    run("ip", "route", "add", "default", "via", "203.0.113.1")
    run("ip", "-n", "outside", "addr", "add", "203.0.113.1/24", "dev", "in0")
    run("ip", "-n", "outside", "link", "set", "in0", "up")


def banner(address, until):
    """The time of a host's ssh banner. Connects once and waits, since each connection forks another sshd."""
    while time.monotonic() < until:
        try:
            with socket.create_connection((address, 22), until - time.monotonic()) as sock:
                if sock.recv(4) == b"SSH-":
                    return time.monotonic()
        except OSError:
            time.sleep(0.05)
    return None


def banners(addresses, until):
    """The time of each host's banner, watched in parallel."""
    came = {}
    def watch(address):
        came[address] = banner(address, until)
    threads = [threading.Thread(target=watch, args=(a,)) for a in addresses]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    missing = [a for a in addresses if came[a] is None]
    if missing:
        sys.exit("no ssh banner from " + ", ".join(missing))
    return came


def measured(pids):
    """The cost of an arm's QEMUs at the moment that all are ready."""
    return {
        "cpu_per_node": sum(map(procs.cpu_seconds, pids)) / len(pids),
        "pss_mib": sum(map(procs.pss, pids)) / 2**20,
        "private_ram_mib": max(map(procs.private_guest_ram, pids)) / 2**20,
    }


def status():
    return json.loads(kvmc("status", "--json")[0])


def events():
    """Each node's stages, in seconds of the wall clock."""
    lanes = {}
    with open(STATE + "/clusters/k80/events.jsonl") as file:
        for line in file:
            event = json.loads(line)
            lanes.setdefault(event["node"], []).append((event["event"], event["time"]))
    return lanes


def execs(nodes):
    """The start of each QEMU, by its record, which kvmc writes right after exec."""
    folder = STATE + "/clusters/k80/nodes/"
    return {node: os.stat(folder + node + "/process.json").st_mtime_ns / 1e9 for node in nodes}


def kvmc_arm(*flags):
    """Runs one `up` of the default seven nodes, measures its cost, and runs one `down`."""
    wall = time.time()
    _, took = kvmc("up", *SHAPE, *flags)
    ended = wall + took
    seen = status()["nodes"]
    nodes = [n["name"] for n in seen]
    result = measured([n["pid"] for n in seen])
    # Checks kvmc's `ready`: each node must answer at once.
    banners([n["address"] for n in seen], time.monotonic() + 30)
    started, lanes = execs(nodes), events()
    for node in nodes:
        lanes[node].insert(0, ("exec", started[node]))
    last_ready = max(t for lane in lanes.values() for stage, t in lane if stage == "ready")
    result.update({
        "seconds": took,
        "own_seconds": min(started.values()) - wall + max(0.0, ended - last_ready),
        "lanes": {node: [(stage, t - wall) for stage, t in lane] for node, lane in lanes.items()},
    })
    result["status_seconds"] = statistics.median(kvmc("status")[1] for _ in range(9))
    rest(ended, 0 if flags else IDLE)
    with open(STATE + "/clusters/k80/keeper.json") as file:
        result["keeper_rss_mib"] = procs.rss(json.load(file)["pid"]) / 2**20
    result["down_seconds"] = kvmc("down")[1]
    return result


# Seconds after which a keeper is at rest, with nothing to make or to wait for.
IDLE = 32


def rest(since, least):
    """Waits as long as a person uses a cluster at least. Meanwhile its keeper makes keys for the next cluster."""
    while time.time() < since + least:
        time.sleep(0.5)
    while time.time() < since + 30 and len(glob.glob(STATE + "/keys/rsa*")) < 2 * NODES + 2:
        time.sleep(0.5)


def warm():
    return kvmc_arm()


def cold():
    return kvmc_arm("--cold")


def first():
    """The first `up` ever, with the template built and no frozen machine."""
    for name in ("warm", "keys"):
        shutil.rmtree(STATE + "/" + name, ignore_errors=True)
    return kvmc_arm()


def prepare_script():
    """Makes the script's base disk as a person would: the template, booted once, with host keys."""
    base = WORK + "/script-base.qcow2"
    if os.path.exists(base):
        os.remove(base)
    kvmc("up", *SHAPE, "--cold", "--masters", "1", "--workers", "0", "--load-balancers", "0")
    image = json.load(open(STATE + "/clusters/k80/cluster.json"))["nodes"][0]["base"]["image"]
    kvmc("stop")
    shutil.copy(STATE + "/clusters/k80/nodes/master0/disk.qcow2", base)
    kvmc("down")
    folder = STATE + "/images/" + image
    kernel = [f for f in os.listdir(folder) if f.startswith(("vmlinuz", "kernel"))][0]
    initrd = [f for f in os.listdir(folder) if f.startswith("initrd")][0]
    return base, folder + "/" + kernel, folder + "/" + initrd


def script(prepared):
    folder = WORK + "/script"
    shutil.rmtree(folder, ignore_errors=True)
    wall, began = time.time(), time.monotonic()
    shell = subprocess.Popen([HERE + "/script.sh", folder, *prepared, str(NODES)])
    addresses = ["192.168.90.%d" % (i + 2) for i in range(NODES)]
    pids = []
    try:
        came = banners(addresses, time.monotonic() + LONGEST)
        took = max(came.values()) - began
        shell.wait()
        pids = [int(open("%s/%d.pid" % (folder, i + 1)).read()) for i in range(NODES)]
        result = measured(pids)
        lanes = {}
        for i, address in enumerate(addresses):
            start = os.stat("%s/%d.pid" % (folder, i + 1)).st_mtime_ns / 1e9 - wall
            lanes["node%d" % i] = [("exec", start), ("ready", came[address] - began)]
        return {**result, "seconds": took, "lanes": lanes}
    finally:
        shell.wait()
        for i in range(NODES):
            kill("%s/%d.pid" % (folder, i + 1))
        kill(folder + "/dnsmasq.pid")
        for link in ["tap%d" % (i + 1) for i in range(NODES)] + ["br0"]:
            subprocess.run(["ip", "link", "delete", link], stderr=subprocess.DEVNULL, check=False)
        subprocess.run(["nft", "delete", "table", "ip", "script"], stderr=subprocess.DEVNULL, check=False)


def kill(path):
    """Ends one of the script's own processes and waits until it has."""
    try:
        pid = int(open(path).read())
        fd = os.pidfd_open(pid)
    except (OSError, ValueError):
        return
    signal.pidfd_send_signal(fd, signal.SIGKILL)
    select.select([fd], [], [], 10)
    os.close(fd)


# Nodes to start one by one, and the host's rest before each. Otherwise the work of a node after it is ready (its
# journal restarts ten seconds later) would count as the next one's start.
NEAR, FAR, CALM = range(3, 8), range(38, 43), 15


def flatness():
    """The time from exec of QEMU to running, around the 5th and the 40th of nodes started one after the other."""
    def up(count):
        words = ["--master-ram", "256M", "--worker-ram", "256M", "--vcpus", "1", "--accel", "tcg"]
        kvmc("up", *words, "--masters", "1", "--workers", str(count - 1), "--load-balancers", "0")
    times = {}
    for measured in NEAR, FAR:
        up(measured[0] - 1)
        time.sleep(CALM)
        for count in measured:
            time.sleep(CALM)
            up(count)
            node = "worker%d" % (count - 2)
            running = next(t for stage, t in events()[node] if stage == "woken")
            times[count] = running - execs([node])[node]
    kvmc("down")
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-flat", action="store_true", help="leave out the run of 42 nodes")
    parser.add_argument("--docs", action="store_true", help="write docs/PERFORMANCE.md and docs/boot-timeline.svg")
    parser.add_argument("--arms", default="script,cold,first,warm")
    options = parser.parse_args()
    os.makedirs(WORK + "/project", exist_ok=True)
    uplink()
    prepared = prepare_script() if "script" in options.arms else None
    arms = {"script": lambda: script(prepared), "cold": cold, "first": first, "warm": warm}
    results = {name: [] for name in options.arms.split(",")}
    for turn in range(options.rounds):
        for name in results:
            result = arms[name]()
            results[name].append(result)
            print("round %d: %-6s %6.2f s" % (turn + 1, name, result["seconds"]), file=sys.stderr, flush=True)
    flat = {} if options.no_flat else flatness()
    report.write(results, flat, WORK, HERE + "/../../docs" if options.docs else None)


if __name__ == "__main__":
    try:
        main()
    finally:
        # A failure half-way leaves a cluster, whose processes must not outlive the namespace.
        subprocess.run([KVMC, "down"], env={**os.environ, "KVMC_STATE_DIR": STATE}, cwd=WORK,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
