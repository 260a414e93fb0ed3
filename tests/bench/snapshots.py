"""Saves and restores a cluster by kvmc and by the plain way, in turns; see `snapshots`."""
import argparse
import glob
import json
import os
import re
import statistics
import subprocess
import sys
import time

import plain
import procs
from bench import HERE, KVMC, RAM, STATE, WORK, banners, kvmc, status, uplink

CLUSTER = STATE + "/clusters/k80"
START = "<!-- the benchmark of snapshots writes from here -->"
END = "<!-- to here, snapshots -->"
DIRTY = 150  # MB that each node has written to its memory

# Target and stretch of each row; more is better in those of `x`, less in the others.
ROWS = [
    ("pause, idle nodes, plain / kvmc", "x", lambda m: m("plain", "pause") / m("kvmc", "pause"), 8, 12),
    ("pause, %d MB dirty a node, plain / kvmc" % DIRTY, "x", lambda m: m("dirty plain", "pause") / m("dirty kvmc", "pause"), 5, 8),
    ("bytes stored, idle nodes, plain / kvmc", "x", lambda m: m("plain", "bytes") / m("kvmc", "bytes"), 6, 10),
    ("rollback until all run, plain / kvmc", "x", lambda m: m("plain", "run") / m("kvmc", "run"), 4, 7),
    ("the same by `try`, machines standing by", "x", lambda m: m("plain", "run") / m("try", "run"), 25, 60),
    ("rollback until all ssh banners, plain / kvmc", "x", lambda m: m("plain", "banners") / m("kvmc", "banners"), 1.6, 2.5),
    ("skew between the nodes' stops", "ms", lambda m: 1000 * m("kvmc", "skew"), 20, 5),
    ("fork until all run", "s", lambda m: m("fork", "run"), 2.5, 1.2),
    ("fork until all are ready, and its verb ends", "s", lambda m: m("fork", "verb"), None, None),
    ("extra PSS of a forked node", "MB", lambda m: m("fork", "pss"), 80, 60),
    ("`start` until all ssh banners, cold / suspended", "x", lambda m: m("cold", "banners") / m("suspended", "banners"), 10, 20),
    ("rollbacks in a row: time of the last ten / of the first ten", "", lambda m: m("row", "slower"), 1.3, 1.1),
    ("rollbacks in a row: processes, descriptors and images left over", "", lambda m: m("row", "left"), 0, 0),
]
KINDS = {
    "plain": "stop, `migrate` of all at once, go on",
    "kvmc": "`snapshot save`, `snapshot rollback`",
    "try": "`try --always`",
    "dirty plain": "the first, %d MB dirty a node" % DIRTY,
    "dirty kvmc": "the second, %d MB dirty a node" % DIRTY,
    "fork": "`fork`",
    "suspended": "`stop --suspend`, `start`",
    "cold": "`stop`, `start --cold`",
}
UNITS = [("pause", "ms", 1000), ("bytes", "MB", 1e-6), ("run", "ms", 1000), ("banners", "s", 1)]


def moment(text, before):
    """A time that kvmc tells after some words, in seconds."""
    found = re.search(before + r" ([0-9.]+) (ms|s)\b", text)
    if not found:
        sys.exit("no `%s` in:\n%s" % (before, text))
    return float(found[1]) / (1000 if found[2] == "ms" else 1)


def addresses():
    return [node["address"] for node in status()["nodes"]]


def until_ready():
    """Waits until all nodes are ready, and the host is at rest again."""
    while any(not node["state"].startswith("ready") for node in status()["nodes"]):
        time.sleep(0.2)
    time.sleep(REST)


def banners_since(began, all_addresses):
    came = banners(all_addresses, time.monotonic() + 120)
    return max(came.values()) - began


def skew():
    """Seconds between the first and the last of the nodes' stops, by QEMU's clock in the log of its monitor."""
    times = []
    for path in glob.glob(CLUSTER + "/nodes/*/qmp.log"):
        with open(path, errors="replace") as file:
            stops = re.findall(r'"event":"STOP","timestamp":\{"microseconds":(\d+),"seconds":(\d+)\}', file.read())
        if not stops:
            return None
        times.append(int(stops[-1][1]) + int(stops[-1][0]) / 1e6)
    return max(times) - min(times)


def saved(name):
    text, _ = kvmc("snapshot", "save", name)
    listed = json.loads(kvmc("snapshot", "ls", "--json")[0])["snapshots"]
    return {
        "pause": moment(text, "stood still for"),
        "bytes": next(snapshot["size"] for snapshot in listed if snapshot["name"] == name),
        "skew": skew(),
    }


