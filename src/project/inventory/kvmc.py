# made by kvmc; an inventory plugin for Ansible, which runs `kvmc inventory --list`
"""Clusters of kvmc as an inventory of Ansible."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = """
name: kvmc
short_description: Nodes of a kvmc cluster
description:
  - Asks kvmc for the nodes of a cluster, with their groups and variables.
options:
  plugin:
    description: The plugin's name.
    required: true
    choices: [kvmc]
  cluster:
    description: The cluster's name; without it, the one that kvmc works on in the folder of this file.
    type: str
  program:
    description: The program kvmc.
    type: str
    default: kvmc
  state_dir:
    description: kvmc's state folder, as KVMC_STATE_DIR names it.
    type: str
  sudo:
    description: Run kvmc by sudo, for clusters of root.
    type: bool
    default: false
"""

EXAMPLES = """
plugin: kvmc
cluster: k80
sudo: true
"""

import json
import os
import subprocess

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin


class InventoryModule(BaseInventoryPlugin):
    NAME = "kvmc"

    def verify_file(self, path):
        """Whether the file can be this plugin's: it is called kvmc.yml, or ends so."""
        return super().verify_file(path) and path.endswith(("kvmc.yml", "kvmc.yaml"))

    def parse(self, inventory, loader, path, cache=True):
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        answer = self._ask(os.path.dirname(os.path.abspath(path)))
        hosts = answer.get("_meta", {}).get("hostvars", {})
        for host, variables in hosts.items():
            self.inventory.add_host(host)
            for name, value in variables.items():
                self.inventory.set_variable(host, name, value)
        for name, value in answer.get("all", {}).get("vars", {}).items():
            self.inventory.set_variable("all", name, value)
        for group, content in answer.items():
            if group in ("_meta", "all"):
                continue
            self.inventory.add_group(group)
            for host in content.get("hosts", []):
                self.inventory.add_child(group, host)

    def _ask(self, folder):
        state = self.get_option("state_dir")
        command = [self.get_option("program")]
        if self.get_option("cluster"):
            command += ["--cluster", self.get_option("cluster")]
        command += ["inventory", "--list"]
        environment = dict(os.environ)
        if state:
            environment["KVMC_STATE_DIR"] = state
        if self.get_option("sudo"):
            kept = ["env", "KVMC_STATE_DIR=" + state] if state else []
            command = ["sudo", "-n"] + kept + command
        shown = " ".join(command)
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        except OSError as error:
            raise AnsibleParserError("%s cannot be run: %s" % (command[0], error))
        if done.returncode != 0:
            said = done.stderr.decode("utf-8", "replace").strip()
            raise AnsibleParserError("`%s` failed: %s" % (shown, said))
        try:
            return json.loads(done.stdout.decode("utf-8"))
        except ValueError as error:
            raise AnsibleParserError("`%s` sent no JSON: %s" % (shown, error))
