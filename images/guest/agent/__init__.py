"""The guest's side of kvmc: takes an identity from the host and says when the machine is ready.

It uses system calls and starts no program: under emulation each program costs a good part of a second. Each line that
runs for the first time in a clone also costs time, so the agent imports all modules before a machine is frozen.
"""
