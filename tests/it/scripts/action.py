#!/usr/bin/env python3
"""action.py ACTION.yml [INPUT=VALUE...]: runs the steps of a composite action as GitHub's runner does, as far as our own
actions go. Stands in for actions/cache with the folder ../cache and for actions/upload-artifact with ../artifacts.
Prints the outputs of the action as NAME=VALUE at the end, and ends with 1 if a step failed."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import yaml


def main(path, *given):
    path = pathlib.Path(path).resolve()
    action = yaml.safe_load(path.read_text())
    inputs = {name: str(i.get("default", "")) for name, i in action["inputs"].items()}
    for name, value in (word.split("=", 1) for word in given):
        assert name in inputs, f"the action has no input {name}"
        inputs[name] = value
    here = pathlib.Path.cwd()
    outputs, failed, saves = {}, False, []

    def value(expression):
        expression = expression.strip()
        if expression == "github.action_path":
            return str(path.parent)
        if expression == "github.job":
            return "test"
        if expression == "strategy.job-index":
            return "0"
        if found := re.fullmatch(r"inputs\.([\w-]+)", expression):
            return inputs[found[1]]
        if found := re.fullmatch(r"steps\.(\w+)\.outputs\.([\w-]+)", expression):
            assert any(s.get("id") == found[1] for s in action["runs"]["steps"]), f"no step {found[1]}"
            return outputs.get(found[1], {}).get(found[2], "")
        sys.exit(f"an expression that this runner does not know: {expression}")

    def text(template):
        return re.sub(r"\$\{\{(.*?)\}\}", lambda found: value(found[1]), str(template))

    def holds(condition):
        if condition == "always()":
            return True
        asks = "failure()" in condition
        if failed != asks:
            return False
        for part in filter(None, condition.split("&&")):
            part = part.strip()
            if part == "failure()":
                continue
            left, sign, right = re.fullmatch(r"(\S+) (==|!=) '(.*)'", part).groups()
            if (value(left) == right) != (sign == "=="):
                return False
        return True

    for step in action["runs"]["steps"]:
        if not holds(step.get("if", "")):
            continue
        print(f"## {step['name']}", flush=True)
        step_outputs = outputs.setdefault(step.get("id", step["name"]), {})
        with_ = {name: text(v) for name, v in step.get("with", {}).items()}
        if step.get("uses", "").startswith("actions/cache@"):
            saved, target = here / "../cache" / with_["key"], pathlib.Path(with_["path"])
            if saved.exists():
                shutil.copy(saved, target)
                step_outputs["cache-hit"] = "true"
            else:
                saves.append((target, saved))
        elif step.get("uses", "").startswith("actions/upload-artifact@"):
            shutil.copytree(with_["path"], here / "../artifacts" / with_["name"])
        else:
            assert step["shell"] == "bash"
            written = here / "../output"
            written.write_text("")
            env = dict(os.environ, GITHUB_OUTPUT=str(written))
            env |= {name: text(v) for name, v in step.get("env", {}).items()}
            folder = here / text(step.get("working-directory", "."))
            run = subprocess.run(["bash", "-e", "-c", text(step["run"])], env=env, cwd=folder)
            step_outputs |= dict(line.split("=", 1) for line in written.read_text().splitlines())
            failed |= run.returncode != 0
    for target, saved in saves:
        if not failed and target.exists():
            saved.parent.mkdir(exist_ok=True)
            shutil.copy(target, saved)
    for name, output in action.get("outputs", {}).items():
        print(f"{name}={text(output['value'])}")
    return 1 if failed else 0


sys.exit(main(*sys.argv[1:]))
