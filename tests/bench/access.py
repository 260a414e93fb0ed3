"""Times `exec`, `cp` and `--help` beside plain ssh and scp; see access.sh. Everything happens in this process's own
network and mount namespace, and is gone with it."""
import argparse
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

KVMC, FAKE_QEMU = os.environ["KVMC"], os.environ["FAKE_QEMU"]
HERE = os.path.dirname(os.path.abspath(__file__))
# Bytes that are copied: the least before which kvmc looks at the node's free space.
SIZE = 1 << 30
BEGIN, END = "<!-- the benchmark of access writes from here -->", "<!-- to here, access -->"


def fakes(source):
    """The scripts of tests/it/fake.rs by which a template is made without a mirror."""
    text = open(source).read()
    return {name: re.search(r'const %s: &str = r#"(.*?)"#;' % const, text, re.S).group(1)
            for const, name in (("MMDEBSTRAP", "mmdebstrap"), ("SSH_KEYGEN", "ssh-keygen"))}


def run(*words, **more):
    ended = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **more)
    if ended.returncode != 0:
        sys.exit("%s ended with %d:\n%s" % (" ".join(words), ended.returncode, ended.stdout))
    return ended.stdout


def cpu():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def timed(words):
    """Seconds that a command takes, and seconds of the processors for it and its children."""
    before, began = cpu(), time.monotonic()
    ended = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    took = time.monotonic() - began
    if ended.returncode != 0:
        sys.exit("%s ended with %d:\n%s" % (" ".join(words), ended.returncode, ended.stderr.decode()))
    return took, cpu() - before


