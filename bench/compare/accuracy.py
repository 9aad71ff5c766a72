# SPDX-License-Identifier: Apache-2.0
"""How long tanul and PyTorch take to train Caffe's LeNet on MNIST until it has 99 % on the test part.

    python3 bench/compare/accuracy.py FOLDER --python /path/to/python/with/torch

FOLDER holds the four IDX files, plain or gzipped. Both: 60,000 images normalised with their mean and deviation, Glorot's
uniform weights, batch 64, SGD with rate 0.01, momentum 0.9, weight decay 0.0005, a new order every epoch, the same number of
threads and CPUs. For 1, 2, … epochs each program is started anew, trains, tests once and ends; what counts is the first
number of epochs with 99 % for that seed, and the wall time of that process from its start to its end.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from compare import HERE, KEEP_MEMORY, ROOT

SETTINGS = ("train.schedule=constant", "data.validation=0")


def run_tanul(args, epochs, seed):
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "run"
        command = [args.tanul, "train", ROOT / "examples/models/caffe_lenet.toml", "--data", args.data, "--out", out,
                   "--epochs", epochs, "--seed", seed, "--threads", args.threads, "--device", "cpu", "--quiet"]
        for setting in SETTINGS:
            command += ["--set", setting]
        start = time.perf_counter()
        subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
        return json.loads((out / "summary.json").read_text())["test_accuracy"], seconds


def run_torch(args, epochs, seed, mode):
    command = [args.python, HERE / "torch_accuracy.py", args.data, "--epochs", epochs, "--seed", seed,
               "--threads", args.threads, "--mode", mode]
    start = time.perf_counter()
    done = subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True,
                          env={**os.environ, **KEEP_MEMORY})
    seconds = time.perf_counter() - start
    return json.loads(done.stdout.splitlines()[-1])["accuracy"], seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", metavar="FOLDER")
    parser.add_argument("--python", required=True, help="a Python that has PyTorch")
    parser.add_argument("--tanul", default=ROOT / "build/release/bin/tanul")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--goal", type=float, default=0.99)
    parser.add_argument("--most-epochs", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:args.threads])

    programs = {
        "tanul": lambda epochs, seed: run_tanul(args, epochs, seed),
        "torch eager": lambda epochs, seed: run_torch(args, epochs, seed, "eager"),
        "torch channels_last": lambda epochs, seed: run_torch(args, epochs, seed, "channels_last"),
    }
    reached = {name: [] for name in programs}
    for seed in range(1, args.seeds + 1):
        waiting = dict(programs)
        for epochs in range(1, args.most_epochs + 1):
            for name, run in list(waiting.items()):
                accuracy, seconds = run(epochs, seed)
                print(json.dumps({"program": name, "seed": seed, "epochs": epochs, "accuracy": accuracy,
                                  "seconds": round(seconds, 2)}), flush=True)
                if accuracy >= args.goal:
                    reached[name].append((epochs, seconds))
                    del waiting[name]
    for name, runs in reached.items():
        if len(runs) < args.seeds:
            print(f"{name}: {len(runs)} of {args.seeds} seeds reached {args.goal:.1%}", file=sys.stderr)
            continue
        print(f"{name}: {statistics.median(seconds for _, seconds in runs):.1f} s "
              f"({', '.join(str(epochs) for epochs, _ in runs)} epochs)", file=sys.stderr)


main()
