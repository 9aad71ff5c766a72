# SPDX-License-Identifier: Apache-2.0
"""The networks of examples/models/ that tanul is compared on, written for PyTorch.

`compare.py` has both programs begin at the same weights and holds their losses against each other before it
times anything, so that a difference between these definitions and the model files cannot go unseen.
"""
from dataclasses import dataclass
from typing import Callable, Tuple

from torch import nn


def caffe_lenet():
    return nn.Sequential(
        nn.Conv2d(1, 20, kernel_size=5), nn.MaxPool2d(2),
        nn.Conv2d(20, 50, kernel_size=5), nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(50 * 4 * 4, 500), nn.ReLU(),
        nn.Linear(500, 10))


def cifar10_quick():
    def pool(kind):
        return kind(kernel_size=3, stride=2, ceil_mode=True)

    def conv(c, k):
        return nn.Conv2d(c, k, kernel_size=5, padding=2)

    return nn.Sequential(
        conv(3, 32), pool(nn.MaxPool2d), nn.ReLU(),
        conv(32, 32), nn.ReLU(), pool(nn.AvgPool2d),
        conv(32, 64), nn.ReLU(), pool(nn.AvgPool2d),
        nn.Flatten(),
        nn.Linear(64 * 4 * 4, 64),
        nn.Linear(64, 10))


def vgg_bn_small():
    net, c = nn.Sequential(), 3
    for k in (64, 128, 256):
        for _ in range(2):
            net.extend([nn.Conv2d(c, k, kernel_size=3, padding=1), nn.BatchNorm2d(k), nn.ReLU()])
            c = k
        net.append(nn.MaxPool2d(2))
    return net.extend([nn.Flatten(), nn.Linear(256 * 4 * 4, 512), nn.ReLU(), nn.Linear(512, 10)])


class Basic(nn.Module):
    """Two 3x3 convolutions and what they are added to."""

    def __init__(self, c, k, stride=1):
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(c, k, kernel_size=3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(k), nn.ReLU(),
            nn.Conv2d(k, k, kernel_size=3, padding=1, bias=False), nn.BatchNorm2d(k))
        self.shortcut = nn.Identity()
        if c != k or stride != 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(c, k, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(k))
        self.then = nn.ReLU()

    def forward(self, x):
        return self.then(self.main(x) + self.shortcut(x))


def resnet18():
    return nn.Sequential(
        nn.Conv2d(3, 64, kernel_size=7, stride=2, padding=3, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        Basic(64, 64), Basic(64, 64),
        Basic(64, 128, stride=2), Basic(128, 128),
        Basic(128, 256, stride=2), Basic(256, 256),
        Basic(256, 512, stride=2), Basic(512, 512),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(512, 1000))


def alexnet():
    def pool():
        return nn.MaxPool2d(kernel_size=3, stride=2)

    return nn.Sequential(
        nn.Conv2d(3, 64, kernel_size=11, stride=4, padding=2), nn.ReLU(), pool(),
        nn.Conv2d(64, 192, kernel_size=5, padding=2), nn.ReLU(), pool(),
        nn.Conv2d(192, 384, kernel_size=3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, kernel_size=3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, kernel_size=3, padding=1), nn.ReLU(), pool(),
        nn.Flatten(),
        nn.Dropout(0.5), nn.Linear(256 * 6 * 6, 4096), nn.ReLU(),
        nn.Dropout(0.5), nn.Linear(4096, 4096), nn.ReLU(),
        nn.Linear(4096, 1000))


def mlp():
    return nn.Sequential(
        nn.Linear(784, 1024), nn.ReLU(),
        nn.Linear(1024, 1024), nn.ReLU(),
        nn.Linear(1024, 10))


@dataclass(frozen=True)
class Workload:
    make: Callable[[], nn.Module]
    sample: Tuple[int, ...]  # shape of one sample
    classes: int


WORKLOADS = {
    "A": Workload(caffe_lenet, (1, 28, 28), 10),
    "B": Workload(cifar10_quick, (3, 32, 32), 10),
    "C": Workload(vgg_bn_small, (3, 32, 32), 10),
    "D": Workload(resnet18, (3, 224, 224), 1000),
    "E": Workload(alexnet, (3, 224, 224), 1000),
    "F": Workload(mlp, (784,), 10),
}
