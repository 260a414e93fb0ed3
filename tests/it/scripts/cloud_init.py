"""Has cloud-init's own code read the user-data of a seed, and prints as JSON what came of it.

    cloud_init.py FOLDER SEED HOSTNAME      FOLDER has the package cloudinit
"""
import json
import os
import sys
import tempfile

sys.path.insert(0, sys.argv[1])
from cloudinit import handlers, helpers, user_data
from cloudinit.distros import ug_util
from cloudinit.handlers import boot_hook, cloud_config, jinja_template, shell_script


class Hook(boot_hook.BootHookPartHandler):
    """Keeps a hook instead of running it."""

    def handle_part(self, data, ctype, filename, payload, frequency):
        if ctype not in handlers.CONTENT_SIGNALS:
            hooks.append(payload)


class Distro:
    def get_default_user(self):
        return {"name": "cloud", "groups": []}


seed = open(sys.argv[2], "rb").read()
start = seed.index(b"Content-Type: multipart/mixed; boundary=")
boundary = seed[start:].split(b'"')[1]
blob = seed[start:seed.index(b"\n--" + boundary + b"--\n", start) + len(boundary) + 6]
hooks, scripts = [], []
with tempfile.TemporaryDirectory() as folder:
    paths = helpers.Paths({"cloud_dir": folder, "run_dir": folder}, ds=None)
    paths.get_ipath_cur = lambda name=None: os.path.join(folder, name or "")
    paths.get_ipath = lambda name=None: os.path.join(folder, paths.lookups.get(name, name or ""))
    for name in ["handlers", "scripts", "data"]:
        os.makedirs(os.path.join(folder, name), exist_ok=True)
    with open(paths.get_runpath("instance_data_sensitive"), "w") as file:
        json.dump({"v1": {"local_hostname": sys.argv[3]}}, file)
    config = cloud_config.CloudConfigPartHandler(paths)
    script = shell_script.ShellScriptPartHandler(paths)
    script.script_dir = os.path.join(folder, "scripts")
    hook = Hook(paths, None)
    jinja = jinja_template.JinjaTemplatePartHandler(paths, sub_handlers=[config, script, hook])
    known = helpers.ContentHandlers()
    for handler in [config, script, hook, jinja]:
        known.register(handler)
        handlers.call_begin(handler, None, "always")
    message = user_data.UserDataProcessor(paths).process(blob)
    data = {"handlers": known, "handlerdir": os.path.join(folder, "handlers"), "data": None,
            "frequency": "always", "handlercount": 0, "excluded": []}
    sys.path.insert(0, data["handlerdir"])
    handlers.walk(message, handlers.walker_callback, data=data)
    for handler in set(known.registered.values()):
        handlers.call_end(handler, None, "always")
    import yaml
    merged = yaml.safe_load(open(config.cloud_fn))
    for name in sorted(os.listdir(script.script_dir)):
        scripts.append(open(os.path.join(script.script_dir, name)).read())
    users, _ = ug_util.normalize_users_groups(merged, Distro())
    print(json.dumps({"config": merged, "users": users, "hooks": hooks, "scripts": scripts}))
