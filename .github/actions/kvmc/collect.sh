#!/bin/bash
# Collects what a failed job wants to know. What is not there says so in its file.
set -eu
folder=${RUNNER_TEMP:?}/kvmc-logs
mkdir -p "$folder"
run() { sudo --preserve-env=KVMC_STATE_DIR kvmc ${CLUSTER:+--cluster "$CLUSTER"} "$@" 2>&1 || true; }
run status > "$folder/status.txt"
run status --json > "$folder/status.json"
run timeline > "$folder/timeline.txt"
run timeline --html "$folder/timeline.html" > /dev/null
run events > "$folder/events.txt"
run logs > "$folder/logs.txt"
run doctor > "$folder/doctor.txt"
sudo chown -R "$(id -u)" "$folder"
# A table with a heading, where there is a cluster. A node has a row for each of its addresses.
for node in $(run ip | awk 'NR == 1 && $1 != "NODE" { exit } NR > 1 { print $1 }' | sort -u); do
  run console "$node" --history > "$folder/console-$node.txt"
done
echo "folder=$folder" >> "$GITHUB_OUTPUT"
