#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Times the six workloads in tanul and in PyTorch, in turn, and prints one table. PyTorch is installed from
# its package registry into build/compare/venv, and stays there.
#   bench/compare/run.sh [--workloads ABCDEF] [--rounds 3] [--threads 2] [--busy] …   (--help lists them)
#   bench/compare/run.sh --python /path/to/python …   with a PyTorch that is there already
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
venv=$root/build/compare/venv
# The version that the numbers in bench/results were taken with; TANUL_COMPARE_TORCH names another one.
torch=${TANUL_COMPARE_TORCH:-torch==2.15.0}

has_python=no has_tanul=no
for word in "$@"; do
  case $word in
    --python | --python=*) has_python=yes ;;
    --tanul | --tanul=*) has_tanul=yes ;;
    -h | --help) exec python3 "$root/bench/compare/compare.py" --help ;;
  esac
done

if [ $has_tanul = no ] && [ ! -x "$root/build/release/bin/tanul-bench" ]; then
  echo "compare: build/release/bin/tanul-bench is not there; scripts/build.sh builds it" >&2
  exit 2
fi

if [ $has_python = no ]; then
  if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv" || {
      rm -rf "$venv"
      echo "compare: python3 cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2
      exit 1
    }
  fi
  if ! "$venv/bin/python" -c 'import torch' 2>/dev/null; then
    echo "compare: installing $torch into build/compare/venv (several GB, minutes)" >&2
    "$venv/bin/pip" install --quiet --disable-pip-version-check "$torch" >&2
  fi
  set -- --python "$venv/bin/python" "$@"
fi
exec python3 "$root/bench/compare/compare.py" "$@"
