#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds everything in the release preset and runs every test. Further arguments go to ctest.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/dependencies.sh
scripts/build.sh
ctest --preset release -j "$(nproc)" "$@"
