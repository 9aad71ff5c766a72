#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Registers, stack and shared memory of every kernel in libtanul-cuda.so, as nvcc says while it compiles.

    bench/registers.py BUILD              a table on standard output; exit status 1 where a hot kernel spills
                                          registers or keeps anything else on the stack, which is slow memory
    bench/registers.py BUILD --out FILE   writes the table as Markdown, bench/results/cuda-registers.md

BUILD is a build folder of `cmake --preset cuda -D TANUL_KERNEL_USAGE=ON`: beside each object of the module lies
what `nvcc --resource-usage` said of its kernels. A kernel here is a function with all its template instances: the
numbers are the largest of them.
"""
import argparse
import collections
import pathlib
import re
import subprocess
import sys

# Kernels whose inner loop lives in registers: matrix products, convolutions, tensor cores.
HOT = re.compile(r"gemm|conv|mma|linear|winograd|depthwise|direct")

# What CUDA 13.0's ptxas leaves on the stack of hot kernels all the same, bytes at most: in products by tiles of 128 x 128 in
# fp32, whose 128 registers a thread let two blocks share a multiprocessor, eight to eleven words that are read once in a step
# of 512 multiply-adds. On no architecture up to sm_90.
KNOWN = {
    ("gemm_kernel", "sm_100"): 40, ("gemm_kernel", "sm_120"): 40,
    ("gemm_kernel, ForwardProblem, fp32", "sm_100"): 32,
    ("gemm_kernel, BackwardWeightsProblem, fp32", "sm_100"): 44,
}


class Failure(Exception):
    pass


def read(build):
    files = sorted(build.glob("CMakeFiles/tanul-cuda.dir/**/*.usage"))
    if not files:
        raise Failure(f"{build} has no *.usage below CMakeFiles/tanul-cuda.dir: configure with -D TANUL_KERNEL_USAGE=ON")
    return "".join(path.read_text() for path in files)


def parse(text):
    """[(architecture, mangled name, {registers, stack, spilled, shared})]"""
    usages, architecture, numbers = [], None, {}
    for line in text.splitlines():
        if found := re.search(r"Compiling entry function '(\S+)' for '(sm_\w+)'", line):
            function, architecture = found.groups()
        elif found := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            numbers = {"stack": int(found.group(1)), "spilled": max(int(found.group(2)), int(found.group(3)))}
        elif architecture and (found := re.search(r"Used (\d+) registers", line)):
            shared = re.search(r"(\d+) bytes smem", line)
            numbers |= {"registers": int(found.group(1)), "shared": int(shared.group(1)) if shared else 0}
            usages.append((architecture, function, numbers))
            architecture, numbers = None, {}
    if not usages:
        raise Failure("no kernel is named there: what nvcc says of them looks different from what this program knows")
    return usages


def version(build):
    """"13.0.88 ", where CMake wrote it down"""
    for path in build.glob("CMakeFiles/*/CMakeCUDACompiler.cmake"):
        if found := re.search(r'CMAKE_CUDA_COMPILER_VERSION "([\d.]+)"', path.read_text()):
            return found.group(1) + " "
    return ""


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
    kernel = plain.split("::")[-1].split(" ")[-1]
    # One kernel multiplies everything: what, and in which format, stands in its template arguments (kernels/cuda/gemm.h).
    if problem := re.search(r"(\w+Problem)\b", signature):
        tile = re.search(r"TensorTile<(?:\w+::)*(\w+)", signature)
        precision = tile.group(1).lower() if tile else "fp32"
        kernel += f", {problem.group(1)}" + (f", {precision}" if kernel == "gemm_kernel" else "")
    return kernel


def collect(usages):
    """{kernel: {architecture: {registers, stack, spilled, shared, instances}}}"""
    names = demangled(sorted({name for _, name, _ in usages}))
    kernels = collections.defaultdict(dict)
    for architecture, name, numbers in usages:
        most = kernels[kernel_of(names[name])].setdefault(architecture, collections.Counter())
        for key, value in numbers.items():
            most[key] = max(most[key], value)
        most["instances"] += 1
    return kernels


def table(kernels):
    architectures = sorted({a for uses in kernels.values() for a in uses}, key=lambda a: int(re.sub(r"\D", "", a)))
    lines = ["| kernel | instances | " + " | ".join(f"registers {a}" for a in architectures) +
             " | stack, bytes | spilled, bytes | static shared memory, bytes |",
             "| --- |" + " ---: |" * (len(architectures) + 4)]
    for kernel in sorted(kernels):
        uses = kernels[kernel]
        registers = [str(uses[a]["registers"]) if a in uses else "-" for a in architectures]
        stack, spilled = (
            ", ".join(f"{a} {uses[a][key]}" for a in architectures if a in uses and uses[a][key]) or "0"
            for key in ("stack", "spilled"))
        shared = max(use["shared"] for use in uses.values())
        instances = max(use["instances"] for use in uses.values())
        lines.append(f"| `{kernel}` | {instances} | {' | '.join(registers)} | {stack} | {spilled} | {shared} |")
    return lines


def slow(kernels):
    """Hot kernels with more on the stack than is known of them."""
    return [f"{kernel}, {architecture}: {use['stack']} bytes on the stack, {use['spilled']} of them spilled"
            for kernel, uses in sorted(kernels.items()) if HOT.search(kernel)
            for architecture, use in sorted(uses.items())
            if max(use["stack"], use["spilled"]) > KNOWN.get((kernel, architecture), 0)]


HEAD = """<!-- SPDX-License-Identifier: Apache-2.0 -->
# What the kernels of the CUDA backend need

Written by `bench/registers.py BUILD --out bench/results/cuda-registers.md` from what nvcc {version}says while it compiles
(`-D TANUL_KERNEL_USAGE=ON`). Of each kernel the largest of its template instances. The stack is in the GPU's memory: registers
are spilled to it, and arrays lie there whose places are not known when compiling. The kernels of matrix products and
convolutions must have none there, but for what the program names as known: it checks that, and CI with it. Shared memory that
is asked for at the launch is not counted.

{count}

"""


def main():
    parser = argparse.ArgumentParser(description="Registers and memory of the CUDA kernels.")
    parser.add_argument("build", type=pathlib.Path, help="build folder, configured with TANUL_KERNEL_USAGE=ON")
    parser.add_argument("--out", type=pathlib.Path, help="write the table to this Markdown file")
    args = parser.parse_args()
    kernels = collect(parse(read(args.build)))
    lines = table(kernels)
    hot = [kernel for kernel in kernels if HOT.search(kernel)]
    found = slow(kernels)
    count = f"{len(kernels)} kernels, {len(hot)} of them hot, {len(found)} of those with more on the stack than is known"
    if args.out:
        args.out.write_text(HEAD.format(version=version(args.build), count=count + ".") + "\n".join(lines) + "\n")
    else:
        print("\n".join(lines))
    print(count)
    for one in found:
        print(f"registers: {one}", file=sys.stderr)
    if not hot:
        raise Failure("no kernel is called gemm, conv or the like: HOT in this file has to be looked at")
    return 1 if found else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as e:
        print(f"registers: {e}", file=sys.stderr)
        sys.exit(2)
