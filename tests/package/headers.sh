#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# headers.sh COMPILER SOURCE_FOLDER: each public header compiles alone with nothing but -Iinclude and
# strict warnings, pulls in nothing but tanul's own and the standard library, and the README's C++
# program compiles in less than two seconds of processor time.
set -euo pipefail
compiler=$1
cd "$2"
strict=(-std=c++20 -Iinclude -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror)
bad=0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for header in include/tanul/*.h; do
  printf '#include <%s>\n' "${header#include/}" |
    "$compiler" "${strict[@]}" -fsyntax-only -MD -MF "$work/${header##*/}.d" -x c++ - ||
    { echo "$header: does not compile alone"; bad=1; }
done

# Third-party headers lie in the same folders as the C library's, so look for them by name.
foreign=$(cat "$work"/*.d | tr -s ' \\' '\n' |
  grep -E '/(fmt|toml|toml\+\+|nlohmann|hwy|openblas[^/]*|CLI|curl|openssl|gtest)/|/(cblas|zlib|png|jpeglib|toml)\.h' |
  sort -u || true)
if [ -n "$foreign" ]; then
  echo "public headers include: $foreign"
  bad=1
fi
if grep -nE '^ *# *include' include/tanul/*.h | grep -E '<[^>]*[./]' | grep -v '<tanul/'; then
  echo "a public header includes something in <> that is not of the C++ standard library"
  bad=1
fi

# TIMEFORMAT with %U and %S: processor seconds, which other work on the machine hardly disturbs.
TIMEFORMAT='%U %S'
used=$( { time "$compiler" -std=c++20 -O2 -Iinclude -c examples/lenet.cpp -o /dev/null; } 2>&1)
seconds=$(awk '{print $1 + $2}' <<<"$used")
echo "examples/lenet.cpp compiles in $seconds s"
if ! awk -v s="$seconds" 'BEGIN {exit !(s < 2)}'; then
  echo "that is too long: below 2 s was promised"
  bad=1
fi
exit $bad
