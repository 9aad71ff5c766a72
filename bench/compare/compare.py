# SPDX-License-Identifier: Apache-2.0
"""Times the training steps of tanul and of PyTorch in turn and writes one table; run.sh beside this file calls it.

Standard library only: PyTorch is in another process, the one that `--python` names.
"""
import argparse
import contextlib
import json
import os
import pathlib
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MODELS = {  # and the batch that is timed
    "A": ("caffe_lenet", 64),
    "B": ("cifar10_quick", 128),
    "C": ("vgg_bn_small", 64),
    "D": ("resnet18", 8),
    "E": ("alexnet", 32),
    "F": ("mlp", 128),
}
WITHOUT_PLANES = {"F"}  # channels-last means nothing there
# glibc told to keep freed memory instead of giving it back to the kernel in every step: the fair best of PyTorch.
KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 32),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 32),
    "MALLOC_TOP_PAD_": str(1 << 28),
}
LOSS_STEPS = 5
# Of the CPUs, taken by other processes during a run: beyond it the table says so.
QUIET_SHARE = 0.05
# Of a loss, relative; single precision differs by about 1e-6 a sum, and five steps carry that on.
LOSS_TOLERANCE = 1e-3


class Failure(Exception):
    pass


def say(text):
    print(text, file=sys.stderr, flush=True)


def busy_seconds(cpus):
    """CPU time that these CPUs have spent on anything, or were denied by the host of a virtual machine."""
    wanted = {f"cpu{cpu}" for cpu in cpus}
    with open("/proc/stat") as stat:
        rows = [line.split() for line in stat if line.split()[0] in wanted]
    return sum(int(row[i]) for row in rows for i in (1, 2, 3, 6, 7, 8)) / os.sysconf("SC_CLK_TCK")


def seconds_of_children():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class Programs:
    """Runs one side's program on the CPUs of the comparison and returns the JSON object that it prints."""

    def __init__(self, args, cpus):
        self.args, self.cpus = args, cpus

    def run(self, command, extra_env=None):
        command = [str(word) for word in command]
        wall, busy, own = time.monotonic(), busy_seconds(self.cpus), seconds_of_children()
        env = {**os.environ, "OMP_NUM_THREADS": str(self.args.threads), "MKL_NUM_THREADS": str(self.args.threads),
               **(extra_env or {})}
        done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                              preexec_fn=lambda: os.sched_setaffinity(0, self.cpus))
        if done.returncode != 0:
            raise Failure(f"{' '.join(command)}\nended with {done.returncode}: {done.stderr.strip()}")
        others = busy_seconds(self.cpus) - busy - (seconds_of_children() - own)
        share = others / len(self.cpus) / (time.monotonic() - wall)
        return {**json.loads(done.stdout.strip().splitlines()[-1]), "share_of_others": round(max(0.0, share), 3)}

    def tanul(self, verb, workload, *options):
        return self.run([self.args.tanul, verb, "--model", ROOT / f"examples/models/{MODELS[workload][0]}.toml",
                         "--batch", self.batch(workload), "--threads", self.args.threads, "--device", "cpu",
                         "--json", *options])

    def torch(self, verb, workload, *options):
        return self.run([self.args.python, HERE / "torch_step.py", verb, workload, "--batch", self.batch(workload),
                         "--threads", self.args.threads, *options], KEEP_MEMORY)

    def batch(self, workload):
        return str(self.args.batch.get(workload, MODELS[workload][1]))

    def timed(self, workload, side):
        how = ["--seconds", str(self.args.seconds), "--repeats", str(self.args.repeats)]
        if side == "tanul":
            return self.tanul("step", workload, *how, "--no-peak")
        return self.torch("step", workload, *how, "--mode", side)



def relative(a, b):
    return abs(a - b) / max(abs(a), abs(b), 1e-30)


