"""The guest's side of kvmc: takes an identity from the host and says when the machine is ready.

It makes system calls and starts no program: under emulation each program costs a good part of a second. Each line that
runs in a clone for the first time costs too, so all modules are imported before a machine is frozen, and none later.
"""
