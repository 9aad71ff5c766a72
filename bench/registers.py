#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Registers, local and shared memory of every kernel in libtanul-cuda.so, as the compiler left them.

    bench/registers.py MODULE.so              a table on standard output; exit status 1 where a hot kernel has a
                                              stack frame, which is where spilled registers lie
    bench/registers.py MODULE.so --out FILE   writes the table as Markdown, bench/results/cuda-registers.md

A kernel here is a function with all its template instances: the numbers are the largest of them. Read with
cuobjdump of the CUDA toolkit: CUOBJDUMP, else PATH, else beside nvcc, else /usr/local/cuda/bin; exit status 3
where there is none.
"""
import argparse
import collections
import os
import pathlib
import re
import shutil
import subprocess
import sys

# Kernels whose inner loop lives in registers: matrix products, convolutions, tensor cores.
HOT = re.compile(r"gemm|conv|mma|linear|winograd|depthwise|direct")
MISSING = 3


class Failure(Exception):
    def __init__(self, text, status=2):
        super().__init__(text)
        self.status = status


def find_cuobjdump():
    named = os.environ.get("CUOBJDUMP")
    if named:
        return named
    nvcc = shutil.which("nvcc")
    folders = [os.environ.get("PATH", ""), str(pathlib.Path(nvcc).resolve().parent) if nvcc else "", "/usr/local/cuda/bin"]
    found = shutil.which("cuobjdump", path=os.pathsep.join(folder for folder in folders if folder))
    if found is None:
        raise Failure("cuobjdump was not found; it comes with the CUDA toolkit (cuda-cuobjdump)", MISSING)
    return found


def dump(module):
    command = [find_cuobjdump(), "--dump-resource-usage", str(module)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as e:
        raise Failure(f"{command[0]}: {e.strerror}") from None
    if done.returncode != 0:
        raise Failure(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def parse(text):
    """[(architecture, mangled name, {REG, STACK, SHARED, LOCAL})]"""
    usages, architecture, function = [], None, None
    for line in text.splitlines():
        if found := re.match(r"arch = (sm_\w+)", line.strip()):
            architecture = found.group(1)
        elif found := re.match(r"Function (\S+):", line.strip()):
            function = found.group(1)
        elif function and "REG:" in line:
            numbers = {name: int(value) for name, value in re.findall(r"(\w+):(\d+)", line)}
            usages.append((architecture, function, numbers))
            function = None
    if not usages:
        raise Failure("cuobjdump names no kernel: is this libtanul-cuda.so?")
    return usages


def demangled(names):
    done = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True)
    return dict(zip(names, done.stdout.splitlines()))


def kernel_of(signature):
    """"conv2d_fwd_kernel" of `void tanul::cuda::(anonymous namespace)::conv2d_fwd_kernel<4>(float const*)`"""
    name = signature.replace("(anonymous namespace)", "anonymous")
    depth, plain = 0, ""
    for c in name:
        depth += c == "<"
        if depth == 0:
            if c == "(":
                break
            plain += c
        depth -= c == ">"
    return plain.split("::")[-1].split(" ")[-1]


def collect(usages):
    """{kernel: {architecture: {registers, local, shared, instances}}}"""
    names = demangled(sorted({name for _, name, _ in usages}))
    kernels = collections.defaultdict(dict)
    for architecture, name, numbers in usages:
        most = kernels[kernel_of(names[name])].setdefault(
            architecture, {"registers": 0, "local": 0, "shared": 0, "instances": 0})
        most["registers"] = max(most["registers"], numbers.get("REG", 0))
        most["local"] = max(most["local"], numbers.get("STACK", 0), numbers.get("LOCAL", 0))
        most["shared"] = max(most["shared"], numbers.get("SHARED", 0))
        most["instances"] += 1
    return kernels


def table(kernels):
    architectures = sorted({a for uses in kernels.values() for a in uses}, key=lambda a: int(re.sub(r"\D", "", a)))
    lines = ["| kernel | instances | " + " | ".join(f"registers {a}" for a in architectures) +
             " | local memory, bytes | static shared memory, bytes |",
             "| --- |" + " ---: |" * (len(architectures) + 3)]
    for kernel in sorted(kernels):
        uses = kernels[kernel]
        registers = [str(uses[a]["registers"]) if a in uses else "-" for a in architectures]
        local = ", ".join(f"{a} {uses[a]['local']}" for a in architectures if a in uses and uses[a]["local"]) or "0"
        shared = max(use["shared"] for use in uses.values())
        instances = max(use["instances"] for use in uses.values())
        lines.append(f"| `{kernel}` | {instances} | {' | '.join(registers)} | {local} | {shared} |")
    return lines


def spilling(kernels):
    return [f"{kernel}, {architecture}: {use['local']} bytes of local memory"
            for kernel, uses in sorted(kernels.items()) if HOT.search(kernel)
            for architecture, use in sorted(uses.items()) if use["local"] > 0]


HEAD = """<!-- SPDX-License-Identifier: Apache-2.0 -->
# What the kernels of the CUDA backend need

Written by `bench/registers.py MODULE --out bench/results/cuda-registers.md`, from what nvcc left in
`libtanul-cuda.so`. Of each kernel the largest of its template instances. Local memory is where registers are
spilled to, and where arrays lie whose places are not known when compiling; the kernels of matrix products and
convolutions must have none, which the program checks, and CI with it.
"""


def main():
    parser = argparse.ArgumentParser(description="Registers and memory of the CUDA kernels.")
    parser.add_argument("module", type=pathlib.Path, help="libtanul-cuda.so")
    parser.add_argument("--out", type=pathlib.Path, help="write the table to this Markdown file")
    parser.add_argument("--dump", type=pathlib.Path, help="read this output of cuobjdump --dump-resource-usage instead")
    args = parser.parse_args()
    if not args.dump and not args.module.exists():
        raise Failure(f"{args.module} is not there")
    kernels = collect(parse(args.dump.read_text() if args.dump else dump(args.module)))
    lines = table(kernels)
    if args.out:
        args.out.write_text(HEAD + "\n" + "\n".join(lines) + "\n")
    else:
        print("\n".join(lines))
    hot = [kernel for kernel in kernels if HOT.search(kernel)]
    spills = spilling(kernels)
    print(f"{len(kernels)} kernels, {len(hot)} of them hot, {len(spills)} of those with local memory")
    for spill in spills:
        print(f"registers: {spill}", file=sys.stderr)
    if not hot:
        raise Failure("no kernel is called gemm, conv or the like: HOT in this file has to be looked at")
    return 1 if spills else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as e:
        print(f"registers: {e}", file=sys.stderr)
        sys.exit(e.status)