def check_same_training(programs, workload):
    """Both begin at the same weights on the same batch: their losses must agree, and fall."""
    with tempfile.TemporaryDirectory(dir=programs.args.out) as folder:
        start = os.path.join(folder, "start.safetensors")
        ours = programs.tanul("losses", workload, "--start", start, "--steps", str(LOSS_STEPS))
        theirs = programs.torch("losses", workload, "--start", start, "--steps", str(LOSS_STEPS))
    where = f"workload {workload}"
    if ours["parameters"] != theirs["parameters"]:
        raise Failure(f"{where}: tanul trains {ours['parameters']} parameters, PyTorch {theirs['parameters']}")
    # Dropout draws other elements in each: there only what does not drop can be held against each other.
    pairs = [(ours["evaluated_before"], theirs["evaluated_before"])]
    if not theirs["has_dropout"]:
        pairs += zip(ours["losses"], theirs["losses"])
    difference = max(relative(a, b) for a, b in pairs)
    if difference > LOSS_TOLERANCE:
        raise Failure(f"{where}: from the same weights the losses differ by {difference:.1e} "
                      f"(tanul, PyTorch: {pairs}); the two do not train the same network")
    for name, result in (("tanul", ours), ("PyTorch", theirs)):
        first, last = result["losses"][0], result["losses"][-1]
        if result.get("has_dropout", theirs["has_dropout"]):
            first, last = result["evaluated_before"], result["evaluated_after"]
        if not last < first:
            raise Failure(f"{where}: the loss of {name} does not fall: {first} before, {last} after "
                          f"{LOSS_STEPS} steps")
    say(f"{where}: {ours['parameters']} parameters in both, losses of the same start within {difference:.1e}")
    return {"check": workload, "parameters": ours["parameters"], "loss_difference": difference,
            "tanul": ours, "torch": theirs}


@contextlib.contextmanager
def busy_process(cpu):
    """A single-threaded process that never rests, on one of the CPUs of the comparison."""
    process = subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"], stdin=subprocess.DEVNULL,
                               preexec_fn=lambda: os.sched_setaffinity(0, {cpu}))
    try:
        yield
    finally:
        process.kill()
        process.wait()


def folder_bytes(paths):
    """Bytes on disk of files and folders; what is linked twice counts once."""
    seen, total = set(), 0
    for path in paths:
        tree = [path] if os.path.isfile(path) else [
            os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]
        for file in tree:
            info = os.stat(file, follow_symlinks=False)
            if (info.st_dev, info.st_ino) not in seen:
                seen.add((info.st_dev, info.st_ino))
                total += info.st_blocks * 512
    return total


# What every C++ program has already.
SYSTEM_LIBRARIES = ("linux-vdso", "ld-linux", "libc.", "libm.", "libstdc++.", "libgcc_s.")

# Asks a Python for the packages that PyTorch needs, and where their files are. The CUDA libraries that pip
# installs with it are extras of a package in between.
TORCH_FILES = """
import importlib.metadata as m, json, re
todo, files = ["torch"], {}
while todo:
    name = todo.pop()
    key = re.sub("[-_.]+", "-", name).lower()
    if key in files: continue
    try: d = m.distribution(name)
    except m.PackageNotFoundError: continue
    files[key] = [str(d.locate_file(f)) for f in d.files or [] if "__pycache__" not in str(f)]
    for r in d.requires or []:
        if "extra ==" not in r or re.search(r"cuda-toolkit|^nvidia", r): todo.append(re.match(r"[\\w.-]+", r).group())
print(json.dumps(files))
"""


def sizes_on_disk(args):
    library = args.tanul.resolve().parent.parent / "lib" / "libtanul.so"
    linked = [line.split("=>")[1].split()[0]
              for line in subprocess.run(["ldd", library], capture_output=True, text=True, check=True)
              .stdout.splitlines()
              if "=> /" in line and not line.strip().startswith(SYSTEM_LIBRARIES)]
    packages = json.loads(subprocess.run([args.python, "-c", TORCH_FILES], capture_output=True, text=True,
                                         check=True).stdout)
    files = {name: [f for f in paths if os.path.isfile(f)] for name, paths in packages.items()}
    return {
        "tanul_library_bytes": folder_bytes([os.path.realpath(library)]),
        "tanul_bytes": folder_bytes([os.path.realpath(library), *map(os.path.realpath, linked)]),
        "torch_package_bytes": folder_bytes(files["torch"]),
        "torch_bytes": folder_bytes([f for paths in files.values() for f in paths]),
        "torch_packages": sorted(files),
    }


def sides_of(workload):
    return ["tanul", "eager"] + ([] if workload in WITHOUT_PLANES else ["channels_last"])


