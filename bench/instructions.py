#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Counts the instructions of one training step and compares them with the numbers that are committed.

    bench/instructions.py            says how far each network is from bench/results/instructions.json; exit status 1
                                     where one needs more, or far fewer without that having been recorded;
                                     skipped on processors without AVX2
    bench/instructions.py --record   writes that file

Instructions, not seconds: the same on a busy machine. Callgrind counts what runs inside run_plan(), which is one
step without planning, initialisation and data. It runs one thread, and shows programs an AVX2 processor with one
set of caches whatever machine this is; OpenBLAS is told to take its Haswell kernels.
"""
import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
RECORD = ROOT / "bench/results/instructions.json"
MODELS = {"A caffe_lenet": "examples/models/caffe_lenet.toml", "conv3x3": "bench/models/conv3x3.toml"}
BATCH = {"A caffe_lenet": 64, "conv3x3": 8}
ISA = "AVX2"
MORE = 0.03  # of the recorded number: what another build of the same compiler may differ by
FEWER = 0.10  # beyond it the recorded number guards nothing any more
FUNCTIONS_SHOWN = 12


class Failure(Exception):
    pass


class Skipped(Exception):
    pass


def count(bench, name, folder):
    """{instructions, functions}: of one step, and the lines of the functions that need most."""
    profile = os.path.join(folder, "callgrind.out")
    command = ["valgrind", "--tool=callgrind", "--collect-atstart=no", "--toggle-collect=tanul::run_plan(*",
               f"--callgrind-out-file={profile}", bench, "losses", "--model", ROOT / MODELS[name],
               "--batch", BATCH[name], "--threads", 1, "--device", "cpu", "--steps", 1, "--no-evaluation", "--json"]
    env = {**os.environ, "OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run([str(word) for word in command], env=env, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Failure("valgrind is not installed; scripts/dependencies.sh check installs it") from None
    collected = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or not collected:
        raise Failure(f"{name}: valgrind ended with {done.returncode}: {done.stderr.strip()}")
    instructions = int(collected.group(1))
    if instructions == 0:
        raise Failure(f"{name}: nothing was counted: libtanul.so shows no symbol tanul::run_plan (stripped?)")
    isa = json.loads(done.stdout)["isa"]
    if isa != ISA:
        raise Skipped(f"the kernels ran on {isa or 'no vectors'}, the numbers are for {ISA}, which this processor "
                      "does not have")
    annotated = subprocess.run(["callgrind_annotate", "--auto=no", profile], capture_output=True, text=True, check=False)
    functions = [re.sub(r" \[[^]]*\]$", "", line).replace("???:", "")
                 for line in annotated.stdout.splitlines() if re.match(r"\s*[\d,]+ \(", line)]
    return instructions, functions[:FUNCTIONS_SHOWN + 1]


def main():
    parser = argparse.ArgumentParser(description="Counts the instructions of one training step.")
    parser.add_argument("--record", action="store_true", help="write the numbers instead of comparing")
    parser.add_argument("--bench", default=ROOT / "build/release/bin/tanul-bench", help="the tanul-bench to count")
    args = parser.parse_args()
    if not os.path.exists(args.bench):
        raise Failure(f"{args.bench} is not there; scripts/build.sh builds it")
    recorded = {} if args.record else json.loads(RECORD.read_text())["instructions_a_step"]
    counted, verdicts = {}, []
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS:
            counted[name], functions = count(args.bench, name, folder)
            text = f"{name}, batch {BATCH[name]}: {counted[name]:,} instructions a step"
            if args.record:
                print(text)
                continue
            change = counted[name] / recorded[name] - 1
            print(f"{text}, {recorded[name]:,} recorded: {change:+.2%}")
            if change > MORE:
                verdicts.append(f"{name} needs {change:.1%} more instructions than recorded")
                print("\n".join(functions))
            elif change < -FEWER:
                verdicts.append(f"{name} needs {-change:.1%} fewer instructions than recorded: well done")
    if args.record:
        RECORD.write_text(json.dumps({"isa": ISA, "instructions_a_step": counted}, indent=2) + "\n")
    if verdicts:
        raise Failure("; ".join(verdicts) + "; where that is meant: bench/instructions.py --record, and commit it")


if __name__ == "__main__":
    try:
        main()
    except Skipped as reason:
        print(f"instructions: skipped: {reason}")
    except Failure as failure:
        sys.exit(f"instructions: {failure}")