def kvmc_round(name):
    result = saved(name)
    time.sleep(REST)
    hosts, began = addresses(), time.monotonic()
    text, took = kvmc("snapshot", "rollback", name)
    # The rest of the verb came after all ran.
    result["run"] = moment(text, "again, after")
    result["banners"] = banners_since(began, hosts)
    result["verb"] = took
    until_ready()
    return result


def try_round():
    hosts = addresses()
    ended = WORK + "/ended"
    text, _ = kvmc("try", "--always", "--", "sh", "-c", "sleep %d; date +%%s.%%N > %s" % (STANDING, ended))
    if "by the machines that stood by" not in text:
        sys.exit("no machines stood by:\n" + text)
    result = {"run": moment(text, "ran again after"), "pause": moment(text, "stood still for")}
    # The rollback begins when the command has ended.
    with open(ended) as file:
        began = float(file.read()) - time.time() + time.monotonic()
    result["banners"] = banners_since(began, hosts)
    until_ready()
    return result


def plain_round(name, restores=True):
    """The plain way, on QEMUs that kvmc has restored; afterwards kvmc restores them again."""
    hosts = addresses()
    folder = WORK + "/plain"
    os.makedirs(folder, exist_ok=True)
    qemus = plain.attach(CLUSTER)
    pause, size = plain.save(qemus, folder)
    result = {"pause": pause, "bytes": size}
    if restores:
        time.sleep(REST)
        result["run"], began = plain.restore(qemus, folder)
        result["banners"] = banners_since(began, hosts)
    else:
        for qemu in qemus:
            qemu.monitor.close()
    for path in glob.glob(folder + "/*"):
        os.remove(path)
    kvmc("snapshot", "rollback", name)
    until_ready()
    return result


def dirty():
    kvmc("exec", "--", "head -c %dM /dev/urandom > /dev/shm/dirty" % DIRTY)
    time.sleep(REST)


def fork_round():
    pids = [node["pid"] for node in status()["nodes"]]
    before = sum(map(procs.pss, pids))
    text, took = kvmc("fork", "copy")
    copies = [node["pid"] for node in json.loads(kvmc("--cluster", "copy", "status", "--json")[0])["nodes"]]
    after = sum(map(procs.pss, pids + copies))
    kvmc("--cluster", "copy", "down")
    until_ready()
    woken = [float(seconds) for seconds in re.findall(r"([0-9.]+) s +\S+ +woken", text)]
    return {"run": max(woken), "verb": took, "pss": (after - before) / len(pids) / 1e6}


