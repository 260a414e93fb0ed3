#!/bin/sh
# The cost of reaching nodes: `sudo tests/bench/access.sh [--rounds N] [--docs]`.
#
# Real sshds stand for seven nodes, one at each node's address with the node's host key, in a namespace of their own.
# So the guests' time does not count. The nodes' QEMUs are the tests' fake. --docs writes docs/PERFORMANCE.md.
set -eu
cd "$(dirname "$0")/../.."
PATH="$PATH:$HOME/.cargo/bin"
[ "$(id -u)" = 0 ] || { echo "tests/bench/access.sh makes network namespaces: run it with sudo" >&2; exit 1; }
target="${CARGO_TARGET_DIR:-$PWD/target}"
cargo build --release --quiet --bin kvmc
cargo build --quiet --workspace --example fake-qemu
export KVMC="$target/release/kvmc" FAKE_QEMU="$target/debug/examples/fake-qemu"
exec unshare --net --mount python3 tests/bench/access.py "$@"
