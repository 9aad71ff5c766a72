#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# keep_usage.sh NVCC… -o OBJECT …: compiles. What --resource-usage says of each kernel goes to OBJECT.usage, which
# bench/registers.py reads, and everything else where it would have gone.
object=
previous=
for argument in "$@"; do
  [ "$previous" = -o ] && object=$argument
  previous=$argument
done
[ -n "$object" ] || exec "$@"
rm -f "$object.usage"
"$@" 2>"$object.messages"
status=$?
is_usage='^ptxas info|^ +[0-9]+ bytes stack frame'
grep -E "$is_usage" "$object.messages" >"$object.usage"
grep -vE "$is_usage" "$object.messages" >&2
rm "$object.messages"
exit $status