def has_fork():
    asked = subprocess.run([KVMC, "fork", "--help"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return asked.returncode == 0


def started(*words):
    """Starts the stopped cluster; the seconds until all banners came."""
    hosts = HOSTS
    began = time.monotonic()
    watching = subprocess.Popen([KVMC, "start", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                cwd=WORK + "/project", env={**os.environ, "KVMC_STATE_DIR": STATE})
    took = banners_since(began, hosts)
    if watching.wait() != 0:
        sys.exit("kvmc start ended with %d" % watching.returncode)
    until_ready()
    return took


def suspended_round():
    _, took = kvmc("stop", "--suspend")
    return {"pause": took, "banners": started()}


def cold_round():
    kvmc("stop")
    return {"banners": started("--cold")}


def left_over():
    """QEMUs, descriptors of the keeper, and images."""
    with open(CLUSTER + "/keeper.json") as file:
        keeper = json.load(file)["pid"]
    qemus = len(subprocess.run(["pgrep", "-fc", "guest=kvmc-k80-"], stdout=subprocess.PIPE, text=True, check=False).stdout.split())
    return [qemus, len(os.listdir("/proc/%d/fd" % keeper)), len(glob.glob(CLUSTER + "/nodes/*/*.qcow2"))]


def row_of(number, name):
    times, first = [], None
    for _ in range(number):
        text, _ = kvmc("snapshot", "rollback", name)
        times.append(moment(text, "again, after"))
        until_ready()
        first = first or left_over()
    last = left_over()
    few = max(1, min(10, number // 2))
    return {
        "slower": statistics.median(times[-few:]) / statistics.median(times[:few]),
        "left": sum(max(0, b - a) for a, b in zip(first, last)),
        "run": statistics.median(times),
    }


class Medians:
    def __init__(self, results):
        self.results = results

    def __call__(self, kind, key):
        values = [r[key] for r in self.results.get(kind, []) if r.get(key) is not None]
        return statistics.median(values)


def markdown(results, nodes, row):
    medians = Medians(results)
    lines = ["| what | measured | target | stretch | met |", "|---|---|---|---|---|"]
    for name, unit, of, target, stretch in ROWS:
        try:
            value = of(medians)
        except (statistics.StatisticsError, ZeroDivisionError):
            continue
        if target is None:
            lines.append("| %s | %.3g %s | | | |" % (name, value, unit))
            continue
        better = (lambda a, b: a >= b) if unit == "x" else (lambda a, b: a <= b)
        met = "stretch" if better(value, stretch) else "yes" if better(value, target) else "NO"
        lines.append("| %s | %.3g %s | %g | %g | %s |" % (name, value, unit, target, stretch, met))
    lines += ["", "| | " + " | ".join({"pause": "pause, ms", "bytes": "stored, MB", "run": "until all run, ms",
                                       "banners": "until all banners, s"}[key] for key, _, _ in UNITS) + " |",
              "|---|---|---|---|---|"]
    for kind, rounds in results.items():
        if kind not in KINDS:
            continue
        cells = []
        for key, _, factor in UNITS:
            values = [r[key] * factor for r in rounds if r.get(key) is not None]
            cells.append("%.3g (%.3g-%.3g)" % (statistics.median(values), min(values), max(values)) if values else "")
        lines.append("| %s | %s |" % (KINDS[kind], " | ".join(cells)))
    lines += ["", "Medians of %d rounds in turns, with least and most; %d nodes of %s and 1 vcpu, emulated by TCG; %d rollbacks in a row."
              % (max(map(len, results.values())), nodes, RAM.replace("M", " MiB"), row)]
    return "\n".join(lines)


def write_docs(text):
    page = HERE + "/../../docs/PERFORMANCE.md"
    with open(page) as file:
        old = file.read()
    before, _, rest = old.partition(START)
    after = rest.partition(END)[2]
    with open(page, "w") as file:
        file.write(before + START + "\n" + text + "\n" + END + after)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--row", type=int, default=100, help="rollbacks in a row")
    parser.add_argument("--rest", type=float, default=5, help="seconds of rest between measurements")
    parser.add_argument("--docs", action="store_true", help="write docs/PERFORMANCE.md")
    options = parser.parse_args()
    global REST, STANDING, HOSTS
    REST, STANDING = options.rest, max(3, options.nodes)
    os.makedirs(WORK + "/project", exist_ok=True)
    uplink()
    shape = ["--master-ram", RAM, "--worker-ram", RAM, "--lbl-ram", RAM, "--vcpus", "1", "--accel", "tcg"]
    kvmc("up", *shape, "--masters", "1", "--workers", str(options.nodes - 1), "--load-balancers", "0")
    HOSTS = addresses()
    until_ready()
    results = {kind: [] for kind in [*KINDS, "row"]}
    # A rollback first, so that all rounds find QEMUs that were restored.
    kvmc("snapshot", "save", "base")
    kvmc("snapshot", "rollback", "base")
    until_ready()
    arms = {
        "kvmc": lambda turn: kvmc_round("r%d" % turn),
        "try": lambda turn: try_round(),
        "plain": lambda turn: plain_round("base"),
        "fork": (lambda turn: fork_round()) if has_fork() else None,
        "dirty plain": lambda turn: (dirty(), plain_round("base", restores=False))[1],
        "dirty kvmc": lambda turn: (dirty(), saved("d%d" % turn), kvmc("snapshot", "rollback", "base"), until_ready())[1],
    }
    for turn in range(options.rounds):
        for kind, arm in arms.items():
            if arm is None:
                continue
            results[kind].append(arm(turn))
            told = ", ".join("%s %.3g" % item for item in results[kind][-1].items() if item[1] is not None)
            print("round %d: %s: %s" % (turn + 1, kind, told), file=sys.stderr, flush=True)
        kvmc("snapshot", "rm", "r%d" % turn, "d%d" % turn)
        # Images that no snapshot needs are merged, and the nodes go on from the first snapshot.
        results["suspended"].append(suspended_round())
        kvmc("snapshot", "rollback", "base")
        until_ready()
    results["row"].append(row_of(options.row, "base"))
    for _ in range(min(options.rounds, 3)):
        results["cold"].append(cold_round())
    text = markdown({kind: rounds for kind, rounds in results.items() if rounds}, options.nodes, options.row)
    print(text)
    with open(WORK + "/snapshots.json", "w") as file:
        json.dump(results, file, indent=1)
    if options.docs:
        write_docs(text)


if __name__ == "__main__":
    try:
        main()
    finally:
        # A failure half-way leaves a cluster, whose processes must not outlive the namespace.
        subprocess.run([KVMC, "down"], env={**os.environ, "KVMC_STATE_DIR": STATE}, cwd=WORK,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
