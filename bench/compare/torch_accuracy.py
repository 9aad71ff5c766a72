# SPDX-License-Identifier: Apache-2.0
"""PyTorch's side of accuracy.py: trains Caffe's LeNet on a folder in MNIST's form for some epochs, tests it once and
prints one JSON line. The whole set is normalised once and lies in memory; a batch is one index_select.
"""
import argparse
import gzip
import json
import pathlib

import torch
from torch.nn.functional import cross_entropy

from workloads import WORKLOADS


def read(folder, name):
    """The bytes behind the header of an IDX file, plain or gzipped, as a tensor of its shape."""
    plain = pathlib.Path(folder) / name
    data = plain.read_bytes() if plain.exists() else gzip.open(f"{plain}.gz").read()
    rank = data[3]
    shape = [int.from_bytes(data[4 + 4 * i:8 + 4 * i], "big") for i in range(rank)]
    return torch.frombuffer(bytearray(data[4 + 4 * rank:]), dtype=torch.uint8).reshape(shape)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--mode", default="eager", choices=["eager", "channels_last"])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)

    model = WORKLOADS["A"].make()
    for module in model.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            torch.nn.init.xavier_uniform_(module.weight)
            torch.nn.init.zeros_(module.bias)
    images = read(args.data, "train-images-idx3-ubyte").float()[:, None]
    mean, deviation = images.mean(), images.std()
    images = (images - mean) / deviation
    labels = read(args.data, "train-labels-idx1-ubyte").long()
    if args.mode == "channels_last":
        model = model.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    for _ in range(args.epochs):
        for batch in torch.randperm(len(images)).split(64):
            optimizer.zero_grad(set_to_none=True)
            cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()

    images = (read(args.data, "t10k-images-idx3-ubyte").float()[:, None] - mean) / deviation
    labels = read(args.data, "t10k-labels-idx1-ubyte").long()
    with torch.no_grad():
        correct = sum((model(x).argmax(1) == y).sum().item()
                      for x, y in zip(images.split(500), labels.split(500)))
    print(json.dumps({"accuracy": correct / len(labels)}))


main()
