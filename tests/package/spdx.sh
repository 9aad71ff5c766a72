#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# spdx.sh FOLDER: every file that can hold a comment names the licence within its first five lines.
set -euo pipefail
cd "$1"
bad=0
while IFS= read -r -d '' file; do
  case $file in
    LICENSE | *.json | *.jsonl | *.bin | *.gz | *.png | *.jpg | *.safetensors | *-ubyte) continue ;;
    bench/results/* | */fixtures/* | */golden/*) continue ;;
  esac
  if ! head -n 5 "$file" | grep -q 'SPDX-License-Identifier: Apache-2.0'; then
    echo "$file: no SPDX line"
    bad=1
  fi
done < <(if [ -e .git ] && command -v git >/dev/null; then
           git -c safe.directory='*' ls-files -z --cached
         else
           find . -type f -not -path './build/*' -not -path './.git/*' -not -path './runs/*' -printf '%P\0'
         fi)
exit $bad
