#!/bin/bash
# Removes the cluster. A cluster that did not come up is no error.
set -eu
code=0
sudo --preserve-env=KVMC_STATE_DIR kvmc ${CLUSTER:+--cluster "$CLUSTER"} down || code=$?
[ $code = 4 ] || exit $code
