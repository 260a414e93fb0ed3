#!/bin/bash
# Starts the cluster and tells the job where its files are.
set -eu
# The arguments may stand on several lines.
read -r -d '' -a arguments <<< "$ARGS" || true
sudo --preserve-env=KVMC_STATE_DIR kvmc ${CLUSTER:+--cluster "$CLUSTER"} up --accel "$ACCEL" "${arguments[@]}"
{
  echo "inventory=$PWD/inventory"
  echo "ssh_config=$PWD/ssh_config"
} >> "$GITHUB_OUTPUT"
