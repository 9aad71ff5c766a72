#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# bench.sh CHECK SOURCE BUILD: tanul-bench and what belongs to it, as users call them.
#   ops        every kind of step, as short as can be: a table, JSON and a chart, exit status 0
#   step       two batch sizes and the same device twice, which agrees with itself
#   gpu_check  the script goes through its motions on the CPU; without a GPU it refuses in one line
#   registers  the table of the kernels' registers, and that spilled ones fail
set -euo pipefail
check=$1 source=$2 build=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bench=$build/bin/tanul-bench

expect() {  # FILE PATTERN
  grep -qE -- "$2" "$1" || { echo "\"$2\" is not in:"; cat "$1"; exit 1; }
}

case $check in
  ops)
    "$bench" ops --device cpu --threads 2 --shapes tiny --seconds 0 --repeats 3 --json "$work/ops.json" \
      --svg "$work/ops.svg" >"$work/out"
    expect "$work/out" 'conv2d_fwd 2x1x28x28 6x1x5x5 -> 2x6x28x28  \(tiny lenet5\)'
    expect "$work/out" '^cpu +im2col_gemm .* the reference$'
    expect "$work/out" '^cpu .* agrees$'
    expect "$work/ops.json" '"commit": "'
    expect "$work/ops.json" '"repeats_ms"'
    expect "$work/ops.json" '"mismatches": \[\]'
    expect "$work/ops.svg" '^</svg>'
    status=0
    TANUL_CUDA_MODULE=$work/none.so "$bench" ops --device cuda --shapes tiny >"$work/out" 2>&1 || status=$?
    [ $status = 1 ] || { echo "--device cuda without one: exit status $status"; exit 1; }
    expect "$work/out" '^tanul-bench: device "cuda": no GPU can be used: '
    TANUL_CUDA_MODULE=$work/none.so "$bench" ops --ops relu_fwd --shapes tiny --seconds 1 --no-roof >"$work/out"
    expect "$work/out" "^the GPU's half is left out: "
    ;;
  step)
    "$bench" step --model "$source/examples/models/lenet5.toml" --batch 8,16 --device cpu,cpu --seconds 0.05 \
      --repeats 2 --no-peak --json --svg "$work/step.svg" >"$work/out"
    [ "$(wc -l <"$work/out")" = 4 ] || { cat "$work/out"; exit 1; }
    [ "$(grep -c '"check":"agrees"' "$work/out")" = 2 ] || { cat "$work/out"; exit 1; }
    expect "$work/out" '"joules_per_image"|"energy":"not reported: '
    expect "$work/step.svg" 'lenet5, batch 16'
    "$bench" step --model "$source/examples/models/lenet5.toml" --batch 8 --device cpu --precision fp32,fp16 \
      --deterministic true,false --seconds 0.05 --repeats 1 --no-peak >"$work/out"
    expect "$work/out" '^lenet5 +cpu +8 +fp32 +[0-9].* -$'
    expect "$work/out" '^lenet5 +cpu +8 +fp32\* .* [0-9.]+$'
    expect "$work/out" '^lenet5 +cpu +8 +fp16\* .* [0-9.]+$'
    status=0
    "$bench" step --model "$source/examples/models/lenet5.toml" --precision fp8 >"$work/out" 2>&1 || status=$?
    [ $status = 2 ] || { echo "--precision fp8: exit status $status"; exit 1; }
    expect "$work/out" '^tanul-bench: --precision: fp8 not in \{fp32,tf32,bf16,fp16\}'
    ;;
  gpu_check)
    "$source/scripts/gpu_check.sh" --build "$build" --rehearse --out "$work/rehearsal" >"$work/out"
    expect "$work/rehearsal/summary.md" '^\| suite \| pass \|'
    expect "$work/rehearsal/summary.md" '^\| LeNetHasTheCurveOfTheCpu \| pass \| .*200 steps'
    expect "$work/rehearsal/summary.md" '^\| memcheck \| skipped \| 0 \| there is no GPU'
    expect "$work/rehearsal/summary.md" '^\| ops \| pass \|'
    expect "$work/rehearsal/summary.md" 'nothing failed'
    expect "$work/rehearsal/ops.json" '"machine"'
    status=0
    TANUL_CUDA_MODULE=$work/none.so "$source/scripts/gpu_check.sh" --build "$build" >"$work/out" 2>&1 || status=$?
    [ $status = 1 ] && [ "$(wc -l <"$work/out")" = 1 ] || { cat "$work/out"; exit 1; }
    expect "$work/out" '^gpu_check: device "cuda": no GPU can be used: '
    ;;
  registers)
    usage=$work/build/CMakeFiles/tanul-cuda.dir/kernels/gemm_cuda.cu.o.usage
    mkdir -p "${usage%/*}"
    cat >"$usage" <<'USAGE'
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_ZN5tanul4cuda4gemmILi2EEEvPKfPf' for 'sm_90'
ptxas info    : Function properties for _ZN5tanul4cuda4gemmILi2EEEvPKfPf
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 128 registers, used 1 barriers, 8192 bytes smem, 400 bytes cmem[0]
ptxas info    : Compiling entry function '_ZN5tanul4cuda4gemmILi4EEEvPKfPf' for 'sm_90'
ptxas info    : Function properties for _ZN5tanul4cuda4gemmILi4EEEvPKfPf
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 168 registers, used 1 barriers, 8192 bytes smem
ptxas info    : Compiling entry function '_ZN5tanul4cuda7sortingEPf' for 'sm_90'
ptxas info    : Function properties for _ZN5tanul4cuda7sortingEPf
    64 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 40 registers, used 0 barriers, 64 bytes cumulative stack size
USAGE
    "$source/bench/registers.py" "$work/build" >"$work/out"
    expect "$work/out" '^\| `gemm` \| 2 \| 168 \| 0 \| 0 \| 8192 \|$'
    expect "$work/out" '^\| `sorting` \| 1 \| 40 \| sm_90 64 \| 0 \| 0 \|$'
    sed -i '4s/.*/    16 bytes stack frame, 12 bytes spill stores, 8 bytes spill loads/' "$usage"
    status=0
    "$source/bench/registers.py" "$work/build" >"$work/out" 2>&1 || status=$?
    [ $status = 1 ] || { echo "spilled registers: exit status $status"; exit 1; }
    expect "$work/out" '^registers: gemm, sm_90: 16 bytes on the stack, 12 of them spilled$'
    status=0
    "$source/bench/registers.py" "$work" >"$work/out" 2>&1 || status=$?
    [ $status = 2 ] || { echo "no build folder: exit status $status"; exit 1; }
    expect "$work/out" 'configure with -D TANUL_KERNEL_USAGE=ON$'
    # The launcher that keeps what nvcc says lets its messages and its exit status through.
    status=0
    "$source/cmake/keep_usage.sh" sh -c 'echo "ptxas info    : Used 3 registers" >&2; echo "a warning" >&2; exit 7' \
      -o "$work/o" 2>"$work/out" || status=$?
    [ $status = 7 ] || { echo "keep_usage.sh: exit status $status"; exit 1; }
    expect "$work/out" '^a warning$'
    [ "$(cat "$work/o.usage")" = "ptxas info    : Used 3 registers" ]
    ;;
  *)
    echo "no check \"$check\"" >&2
    exit 2
    ;;
esac
