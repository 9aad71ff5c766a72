#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Configures where needed and builds the release preset: all of it, or the named targets.
# Quiet when all goes well: one line while it works, the compiler's words when it fails.
set -euo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT
if [ ! -e build/release/build.ninja ]; then
  cmake --preset release >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
fi
# Ninja prints where it stands on one line of a terminal, and a line a file elsewhere.
if [ -t 1 ]; then
  cmake --build --preset release ${1:+--target "$@"}
else
  echo "tanul: building in build/release (minutes the first time)"
  cmake --build --preset release ${1:+--target "$@"} >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
fi
