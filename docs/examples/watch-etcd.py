#!/usr/bin/env python3
"""Watches the etcd of services.yml: watch-etcd.py INVENTORY SECONDS

Every ten seconds it asks each master for the leader and its health, and writes and reads a key through the
load balancer. It exits with 1 if the leader changed, a master was not healthy or a key was missing. The last
line says so.
"""
import base64
import json
import re
import sys
import time
import urllib.request

EVERY = 10
PATIENCE = 9


def hosts(inventory, group):
    """Names and addresses of a group of kvmc's inventory."""
    found, section = {}, ""
    for line in inventory.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif section == group:
            found.update(re.findall(r"^(\S+) ansible_host=(\S+)", line))
    return found


def call(address, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request("http://%s:2379%s" % (address, path), data=data)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.load(answer)


def code(text):
    return base64.b64encode(text.encode()).decode()


def sample(masters, front, number):
    """One line with the seen leaders and terms, and the faults."""
    seen, wrong, slowest = set(), [], 0.0
    for name, address in masters.items():
        try:
            began = time.monotonic()
            status = call(address, "/v3/maintenance/status", {})
            health = call(address, "/health")
            slowest = max(slowest, time.monotonic() - began)
            seen.add((status.get("leader", "none"), status.get("raftTerm", "?")))
            if health.get("health") != "true":
                wrong.append("%s is not healthy: %s" % (name, health))
        except (OSError, ValueError) as error:
            wrong.append("%s: %s" % (name, error))
    try:
        key, value = code("kvmc/sample"), code(str(number))
        call(front, "/v3/kv/put", {"key": key, "value": value})
        got = call(front, "/v3/kv/range", {"key": key}).get("kvs", [{}])[0].get("value")
        if got != value:
            wrong.append("what was written through the load balancer is not what is read")
    except (OSError, ValueError, IndexError) as error:
        wrong.append("load balancer: %s" % error)
    return seen, wrong, slowest


def main(inventory, seconds):
    with open(inventory) as file:
        text = file.read()
    masters = hosts(text, "masters")
    front = next(iter(hosts(text, "load_balancers").values()))
    seen, wrong, samples = set(), 0, 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        leaders, errors, slowest = sample(masters, front, samples)
        seen |= leaders
        wrong += bool(errors)
        samples += 1
        leaders = ", ".join("leader %s term %s" % l for l in sorted(leaders))
        print("%s  %s  %.2f s  %s" % (time.strftime("%T"), leaders, slowest, "; ".join(errors) or "healthy"), flush=True)
        time.sleep(max(0, EVERY - (time.monotonic() - began)))
    print("%d samples of %d masters: %d with something wrong, %d leaders and terms seen" % (samples, len(masters), wrong, len(seen)))
    return 0 if samples and not wrong and len(seen) == 1 else 1


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], float(sys.argv[2])))
