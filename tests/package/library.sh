#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# library.sh CHECK LIBRARY: what libtanul.so shows to the outside.
#   symbols       it exports functions, objects and type information of namespace tanul, nothing else
#   dependencies  it needs OpenBLAS, zlib, Highway and the compiler's run time, nothing else
#   size          stripped, it is below 4 MB
#   soname        its soname is libtanul.so.MAJOR.MINOR
#   no_cuda       it (or a program), with all that it needs, needs no library of CUDA
#   module        libtanul-cuda.so: one exported symbol, no library of CUDA needed; stripped it is below
#                 10 MB with code for one architecture, below 60 MB with all
set -euo pipefail
check=$1
library=$2

case $check in
  symbols)
    exported=$(nm -D --defined-only -C "$library" | cut -d' ' -f3-)
    echo "$(wc -l <<<"$exported") symbols"
    if foreign=$(grep -vE '^((typeinfo|typeinfo name|vtable) for )?tanul::' <<<"$exported"); then
      echo "not of tanul: $foreign"
      exit 1
    fi
    grep -q '^tanul::version()' <<<"$exported" || { echo "tanul::version() is missing"; exit 1; }
    if hidden=$(grep -E 'tanul::(cpu|cli|detail)::' <<<"$exported"); then
      echo "internal, but exported: $hidden"
      exit 1
    fi
    ;;
  dependencies)
    needed=$(objdump -p "$library" | awk '$1 == "NEEDED" {print $2}')
    echo "$needed"
    if foreign=$(grep -vE '^(libopenblas\.so\.0|libz\.so\.1|libhwy\.so\.1|libstdc\+\+\.so\.6|libm\.so\.6|libgcc_s\.so\.1|libc\.so\.6|ld-linux.*)$' <<<"$needed"); then
      echo "not expected: $foreign"
      exit 1
    fi
    # And what those bring: nothing beyond OpenBLAS's Fortran run time.
    if foreign=$(ldd "$library" | awk '{print $1}' | sed 's|.*/||' |
        grep -vE '^(linux-vdso|ld-linux|lib(openblas|blas|z|hwy|stdc\+\+|m|gcc_s|c|gfortran|quadmath|pthread|gomp)\.so)'); then
      echo "not expected in ldd: $foreign"
      exit 1
    fi
    ;;
  size)
    stripped=$(mktemp)
    trap 'rm -f "$stripped"' EXIT
    strip -o "$stripped" "$library"
    bytes=$(stat -c %s "$stripped")
    echo "$bytes bytes stripped"
    [ "$bytes" -lt 4000000 ]
    ;;
  soname)
    soname=$(objdump -p "$library" | awk '$1 == "SONAME" {print $2}')
    echo "$soname"
    [[ $soname =~ ^libtanul\.so\.[0-9]+\.[0-9]+$ ]]
    ;;
  no_cuda)
    needed=$(ldd "$library" | awk '{print $1}' | sed 's|.*/||')
    echo "$needed"
    if foreign=$(grep -iE 'cuda|cudart|cublas|cudnn|nvidia|nvrtc' <<<"$needed"); then
      echo "of CUDA: $foreign"
      exit 1
    fi
    ;;
  module)
    exported=$(nm -D --defined-only "$library" | awk '{print $3}')
    [ "$exported" = tanul_backend ] || { echo "exported: $exported"; exit 1; }
    needed=$(objdump -p "$library" | awk '$1 == "NEEDED" {print $2}')
    echo "$needed"
    if foreign=$(grep -vE '^(libstdc\+\+\.so\.6|libm\.so\.6|libgcc_s\.so\.1|libc\.so\.6|ld-linux.*)$' <<<"$needed"); then
      echo "not expected: $foreign"
      exit 1
    fi
    stripped=$(mktemp)
    trap 'rm -f "$stripped"' EXIT
    strip -o "$stripped" "$library"
    bytes=$(stat -c %s "$stripped")
    echo "$bytes bytes stripped, $3 architectures"
    [ "$bytes" -lt $(($3 == 1 ? 10000000 : 60000000)) ]
    ;;
  *)
    echo "no check \"$check\"" >&2
    exit 2
    ;;
esac