def measure(args, programs, log):
    """All runs, in turn, each also a line of the log."""
    runs = []
    busy_cpu = min(programs.cpus)
    for round_number in range(args.rounds):
        for workload in args.workloads:
            sides = sides_of(workload)
            for side in sides if round_number % 2 == 0 else reversed(sides):
                for is_busy in (False, True) if args.busy else (False,):
                    with busy_process(busy_cpu) if is_busy else contextlib.nullcontext():
                        result = programs.timed(workload, side)
                    run = {**result, "round": round_number, "workload": workload, "side": side, "busy": is_busy}
                    runs.append(run)
                    log(run)
                    say(f"round {round_number + 1}  {workload}  {side:<14}{'busy ' if is_busy else ''}"
                        f"{run['images_per_s']:>10.1f} images/s")
    return runs


class Runs:
    def __init__(self, runs):
        self.runs = runs

    def of(self, workload, sides, is_busy=False, round_number=None):
        return [r for r in self.runs if r["workload"] == workload and r["side"] in sides and r["busy"] == is_busy
                and round_number in (None, r["round"])]

    def median(self, workload, side, key, is_busy=False):
        return statistics.median(r[key] for r in self.of(workload, [side], is_busy))

    def best_peer(self, workload, is_busy=False):
        return max(sides_of(workload)[1:], key=lambda s: self.median(workload, s, "images_per_s", is_busy))

    def ratios(self, workload, rounds):
        """tanul's rate over that of PyTorch's better mode, round by round."""
        result = []
        for number in range(rounds):
            ours = self.of(workload, ["tanul"], round_number=number)[0]["images_per_s"]
            peers = self.of(workload, sides_of(workload)[1:], round_number=number)
            result.append(ours / max(r["images_per_s"] for r in peers))
        return result


def mib(count):
    return f"{count / (1 << 20):,.0f}" if count >= 10 << 20 else f"{count / (1 << 20):.1f}"