class Bench:
    def __init__(self, folder):
        self.folder, self.sshds = folder, []

    def make(self):
        folder = self.folder
        os.chmod(folder, 0o755)
        for name in ("bin", "project", "home", "sshd"):
            os.mkdir(folder + "/" + name)
        shutil.copy(FAKE_QEMU, folder + "/bin/qemu-system-x86_64")
        for name, text in fakes(HERE + "/../it/fake.rs").items():
            with open(folder + "/bin/" + name, "w") as file:
                file.write(text)
            os.chmod(folder + "/bin/" + name, 0o755)
        os.environ.update(PATH=folder + "/bin:" + os.environ["PATH"], KVMC_STATE_DIR=folder + "/state", HOME=folder + "/home")
        os.chdir(folder + "/project")
        run("mount", "--make-rprivate", "/")
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "in0")
        run("ip", "link", "set", "in0", "up")
        run("ip", "addr", "add", "203.0.113.2/24", "dev", "up0")
        run("ip", "link", "set", "up0", "up")
        run("ip", "route", "add", "default", "via", "203.0.113.1")
        run(KVMC, "image", "build")
        run(KVMC, "up", "--accel", "tcg", "--master-ram", "256M", "--worker-ram", "256M", "--lbl-ram", "256M", "--vcpus", "1")
        state = folder + "/state/clusters/k80/"
        self.config = state + "ssh_config"
        # ssh's user on the nodes.
        users = open("/etc/passwd").read() + "admin:x:%d:%d::%s/home:/bin/sh\n" % (os.getuid(), os.getgid(), folder)
        with open(folder + "/passwd", "w") as file:
            file.write(users)
        run("mount", "--bind", folder + "/passwd", "/etc/passwd")
        secrets = json.load(open(state + "secrets.json"))
        with open(folder + "/sshd/authorized", "w") as file:
            file.write(secrets["admin"]["public"])
        os.makedirs("/run/sshd", exist_ok=True)
        nodes = json.loads(run(KVMC, "ip", "--json"))
        self.nodes = [node["node"] for node in nodes]
        for node in nodes:
            self.serve(node["node"], node["addresses"][0]["address"], secrets["hosts"][node["node"]]["ed25519"]["private"])
        for node in self.nodes:
            run("ssh", "-F", self.config, node, "true")

    def serve(self, node, address, key):
        """Starts the sshd of a node."""
        path = "%s/sshd/%s" % (self.folder, node)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(key)
        run("ip", "addr", "add", address + "/32", "dev", "lo")
        self.sshds.append(subprocess.Popen([
            "/usr/sbin/sshd", "-D", "-f", "/dev/null", "-h", path, "-o", "ListenAddress=" + address, "-o", "UsePAM=no",
            "-o", "AuthorizedKeysFile=%s/sshd/authorized" % self.folder, "-o", "StrictModes=no", "-o", "PidFile=none",
            "-o", "PermitRootLogin=yes", "-o", "MaxStartups=100", "-o", "Subsystem=sftp /usr/lib/openssh/sftp-server"],
            stderr=open(path + ".log", "w")))

    def close(self):
        for sshd in self.sshds:
            sshd.terminate()
            sshd.wait()
        subprocess.run([KVMC, "down"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def measure(bench, rounds):
    ssh = ["ssh", "-F", bench.config, "-o", "BatchMode=yes"]
    node = bench.nodes[0]
    many = " & ".join(" ".join(ssh + [name, "true"]) for name in bench.nodes) + " & wait"
    with open("big", "wb") as file:
        file.write(os.urandom(SIZE))
    scp = ["scp", "-q", "-r", "-F", bench.config, "-o", "BatchMode=yes", "-3", "--", "big", node + ":copied"]
    arms = {
        "one ssh": ssh + [node, "true"],
        "`exec` on one node": [KVMC, "exec", node, "--", "true"],
        "a shell with 7 ssh at once": ["sh", "-c", many],
        "`exec` on 7 nodes": [KVMC, "exec", "--", "true"],
        "scp": scp,
        "`cp`": [KVMC, "cp", "big", node + ":copied"],
        "`--help`": [KVMC, "--help"],
        "`exec --help`": [KVMC, "exec", "--help"],
    }
    times = {name: [] for name in arms}
    for turn in range(rounds + 1):
        for name, words in arms.items():
            result = timed(words)
            # The first turn fills the caches.
            if turn:
                times[name].append(result)
    return times


def table(times):
    median = {name: [statistics.median(column) for column in zip(*results)] for name, results in times.items()}
    def more(name, than, column):
        return 100 * (median[name][column] / median[than][column] - 1)
    def row(what, value, limit, unit):
        return "| %s | %.1f %s | %g %s | %s |" % (what, value, unit, limit, unit, "yes" if value <= limit else "NO")
    lines = [
        "| what | measured | limit | met |", "|---|---|---|---|",
        row("time of `exec` on one node over one ssh", more("`exec` on one node", "one ssh", 0), 20, "%"),
        row("time of `exec` on 7 nodes over 7 ssh at once", more("`exec` on 7 nodes", "a shell with 7 ssh at once", 0), 20, "%"),
        row("processors of `exec` on 7 nodes over 7 ssh", more("`exec` on 7 nodes", "a shell with 7 ssh at once", 1), 20, "%"),
        row("processors of `cp` over scp", more("`cp`", "scp", 1), 10, "%"),
        row("`--help`, least", min(times["`--help`"])[0] * 1000, 10, "ms"),
        "", "| command | ms | ms of the processors |", "|---|---|---|",
    ]
    for name, results in times.items():
        took, used = zip(*results)
        lines.append("| %s | %.1f (%.1f-%.1f) | %.1f |" % (
            name, 1000 * statistics.median(took), 1000 * min(took), 1000 * max(took), 1000 * statistics.median(used)))
    rounds = len(next(iter(times.values())))
    lines += ["", "Medians of %d rounds, with least and most; `cp` and scp copy %d MiB. The processors' time is that of kvmc, ssh and"
              % (rounds, SIZE >> 20), "scp; the sshds are on the same cores, and count in the time only."]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--docs", action="store_true", help="write docs/PERFORMANCE.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kvmc-b", dir="/tmp") as folder:
        bench = Bench(folder)
        try:
            bench.make()
            text = table(measure(bench, options.rounds))
        finally:
            bench.close()
            os.chdir("/")
    print(text)
    if options.docs:
        path = HERE + "/../../docs/PERFORMANCE.md"
        old = open(path).read()
        head, rest = old.split(BEGIN)
        with open(path, "w") as file:
            file.write(head + BEGIN + "\n" + text + "\n" + END + rest.split(END)[1])


if __name__ == "__main__":
    main()
