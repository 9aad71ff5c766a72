# SPDX-License-Identifier: Apache-2.0
"""PyTorch's side of the comparison: what `tanul-bench step` and `tanul-bench losses` do, with the same options
and the same keys in the JSON line that it prints.

    torch_step.py step A --batch 64 [--mode channels_last] [--threads 2] [--seconds 2] [--repeats 3]
    torch_step.py losses A --batch 64 --start FILE --steps 5

A step is forward, softmax cross-entropy, backward and SGD with momentum 0.9 at rate 0.001, on one fixed batch.
"""
import argparse
import json
import os
import statistics
import struct
import time


def process_age():
    """Seconds since the kernel started this process, in its clock ticks (10 ms)."""
    with open("/proc/self/stat") as stat:
        behind_name = stat.read().rsplit(")", 1)[1].split()
    with open("/proc/uptime") as uptime:
        return float(uptime.read().split()[0]) - int(behind_name[19]) / os.sysconf("SC_CLK_TCK")


def peak_resident_mib():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 1024


def read_start(path):
    """The tensors of a safetensors file with float32 and int32 values, in the order of their data."""
    import torch
    types = {"F32": torch.float32, "I32": torch.int32}
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = bytearray(file.read())
    header.pop("__metadata__", None)
    tensors = []
    for name, info in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = info["data_offsets"]
        flat = torch.frombuffer(data, dtype=types[info["dtype"]], offset=begin, count=(end - begin) // 4)
        tensors.append((name, flat.reshape(info["shape"])))
    return tensors


class Training:
    def __init__(self, args):
        import torch
        from torch.nn.functional import cross_entropy
        from workloads import WORKLOADS
        torch.set_num_threads(args.threads)
        torch.manual_seed(1)
        workload = WORKLOADS[args.workload]
        self.model = workload.make()
        self.x = torch.randn(args.batch, *workload.sample)
        self.labels = torch.randint(workload.classes, (args.batch,))
        if getattr(args, "start", None):
            self.begin_at(read_start(args.start))
        if args.mode == "channels_last":
            self.model = self.model.to(memory_format=torch.channels_last)
            self.x = self.x.contiguous(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3, momentum=0.9)
        self.cross_entropy = cross_entropy
        self.no_grad = torch.no_grad

    def begin_at(self, start):
        import torch
        (_, samples), (_, targets), *weights = start
        self.x = samples.reshape(self.x.shape)
        self.labels = targets.long()
        parameters = list(self.model.named_parameters())
        if len(parameters) != len(weights):
            raise SystemExit(f"tanul has {len(weights)} parameter tensors, PyTorch's network {len(parameters)}")
        with torch.no_grad():
            for (name, to), (tanul_name, value) in zip(parameters, weights):
                if to.shape != value.shape:
                    raise SystemExit(f"tanul's {tanul_name} is {list(value.shape)}, "
                                     f"PyTorch's {name} {list(to.shape)}")
                to.copy_(value)

    def parameters(self):
        return sum(p.numel() for p in self.model.parameters())

    def has_dropout(self):
        return any(type(m).__name__.startswith("Dropout") for m in self.model.modules())

    def step(self):
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.cross_entropy(self.model(self.x), self.labels)
        loss.backward()
        self.optimizer.step()
        return loss

    def evaluated(self):
        self.model.eval()
        with self.no_grad():
            loss = self.cross_entropy(self.model(self.x), self.labels).item()
        self.model.train()
        return loss


def time_steps(args):
    training = Training(args)
    training.step()
    first_step_s = process_age()
    start, count = time.perf_counter(), 0
    while count < 3 or (time.perf_counter() - start < min(1.0, args.seconds) and count < 2000):
        training.step()
        count += 1
    steps = max(1, round(args.seconds * count / (time.perf_counter() - start)))
    rates = []
    for _ in range(args.repeats):
        start = time.perf_counter()
        for _ in range(steps):
            training.step()
        rates.append(args.batch * steps / (time.perf_counter() - start))
    import torch
    return {
        "peer": f"torch {torch.__version__}", "workload": args.workload, "mode": args.mode,
        "threads": torch.get_num_threads(), "batch": args.batch, "parameters": training.parameters(),
        "images_per_s": round(statistics.median(rates), 2), "repeats": [round(rate, 2) for rate in rates],
        "first_step_s": round(first_step_s, 3), "peak_rss_mib": round(peak_resident_mib(), 1),
        "isa": torch.backends.cpu.get_cpu_capability(),
    }


def trace_losses(args):
    training = Training(args)
    before = training.evaluated()
    return {
        "workload": args.workload, "batch": args.batch, "parameters": training.parameters(),
        "has_dropout": training.has_dropout(), "evaluated_before": before,
        "losses": [training.step().item() for _ in range(args.steps)],
        "evaluated_after": training.evaluated(),
    }


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("step", "losses"):
        command = commands.add_parser(name)
        command.add_argument("workload")
        command.add_argument("--batch", type=int, required=True)
        command.add_argument("--mode", default="eager", choices=["eager", "channels_last"])
        command.add_argument("--threads", type=int, default=2)
        if name == "step":
            command.add_argument("--seconds", type=float, default=2.0)
            command.add_argument("--repeats", type=int, default=3)
        else:
            command.add_argument("--start", required=True)
            command.add_argument("--steps", type=int, default=5)
    args = parser.parse_args()
    print(json.dumps(time_steps(args) if args.command == "step" else trace_losses(args)), flush=True)


main()
