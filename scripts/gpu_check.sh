#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Proof on a GPU, meant for less than ten minutes, of a tree that `cmake --preset cuda && cmake --build --preset cuda` built:
#   suite       every implementation against the reference in double, on the GPU
#   training    curves of 200 steps and 1,000 steps without an allocation, replay against walk, a plan that does not fit
#   sanitizer   compute-sanitizer's four tools on every kernel at small sizes, where it is installed
#   benchmark   tanul-bench roof, ops and step, the GPU beside the CPU, in each precision, each result checked, and
#               what the promise of the same bits costs
# Everything goes into one folder: summary.md with a line a check, and what each of them printed. Exit status 0 where
# nothing failed, 1 where something did or where no GPU can be used.
#
#   scripts/gpu_check.sh [--build FOLDER] [--out FOLDER] [--device cuda:N] [--rehearse]
#
# --rehearse goes through the same motions on the CPU, with what is small: a check of this script.
set -euo pipefail
cd "$(dirname "$0")/.."

build=build/cuda out="" device=cuda rehearses=no
while [ $# -gt 0 ]; do
  case $1 in
    --build) build=${2:?--build wants a folder} && shift 2 ;;
    --out) out=${2:?--out wants a folder} && shift 2 ;;
    --device) device=${2:?--device wants cuda or cuda:N} && shift 2 ;;
    --rehearse) rehearses=yes && shift ;;
    *) echo "gpu_check: unknown option $1" >&2 && exit 2 ;;
  esac
done
tests=$build/bin/tanul_tests bench=$build/bin/tanul-bench tool=$build/bin/tanul
for program in "$tests" "$bench" "$tool"; do
  if [ ! -x "$program" ]; then
    echo "gpu_check: $program is not there; cmake --preset cuda && cmake --build --preset cuda builds it" >&2
    exit 1
  fi
done
if [ $rehearses = yes ]; then
  device=cpu
elif ! why=$("$bench" step --model examples/models/lenet5.toml --device "$device" --seconds 0.01 --repeats 1 2>&1); then
  echo "gpu_check: ${why##*tanul-bench: }" >&2
  exit 1
fi
export TANUL_TEST_DEVICE=$device

started=$SECONDS
stamp=$(date -u +%Y%m%d-%H%M%S)
out=${out:-runs/gpu-check-$stamp}
mkdir -p "$out"
commit=$(git rev-parse HEAD 2>/dev/null || echo unknown)
git diff --quiet HEAD 2>/dev/null || commit+=" with changes"
{
  echo "# gpu_check, $(date -u +%Y-%m-%dT%H:%M:%SZ)"
  echo
  echo "commit $commit, device $device$([ $rehearses = no ] || echo ' (rehearsal: nothing here is said of a GPU)')"
  echo
  echo '```text'
  "$tool" info
  if [ $rehearses = no ] && command -v nvidia-smi >/dev/null; then
    nvidia-smi --query-gpu=index,name,driver_version,vbios_version,power.limit,clocks.max.sm --format=csv
  fi
  echo '```'
  echo
  echo "| check | result | seconds | what |"
  echo "| --- | --- | ---: | --- |"
} >"$out/summary.md"

failed=0
row() { printf '| %s | %s | %s | %s |\n' "$1" "$2" "$3" "${4//|//}" | tee -a "$out/summary.md"; }

# check NAME LAST COMMAND…: runs it with its output in NAME.txt; LAST is a pattern of the line that says most.
check() {
  local name=$1 last=$2 before=$SECONDS result=pass status=0 text
  shift 2
  printf '$ %s\n' "$*" >"$out/$name.txt"
  timeout --kill-after=10 300 "$@" >>"$out/$name.txt" 2>&1 || status=$?
  text=$(grep -E "$last" "$out/$name.txt" | tail -n 1 || true)
  if [ $status -ne 0 ]; then
    result=FAIL failed=1
    text="exit status $status; ${text:-$(tail -n 1 "$out/$name.txt")}; see $name.txt"
  elif grep -q '\[  PASSED  \] 0 tests' "$out/$name.txt"; then  # a test that says why it is left out
    result=skipped text=$(grep -A 1 'Skipped$' "$out/$name.txt" | sed -n 2p)
  fi
  row "$name" "$result" $((SECONDS - before)) "$(tr -s ' ' <<<"${text:-$(tail -n 1 "$out/$name.txt")}")"
}
skip() { row "$1" skipped 0 "$2"; }

