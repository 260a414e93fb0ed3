#!/bin/bash
# Puts the cached template and frozen machines into kvmc's state folder. `up` verifies them.
set -eu
state=${KVMC_STATE_DIR:-/var/lib/kvmc}
sudo mkdir -p "$state"
sudo tar -xpSf "$FILE" -C "$state"