def rate(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def table_of(args, runs, sizes, about):
    r = Runs(runs)
    any_tanul, any_torch = (next(x for x in runs if (x["side"] == "tanul") == flag) for flag in (True, False))
    lines = [
        f"{any_tanul['peer']} ({any_tanul['isa']}) beside {any_torch['peer']} ({any_torch['isa']}); "
        f"{about['cpu']}, {args.threads} threads on CPUs {','.join(map(str, about['cpus']))}; medians of "
        f"{args.rounds} rounds in turn; PyTorch in the better of eager and channels-last, both with glibc told to "
        "keep freed memory; float32, forward, backward and SGD with momentum on one fixed batch.",
        "",
        "| workload | batch | tanul, images/s | PyTorch, images/s | its mode | ratio by round | **ratio** "
        "| peak MiB: tanul, PyTorch | first step after s: tanul, PyTorch |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for w in args.workloads:
        peer = r.best_peer(w)
        ratios = r.ratios(w, args.rounds)
        lines.append(
            f"| {w} {MODELS[w][0]} | {r.of(w, ['tanul'])[0]['batch']} "
            f"| {rate(r.median(w, 'tanul', 'images_per_s'))} | {rate(r.median(w, peer, 'images_per_s'))} "
            f"| {peer.replace('_', '-')} | {', '.join(f'{x:.2f}' for x in ratios)} "
            f"| **{statistics.median(ratios):.2f}** "
            f"| {r.median(w, 'tanul', 'peak_rss_mib'):.0f}, {r.median(w, peer, 'peak_rss_mib'):,.0f} "
            f"| {r.median(w, 'tanul', 'first_step_s'):.2f}, {r.median(w, peer, 'first_step_s'):.2f} |")
    lines += [
        "",
        f"Size on disk: tanul {mib(sizes['tanul_library_bytes'])} MiB, {mib(sizes['tanul_bytes'])} MiB with OpenBLAS "
        f"and what else it links; PyTorch {mib(sizes['torch_package_bytes'])} MiB, {mib(sizes['torch_bytes'])} MiB "
        "with the packages that it installs.",
    ]
    loud = [x["share_of_others"] for x in runs if not x["busy"] and x["share_of_others"] > QUIET_SHARE]
    if loud:
        lines += ["", f"**Not a quiet machine**: in {len(loud)} of {sum(not x['busy'] for x in runs)} runs other "
                  f"processes took up to {max(loud):.0%} of the CPUs."]
    if args.busy:
        lines += [
            "",
            f"Beside a process that keeps CPU {min(about['cpus'])} busy; shares are of the quiet rate measured "
            "just before:",
            "",
            "| workload | tanul, images/s | share | PyTorch eager, images/s | share | channels-last, images/s "
            "| share |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        for w in args.workloads:
            cells = []
            for side in ("tanul", "eager", "channels_last"):
                busy, quiet = r.of(w, [side], True), r.of(w, [side])
                if not busy:
                    cells += ["–", "–"]
                    continue
                shares = [b["images_per_s"] / q["images_per_s"] for b, q in zip(busy, quiet)]
                cells += [rate(r.median(w, side, "images_per_s", True)), f"{statistics.median(shares):.2f}"]
            lines.append(f"| {w} {MODELS[w][0]} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def cpu_name():
    with contextlib.suppress(OSError, StopIteration):
        with open("/proc/cpuinfo") as info:
            return next(line.split(":", 1)[1].strip() for line in info if line.startswith("model name"))
    return platform.machine()


def workload_letters(text):
    letters = [letter for letter in text.upper() if letter not in ", "]
    unknown = [letter for letter in letters if letter not in MODELS]
    if unknown or not letters:
        raise argparse.ArgumentTypeError(f"workloads are letters of {''.join(MODELS)}, got '{text}'")
    return sorted(set(letters))


def at_least(smallest, kind):
    def parse(text):
        value = kind(text)
        if value < smallest:
            raise argparse.ArgumentTypeError(f"must be at least {smallest}, got {text}")
        return value
    return parse


def batch_of(text):
    letter, _, count = text.partition("=")
    if letter not in MODELS or not count.isdigit() or int(count) < 1:
        raise argparse.ArgumentTypeError(f"expected a workload and a batch like A=128, got '{text}'")
    return letter, int(count)


def parse_arguments():
    p = argparse.ArgumentParser(prog="run.sh", description="Times tanul and PyTorch in turn and writes one table.")
    p.add_argument("--workloads", type=workload_letters, default=list(MODELS), help="letters (default: ABCDEF)")
    p.add_argument("--rounds", type=at_least(1, int), default=3)
    p.add_argument("--seconds", type=at_least(0.01, float), default=2.0, help="length of a repeat (default: 2)")
    p.add_argument("--repeats", type=at_least(1, int), default=3, help="repeats in a run; its median counts")
    p.add_argument("--threads", type=at_least(1, int), default=2)
    p.add_argument("--batch", type=batch_of, action="append", default=[], metavar="A=128",
                   help="another batch for a workload; may be given several times")
    p.add_argument("--busy", action="store_true", help="also beside a process that keeps one of the CPUs busy")
    p.add_argument("--no-check", action="store_true", help="leave out comparing the losses first")
    p.add_argument("--out", type=pathlib.Path, default=ROOT / "build/compare", help="folder for table and runs")
    p.add_argument("--tanul", type=pathlib.Path, default=ROOT / "build/release/bin/tanul-bench",
                   help="the tanul-bench to time")
    p.add_argument("--python", required=True, help="a Python that has PyTorch")
    args = p.parse_args()
    args.batch = dict(args.batch)
    return args


def run():
    args = parse_arguments()
    available = sorted(os.sched_getaffinity(0))
    if args.threads > len(available):
        raise Failure(f"--threads {args.threads}: this process may use {len(available)} CPUs")
    args.out.mkdir(parents=True, exist_ok=True)
    cpus = set(available[:args.threads])
    programs = Programs(args, cpus)
    about = {"cpu": cpu_name(), "cpus": sorted(cpus), "kernel": platform.release(), "threads": args.threads,
             "rounds": args.rounds, "seconds": args.seconds, "repeats": args.repeats}
    with open(args.out / "runs.jsonl", "w") as file:
        def log(line):
            file.write(json.dumps(line) + "\n")
            file.flush()
        log({"about": about})
        sizes = sizes_on_disk(args)
        log({"sizes": sizes})
        for workload in [] if args.no_check else args.workloads:
            log(check_same_training(programs, workload))
        runs = measure(args, programs, log)
    table = table_of(args, runs, sizes, about)
    (args.out / "table.md").write_text(table)
    print(table)
    say(f"written: {args.out / 'table.md'}, {args.out / 'runs.jsonl'}")


if __name__ == "__main__":
    try:
        run()
    except Failure as failure:
        sys.exit(f"compare: {failure}")
