#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# installed.sh find_package|pkg_config CMAKE COMPILER BUILD_FOLDER VERSION GENERATOR: installs tanul into a
# temporary folder, moves that elsewhere, and builds and runs a separate program against it.
set -euo pipefail
way=$1 cmake=$2 compiler=$3 build=$4 version=$5 generator=$6
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$cmake" --install "$build" --prefix "$work/first" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
mv "$work/first" "$work/tanul"  # an installed tree can be moved
prefix=$work/tanul

# Public headers, and nothing of other projects or of the inside.
if find "$prefix/include" -type f | grep -v "/include/tanul/[a-z_]*\.h$"; then
  echo "installed, but not a public header"
  exit 1
fi
if [ -e "$prefix/bin/tanul" ]; then "$prefix/bin/tanul" info >/dev/null; fi  # finds ../lib

case $way in
  find_package)
    "$cmake" -G "$generator" -S "$here/consumer" -B "$work/build" -DCMAKE_PREFIX_PATH="$prefix" \
      -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_BUILD_TYPE=Release -DWANTED="$version" >"$work/log" 2>&1 &&
      "$cmake" --build "$work/build" >>"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
    "$work/build/consumer" "$work/weights.safetensors"
    ;;
  pkg_config)
    config=$(dirname "$(find "$prefix" -name tanul.pc)")
    export PKG_CONFIG_PATH=$config
    [ "$(pkg-config --modversion tanul)" = "$version" ]
    # shellcheck disable=SC2046  # flags are words
    "$compiler" -std=c++20 -O1 "$here/consumer/main.cpp" -o "$work/consumer" $(pkg-config --cflags --libs tanul)
    LD_LIBRARY_PATH=$(pkg-config --variable=libdir tanul) "$work/consumer" "$work/weights.safetensors"
    ;;
esac
