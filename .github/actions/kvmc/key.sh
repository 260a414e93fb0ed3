#!/bin/bash
# Names the cache by all that decides about the template and the frozen machines.
set -eu
config=""
[ ! -f kvmc.toml ] || config=$(cat kvmc.toml)
digest=$(printf '%s\n' "$(kvmc --version)" "$(uname -rm)" "$ARGS" "$config" | sha256sum | cut -c1-16)
{
  echo "key=kvmc-$(uname -m)-$digest"
  echo "file=${RUNNER_TEMP:?}/kvmc-cache.tar"
} >> "$GITHUB_OUTPUT"
