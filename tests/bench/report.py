"""Turns measurements into a table, a JSON file, and a picture of the boot timeline of each arm."""
import json
import os
import statistics
import sys

# Target and stretch of each row; the ratios are of medians of one run. The order is the one printed.
ROWS = [
    # (name, unit, its computation from the medians, target, stretch, True if more is better)
    ("script all at once / kvmc warm `up`", "x", lambda m: m("script", "seconds") / m("warm", "seconds"), 30, 45, True),
    ("script all at once / kvmc cold `up`", "x", lambda m: m("script", "seconds") / m("cold", "seconds"), 1.5, 2, True),
    ("CPU seconds a node, cold / warm", "x", lambda m: m("cold", "cpu_per_node") / m("warm", "cpu_per_node"), 24, 40, True),
    ("sum of PSS, cold / warm", "x", lambda m: m("cold", "pss_mib") / m("warm", "pss_mib"), 6, 8, True),
    ("private guest RAM of a ready node", "MiB", lambda m: m("warm", "private_ram_mib"), 10, 6, False),
    ("exec of QEMU to running, node 40 / node 5", "x", lambda m: m.flat, 1.10, 1.02, False),
    ("kvmc itself in a warm `up` of 7", "ms", lambda m: 1000 * m("warm", "own_seconds"), 150, 60, False),
    ("`status` of 7 nodes", "ms", lambda m: 1000 * m("warm", "status_seconds"), 15, 5, False),
    ("`down` of 7 nodes", "s", lambda m: m("warm", "down_seconds"), 0.6, 0.3, False),
    ("keeper RSS with 7 idle nodes", "MiB", lambda m: m("warm", "keeper_rss_mib"), 8, 5, False),
    ("first `up` ever / script all at once", "x", lambda m: m("first", "seconds") / m("script", "seconds"), 0.35, 0.25, False),
]
ARMS = {
    "script": "a shell script, all at once",
    "cold": "kvmc up --cold",
    "first": "kvmc up, the first ever",
    "warm": "kvmc up",
}
COLORS = {
    "exec": "#8d99ae", "started": "#8d99ae", "kernel": "#e09f3e", "woken": "#9e2a2b", "identity": "#5c7f67",
    "lease": "#457b9d", "ssh": "#6a4c93",
}
START = "<!-- the benchmark writes from here -->"
END = "<!-- to here -->"


class Medians:
    def __init__(self, results, flat):
        self.results = results
        # Five nodes around each, since a single one is as noisy as the machine.
        self.flat = at_rest(flat, 38, 42) / at_rest(flat, 3, 7) if flat else None

    def __call__(self, arm, key):
        return statistics.median(r[key] for r in self.results[arm])


def spread(values):
    return "%.2f (%.2f-%.2f)" % (statistics.median(values), min(values), max(values))


def rows(medians):
    for name, unit, of, target, stretch, more in ROWS:
        try:
            value = of(medians)
        except KeyError:
            continue
        if value is None:
            continue
        better = (lambda a, b: a >= b) if more else (lambda a, b: a <= b)
        verdict = "stretch" if better(value, stretch) else "yes" if better(value, target) else "NO"
        yield name, "%.3g %s" % (value, unit), "%g" % target, "%g" % stretch, verdict


def at_rest(flat, first, last):
    """The median of the nodes from one to another."""
    return statistics.median(seconds for count, seconds in flat.items() if first <= count <= last)


def markdown(results, flat):
    medians = Medians(results, flat)
    lines = ["| what | measured | target | stretch | met |", "|---|---|---|---|---|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows(medians)]
    lines += ["", "| arm | seconds to ready | CPU seconds a node | sum of PSS, MiB |", "|---|---|---|---|"]
    for arm, rounds in results.items():
        values = lambda key: spread([r[key] for r in rounds])
        lines.append("| %s | %s | %s | %s |" % (ARMS[arm], values("seconds"), values("cpu_per_node"), values("pss_mib")))
    lines.append("")
    lines.append("Medians of %d rounds, with least and most; 7 nodes of 512 MiB and 1 vcpu, emulated by TCG." % max(map(len, results.values())))
    lines += ["", "![boot timeline](boot-timeline.svg)"]
    return "\n".join(lines)


def timeline(results):
    """Draws one panel for each arm and one lane for each node, from the round nearest the median."""
    width, lane, left = 900, 12, 110
    parts, y = [], 20
    for arm, rounds in results.items():
        median = statistics.median(r["seconds"] for r in rounds)
        result = min(rounds, key=lambda r: abs(r["seconds"] - median))
        scale = (width - left - 20) / result["seconds"]
        parts.append('<text x="10" y="%d" font-weight="bold">%s: %.1f s</text>' % (y, ARMS[arm], result["seconds"]))
        y += 10
        for node, stages in sorted(result["lanes"].items()):
            parts.append('<text x="10" y="%d">%s</text>' % (y + lane - 2, node))
            stages = sorted(stages, key=lambda s: s[1])
            for (stage, begin), (_, end) in zip(stages, stages[1:]):
                if stage in COLORS:
                    parts.append('<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"><title>%s %s: %.2f s to %.2f s</title></rect>' % (
                        left + begin * scale, y, max(0.5, (end - begin) * scale), lane - 2, COLORS[stage], node, stage, begin, end))
            y += lane
        for i in range(6):
            at = result["seconds"] * i / 5
            parts.append('<text x="%.1f" y="%d" text-anchor="middle" fill="#666">%.3g s</text>' % (left + at * scale, y + 12, at))
        y += 40
    for i, (stage, color) in enumerate([("from exec", "exec"), ("from kernel", "kernel"), ("from woken", "woken"), ("from identity", "identity"), ("from lease", "lease")]):
        parts.append('<rect x="%d" y="%d" width="10" height="10" fill="%s"/><text x="%d" y="%d">%s</text>' % (10 + 110 * i, y, COLORS[color], 24 + 110 * i, y + 9, stage))
    return ('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="10">'
            '<rect width="100%%" height="100%%" fill="white"/>%s</svg>\n' % (width, y + 20, "".join(parts)))


def write(results, flat, folder, docs):
    text = markdown(results, flat)
    print(text)
    svg = timeline(results)
    for name, content in [("result.json", json.dumps({"arms": results, "exec_to_running": flat}, indent=1)), ("boot-timeline.svg", svg)]:
        with open(os.path.join(folder, name), "w") as file:
            file.write(content)
    print("in %s: result.json, boot-timeline.svg" % folder, file=sys.stderr)
    if docs:
        page = os.path.join(docs, "PERFORMANCE.md")
        with open(page) as file:
            old = file.read()
        before, _, rest = old.partition(START)
        after = rest.partition(END)[2]
        with open(page, "w") as file:
            file.write(before + START + "\n" + text + "\n" + END + after)
        with open(os.path.join(docs, "boot-timeline.svg"), "w") as file:
            file.write(svg)
