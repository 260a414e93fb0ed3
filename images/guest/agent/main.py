"""The program: waits for its port, and runs the agent on it."""
import os
import time

from .agent import Agent
from .files import read
from .protocol import PORT, PORTS
from .systemd import notify


def find_port():
    for entry in os.listdir(PORTS):
        if read(PORTS + entry + "/name").strip() == PORT:
            return "/dev/" + entry
    return None


def main(agent=Agent):
    path = None
    for _ in range(600):
        path = os.path.isdir(PORTS) and find_port()
        if path and os.path.exists(path):
            break
        time.sleep(0.05)
    if not path:
        # kvmc did not start this machine, so the boot must not wait.
        notify()
        return
    agent(os.open(path, os.O_RDWR | os.O_NONBLOCK)).run()
