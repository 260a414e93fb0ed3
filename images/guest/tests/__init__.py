"""Tests of the agent's pure parts: `python3 -B -m unittest discover -s images/guest/tests -t images/guest`."""
