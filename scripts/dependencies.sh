#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs the Debian packages that tanul is built from, where any is missing; says so in one line.
# This is the one list of them.
#   scripts/dependencies.sh          to build, test and try tanul
#   scripts/dependencies.sh check    and to check format and instruction counts, as CI does
set -euo pipefail

packages=(
  g++ cmake ninja-build pkg-config                      # tools (ccache is used where there is one)
  libopenblas-pthread-dev zlib1g-dev libhwy-dev         # linked by libtanul.so
  libfmt-dev libtomlplusplus-dev nlohmann-json3-dev     # compiled into it
  libcli11-dev libpng-dev libjpeg62-turbo-dev           # the command line tool
  libcurl4-openssl-dev libssl-dev
  libgtest-dev                                          # the tests
  dataset-fashion-mnist                                 # 70,000 images to learn
)
if [ "${1:-}" = check ]; then packages+=(clang-format-14 git valgrind python3); fi

if ! command -v apt-get >/dev/null; then
  echo "tanul: no apt-get here; these packages of Debian 12 are needed: ${packages[*]}" >&2
  exit 0
fi

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || status=unknown
  [ "$status" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "tanul: not root and no sudo; ask for these packages: ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
echo "tanul: installing with apt-get: ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { "${as_root[@]}" apt-get update -qq &&
       "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
         apt-get install -y -qq --no-install-recommends "${missing[@]}"; } \
     </dev/null >"$log" 2>&1; then
  cat "$log" >&2
  echo "tanul: apt-get failed" >&2
  exit 1
fi