# --- the suite, and training ------------------------------------------------------------------------
# The reference maths is the CPU's, and most of the work: several processes share the suite.
suite='Gpu/Implementations.*' shards=$(($(nproc) < 8 ? $(nproc) : 8))
if [ $rehearses = yes ]; then suite='Gpu/Implementations.*/relu_*' shards=1; fi
check suite 'in all|FAILED' bash -o pipefail -c '
  seq 0 $(($0 - 1)) | xargs -P $0 -I{} env GTEST_TOTAL_SHARDS=$0 GTEST_SHARD_INDEX={} "$@" |
    awk "{ print } /^\[  PASSED/ { tests += \$4 } /^\[  FAILED.* where/ { failed = failed \" \" \$4 }
      END { print tests \" tests passed in all\" (failed == \"\" ? \"\" : \", FAILED\" failed) }"' \
  $shards "$tests" --gtest_filter="$suite"
for one in LeNetHasTheCurveOfTheCpu ResNet20HasTheCurveOfTheCpu ReplayHasTheBitsOfTheWalk \
    LeNetAllocatesNothingIn1000Steps ResNet20AllocatesNothingIn1000Steps \
    APlanThatDoesNotFitIsRefusedWithTheLargestBatchThatDoes; do
  if [ $rehearses = yes ] && [ "${one#ResNet20}" != "$one" ]; then
    skip "$one" "takes minutes on a CPU"
    continue
  fi
  check "$one" 'steps: |needs [0-9]|FAILED' "$tests" --gtest_filter="GpuCheck.$one"
done

# --- compute-sanitizer --------------------------------------------------------------------------------
sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null || true)
for one in memcheck racecheck initcheck synccheck; do
  if [ $rehearses = yes ]; then
    skip "$one" "there is no GPU in a rehearsal"
  elif [ -z "$sanitizer" ]; then
    skip "$one" "compute-sanitizer is not installed"
  else
    check "$one" 'ERROR SUMMARY|RACECHECK SUMMARY' "$sanitizer" --tool "$one" --error-exitcode 1 \
      "$bench" ops --shapes tiny --device "$device" --seconds 0 --repeats 1 --no-roof
  fi
done

# --- the benchmark --------------------------------------------------------------------------------------
shapes=() seconds=90 models="lenet5 cifar_resnet20 alexnet resnet18 vgg16" batches=64,512 devices=cpu,$device
if [ $rehearses = yes ]; then
  shapes=(--shapes tiny) seconds=3 models=lenet5 batches=8 devices=cpu
fi
check roof 'GB/s' "$bench" roof --device "$device"
check ops 'speed-up: |no time was left' "$bench" ops --device "$device" --seconds $seconds "${shapes[@]}" \
  --json "$out/ops.json" --svg "$out/ops.svg"
# What a GPU is bought for, for which the run above has little time.
if [ $rehearses = no ]; then
  check convolutions 'speed-up: |no time was left' "$bench" ops --device "$device" --seconds 90 --ops 'conv2d_*' \
    --shapes resnet18 --shapes vgg16 --json "$out/convolutions.json" --svg "$out/convolutions.svg"
fi
for model in $models; do
  # The large networks take the CPU seconds a step: there the GPU stands alone.
  case $model in
    lenet5 | cifar_resnet20) on=$devices sizes=$batches formats=fp32 ;;
    alexnet) on=$device sizes=512 formats=fp32,tf32,bf16,fp16 ;;
    resnet18) on=$device sizes=256 formats=fp32,tf32,bf16,fp16 ;;
    *) on=$device sizes=128 formats=fp32,bf16 ;;
  esac
  check "step-$model" 'cuda|cpu' "$bench" step --model "examples/models/$model.toml" --batch "$sizes" --device "$on" \
    --precision $formats --seconds 0.5 --repeats 5 --no-peak --svg "$out/step-$model.svg"
done
# What the same bits in every run cost.
model=resnet18 size=256 formats=fp32,bf16
if [ $rehearses = yes ]; then model=lenet5 size=8 formats=fp32; fi
check determinism 'cuda|cpu' "$bench" step --model examples/models/$model.toml --batch $size --device "$device" \
  --precision $formats --deterministic true,false --seconds 0.5 --repeats 5 --no-peak

printf '\n%d seconds; %s\n' $((SECONDS - started)) "$([ $failed = 0 ] && echo 'nothing failed' || echo 'SOMETHING FAILED')" |
  tee -a "$out/summary.md"
echo "in $out"
exit $failed
