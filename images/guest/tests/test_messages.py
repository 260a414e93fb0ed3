import ast
import json
import os
import unittest
from unittest import mock

from agent import agent, cloud, protocol

GUEST = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
with open(os.path.join(GUEST, "messages.json")) as file:
    TABLE = json.load(file)


def trees():
    """The agent's modules by name, parsed."""
    folder = os.path.join(GUEST, "agent")
    for name in sorted(os.listdir(folder)):
        if name.endswith(".py"):
            with open(os.path.join(folder, name)) as module:
                yield name, ast.parse(module.read())


def constant(node):
    """A string literal of the source, also as a Python before 3.9 parses an index."""
    node = getattr(node, "value", node) if type(node).__name__ == "Index" else node
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def keys_of(variable):
    """The keys by which the modules read a variable: `variable["key"]`, `variable.get("key")`, `"key" in variable`."""
    found = set()
    for _, tree in trees():
        for node in ast.walk(tree):
            key = None
            if isinstance(node, ast.Subscript):
                key = constant(node.slice) if name_of(node.value) == variable else None
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
                key = constant(node.args[0]) if name_of(node.func.value) == variable else None
            elif isinstance(node, ast.Compare) and name_of(node.comparators[0]) == variable:
                key = constant(node.left)
            if key is not None:
                found.add(key)
    return found


def name_of(node):
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else None


class Table(unittest.TestCase):
    def fields(self):
        for kind in ("commands", "events"):
            for message in TABLE[kind].values():
                for part in ("arguments", "answer", "data"):
                    yield from message.get(part, {}).items()
        for fields in TABLE["objects"].values():
            yield from fields.items()

    def test_every_type_is_known(self):
        known = {"string", "number", "integer", "boolean"} | set(TABLE["objects"])
        for name, field in self.fields():
            self.assertIn(field["type"].rstrip("?[]{}"), known, name)

    def test_nothing_is_of_a_version_to_come(self):
        for name, field in self.fields():
            self.assertLessEqual(field["since"], TABLE["version"], name)
            self.assertLessEqual(set(field), {"type", "required", "since", "later", "about"}, name)

    def test_the_agent_has_the_tables_version_and_port(self):
        self.assertEqual(protocol.VERSION, TABLE["version"])
        self.assertEqual(protocol.PORT, TABLE["port"])


class Agents(unittest.TestCase):
    def test_every_command_has_a_handler_and_every_handler_a_command(self):
        with mock.patch.object(agent, "watch"), mock.patch.object(agent.Hold, "load"):
            for kind in (agent.Agent, cloud.CloudAgent):
                self.assertEqual(sorted(kind(0).handlers), sorted(TABLE["commands"]))

    def test_every_event_that_is_sent_is_in_the_table_with_its_data(self):
        sent = set()
        for name, tree in trees():
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and name_of(node.func) == "event":
                    event = constant(node.args[0])
                    sent.add(event)
                    self.assertIn(event, TABLE["events"], name)
                    data = {keyword.arg for keyword in node.keywords}
                    fields = TABLE["events"][event]["data"]
                    self.assertLessEqual(data, set(fields), event)
                    self.assertLessEqual({f for f in fields if fields[f].get("required")}, data, event)
        self.assertEqual(sent, {"hello", "killed", "stage", "ready"})

    def test_the_agent_reads_the_tables_arguments_and_no_others(self):
        arguments = {name for message in TABLE["commands"].values() for name in message["arguments"]}
        self.assertEqual(keys_of("arguments"), arguments)

    def test_the_agent_reads_the_tables_objects_and_nothing_else_of_them(self):
        for variable, kind in (("nic", "nic"), ("pair", "key_pair"), ("cloud", "cloud")):
            read = keys_of(variable)
            self.assertTrue(read)
            self.assertLessEqual(read, set(TABLE["objects"][kind]), kind)

    def test_every_answer_has_the_tables_fields(self):
        with mock.patch.object(agent, "watch"), mock.patch.object(agent.Hold, "load"), \
                mock.patch.object(agent.identity, "take", lambda *_: "00"), \
                mock.patch.multiple(agent, notify=mock.DEFAULT, settle=lambda _: "b", is_addressed=lambda _: False,
                                    address=lambda: None, is_original=lambda: False), \
                mock.patch.multiple(agent.Hold, take=mock.DEFAULT, let_go=mock.DEFAULT), \
                mock.patch.object(agent.clock, "adjust", lambda _: 1.0), \
                mock.patch.object(agent.os, "sync"), mock.patch.object(agent.power, "go_down"), \
                mock.patch.object(agent.Farewell, "begin"):
            one = agent.Agent(0)
            for name, message in TABLE["commands"].items():
                answer = one.handlers[name]({"seconds": 1})
                self.assertEqual(set(answer), set(message["answer"]), name)


if __name__ == "__main__":
    unittest.main()
