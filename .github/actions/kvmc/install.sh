#!/bin/bash
# Installs PACKAGE with what it depends on, and Ansible where it is missing.
set -eu
if [ -n "$PACKAGE" ]; then
  if [ ! -f "$PACKAGE" ]; then
    echo "::error::there is no file $PACKAGE; build it with packaging/build-deb, or download it before"
    exit 1
  fi
  sudo apt-get update -qq
  sudo apt-get install -y -qq --no-install-recommends "$(realpath "$PACKAGE")"
elif ! command -v kvmc >/dev/null; then
  echo "::error::kvmc is not installed; set \`package\`"
  exit 1
fi
kvmc --version
