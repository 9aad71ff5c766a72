#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Formats all C++ sources with clang-format 14; with --check only says which are not.
set -euo pipefail
cd "$(dirname "$0")/.."
how=(-i)
if [ "${1:-}" = --check ]; then how=(--dry-run -Werror); fi
git ls-files -z '*.h' '*.cpp' '*.cu' '*.def' | xargs -0 clang-format-14 "${how[@]}"
