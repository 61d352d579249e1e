"""Random networks: the chip computes what torch's fake-quantized network does, or refuses by name.

`python -m tests.nvlib.test_differential FIRST LAST` tries as many seeds as wanted.
"""

from __future__ import annotations

import copy
import pickle
import random
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from artifact.paths import ROOT
from nvlib import (
    Adc,
    ArrayMapping,
    Chip,
    DeviceModel,
    FakeQuantized,
    Hardware,
    RangeVariation,
    ReadNoise,
)
from nvlib.quantizers import weight_codes

SEEDS = 40  # graphs of the tests; the campaign took 2,400
NOISY = DeviceModel(effects=(RangeVariation(0.05),), read_noise=ReadNoise(0.05))


class Graph(nn.Module):
    """A network of random steps; each is a function of the module, its layers, and values."""

    def __init__(self, seed):
        super().__init__()
        self.choose = random.Random(seed)
        self.layers, self.steps = nn.ModuleDict(), []
        self.relu, self.fold = nn.ReLU(), nn.Flatten()
        self.mixes = False  # images of a batch, or draws at random
        torch.manual_seed(seed)
        draw = self.choose
        self.flat = draw.random() < 0.15
        self.shape = (draw.randint(1, 12),) if self.flat else (
            draw.choice([1, 2, 3, 4, 6]), draw.randint(3, 11), draw.randint(3, 11))  # fmt: skip
        shape = self.shape
        for _ in range(draw.randint(1, 6)):
            shape = self.grow(shape)
        if len(shape) == 3 and draw.random() < 0.7:
            shape = self.flatten(shape)
        self.linear(shape[0]) if len(shape) == 1 else self.convolution(shape)

    def add(self, layer):
        """Register a layer; its key."""
        names = [str(len(self.layers)), f"a/{len(self.layers)}", f"images{len(self.layers)}"]
        key = self.choose.choice([name for name in names if name not in self.layers])
        if self.choose.random() < 0.1 and "images" not in self.layers:
            key = "images"
        self.layers[key] = layer
        return key

    def then(self, kind, *facts):
        self.steps.append((kind, facts))

    def linear(self, features):
        outputs = self.choose.randint(1, 9)
        layer = nn.Linear(features, outputs, bias=self.choose.random() < 0.7)
        if self.choose.random() < 0.1:
            layer = nn.utils.parametrizations.weight_norm(layer)
        self.then("module", self.add(layer))
        return (outputs,)

    def convolution(self, shape, same=False):
        draw, (channels, *sides) = self.choose, shape
        groups = draw.choice([1, 1, 1, channels, *(g for g in (2, 3) if channels % g == 0)])
        outputs = groups * draw.randint(1, max(6 // groups, 1))
        kernel, dilation = [], []
        for side in sides:
            kernel.append(draw.randint(1, min(side, 4)))
            most = (side - 1) // max(kernel[-1] - 1, 1)
            dilation.append(draw.randint(1, max(min(most, 2), 1)))
        padding = (draw.randint(0, 2), draw.randint(0, 2))
        stride = (draw.randint(1, 3), draw.randint(1, 3))
        if same:
            outputs, kernel, dilation = channels, [3, 3], [1, 1]
            padding, stride = (1, 1), (1, 1)
            groups = draw.choice([1, channels])
        if draw.random() < 0.1 and all((k - 1) * d % 2 == 0 for k, d in zip(kernel, dilation)):
            padding, stride = "same", (1, 1)
        layer = nn.Conv2d(channels, outputs, tuple(kernel), stride, padding, tuple(dilation),
                          groups, bias=draw.random() < 0.7)  # fmt: skip
        self.then("module", self.add(layer))
        if draw.random() < 0.35:
            self.normalize(outputs, nn.BatchNorm2d)
        return tuple(layer(torch.zeros(1, *shape)).shape[1:])

    def normalize(self, channels, kind):
        draw = self.choose
        layer = kind(channels, affine=draw.random() < 0.8)
        if draw.random() < 0.04:
            layer, self.mixes = kind(channels, track_running_stats=False), True
        else:
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.3, 3)
        self.then("module", self.add(layer))

    def flatten(self, shape):
        self.then(self.choose.choice(["flatten", "view", "reshape", "module flatten", "size"]))
        return (int(np.prod(shape)),)

    def grow(self, shape):
        """Add something that takes this shape; the shape after it."""
        draw = self.choose
        if draw.random() < 0.02:
            self.mixes = True
            self.then(draw.choice(["dropout", "first of all"]))
            return shape
        if len(shape) == 1:
            kind = draw.choice(["linear", "linear", "relu", "residual", "cat", "norm", "bias"])
            if kind == "linear":
                return self.linear(shape[0])
            if kind == "norm":
                self.normalize(shape[0], nn.BatchNorm1d)
        else:
            kind = draw.choice(
                ["conv", "conv", "conv", "relu", "relu", "pool", "residual", "cat", "shared",
                 "flatten", "norm", "crop", "adaptive", "bias"]
            )  # fmt: skip
            channels, height, breadth = shape
            if kind == "conv":
                return self.convolution(shape)
            if kind == "norm":
                self.normalize(channels, nn.BatchNorm2d)
            if kind == "flatten" and draw.random() < 0.5:
                return self.flatten(shape)
            if kind == "pool" and min(height, breadth) >= 2:
                pool = draw.choice([nn.MaxPool2d, nn.AvgPool2d])
                layer = pool(2, draw.choice([1, 2, 3]), ceil_mode=draw.random() < 0.3)
                self.then("module", self.add(layer))
                return tuple(layer(torch.zeros(1, *shape)).shape[1:])
            if kind == "adaptive":
                sides = draw.randint(1, height), draw.randint(1, breadth)
                self.then("adaptive", sides)
                return (channels, *sides)
            if kind == "shared":  # the same module twice
                self.convolution(shape, same=True)
                self.then("again", list(self.layers)[-1])
                if isinstance(self.layers[list(self.layers)[-1]], nn.BatchNorm2d):
                    return shape
            if kind == "crop" and min(height, breadth) > 2:
                self.then("crop", height - 1, breadth - 1)
                return (channels, height - 1, breadth - 1)
        if kind == "relu":
            self.then(draw.choice(["relu", "relu_", "method relu", "relu6", "module relu"]))
        if kind == "bias":
            self.then("add number", draw.uniform(-1, 1))
        if kind == "residual":
            if len(shape) == 3:
                self.then("keep")
                self.convolution(shape, same=True)
            else:
                self.then("keep")
                self.then("module", self.add(nn.Linear(shape[0], shape[0])))
            self.then(draw.choice(["add", "iadd"]))
        if kind == "cat":
            self.then("keep")
            if len(shape) == 3:
                self.convolution(shape, same=True)
            self.then("cat")
            return (2 * shape[0], *shape[1:])
        return shape

    def forward(self, x):
        kept = x
        for kind, facts in self.steps:
            if kind in ("module", "again"):
                x = self.layers[facts[0]](x)
            elif kind == "keep":
                kept = x
            elif kind == "add":
                x = x + kept
            elif kind == "iadd":
                x += kept
            elif kind == "add number":
                x = x + facts[0]
            elif kind == "cat":
                x = torch.cat([x, kept], 1)
            elif kind == "crop":
                x = x[:, :, : facts[0], 1 : facts[1] + 1]
            elif kind == "adaptive":
                x = F.adaptive_avg_pool2d(x, facts[0])
            elif kind == "dropout":
                x = F.dropout(x)
            elif kind == "first of all":
                x = x + x[0:1]
            else:
                x = {
                    "relu": F.relu, "relu_": lambda x: (x + 0).relu_(), "relu6": F.relu6,
                    "method relu": lambda x: x.relu(), "module relu": self.relu,
                    "flatten": lambda x: torch.flatten(x, 1), "module flatten": self.fold,
                    "view": lambda x: (x + 0).view(x.shape[0], -1),
                    "reshape": lambda x: x.reshape(x.size(0), -1),
                    "size": lambda x: x.flatten(start_dim=1),
                }[kind](x)  # fmt: skip
        return x


def rounded(trained):
    """A network in training, in double precision, with the scales and codes that are frozen."""
    twin = copy.deepcopy(trained)
    with torch.no_grad():
        for layer in twin.layers.values():
            scale, bits = layer.log_weight_scale.exp(), layer.precision.weight_bits
            codes = weight_codes(layer.module.weight, scale, bits)
            layer.double()
            layer.log_weight_scale.copy_(scale.double().log())
            layer.log_input_scale.copy_(layer.log_input_scale.float().exp().double().log())
            layer.module.weight = nn.Parameter(codes.double() * scale.double())
    return twin.double()


def tried(seed):
    """Whether the chip of a graph computes what torch does; "" where it is refused rightly."""
    graph = Graph(seed).eval()
    draw = random.Random(seed)
    torch.manual_seed(seed)
    images = torch.randn(12, *graph.shape) if draw.random() < 0.5 else torch.rand(12, *graph.shape)
    before, weights = images.clone(), copy.deepcopy(graph.state_dict())
    hardware = Hardware(ArrayMapping(
        rows=draw.choice([16, 128]), cell_bits=draw.choice([1, 2]),
        scheme=draw.choice(["differential", "offset", "signed-digit", "twos-complement"]),
    ))  # fmt: skip
    try:
        trained = FakeQuantized(graph, images, "W8A8")
        chip = Chip(trained.freeze(), hardware, compiled=draw.random() < 0.8)
    except ValueError as error:
        words = str(error)
        assert len(words) < 700, words
        assert "expected" in words, words
        assert "; " in words, words
        assert re.search(r"'|Graph", words.split(":")[0]), words
        assert graph.mixes or "layers" not in words or "Linear" in words, words
        return words
    # What is the same for all images cannot be mixed.
    assert not graph.mixes or torch.allclose(graph(images)[:3], graph(images[:3]), atol=1e-5)
    assert torch.equal(images, before)
    assert all(torch.equal(weights[key], value) for key, value in graph.state_dict().items())
    with torch.no_grad():
        wanted = rounded(trained)(images.double()).numpy()
        real = graph(images).numpy()
    found = chip.logits(images, threads=draw.choice([1, 2]))
    scale = np.abs(wanted).max() + 1e-9
    assert np.abs(found - wanted).max() <= 1e-6 * scale
    assert np.abs(wanted - real).max() <= 0.25 * (np.abs(real).max() + 0.1)
    if draw.random() < 0.3:
        noisy = Hardware(hardware.mapping, NOISY, Adc(8))
        chip = Chip(chip.network, noisy, seed, compiled=draw.random() < 0.8)
        found = chip.logits(images, threads=2)
    order = np.random.default_rng(seed).permutation(len(images))
    same = np.testing.assert_array_equal
    same(chip.logits(images[order].double(), threads=1), found[order])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        same(np.concatenate([chip.logits(images[i : i + 1].numpy()) for i in range(3)]), found[:3])
    return ""


@pytest.mark.parametrize("first", range(0, SEEDS, 10))
def test_the_chip_of_a_random_network_computes_what_torch_does(first):
    refused = [seed for seed in range(first, first + 10) if tried(seed)]
    assert len(refused) <= 4


def test_another_process_gives_the_same():
    code = (
        "import pickle, sys; chip, images = pickle.load(sys.stdin.buffer);"
        "print(chip.logits(images).tobytes().hex())"
    )
    graph = Graph(3).eval()
    images = torch.rand(5, *graph.shape)
    chip = Chip.from_torch(graph, images, Hardware(devices=NOISY, adc=Adc(8)), seed=1)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True,
        input=pickle.dumps((chip, images)),
    )  # fmt: skip
    assert done.stdout.decode().strip() == chip.logits(images).tobytes().hex()


def main(first, last):
    """Try the seeds of a range, and say how many were refused."""
    refused = 0
    for seed in range(first, last):
        try:
            words = tried(seed)
        except Exception as error:
            print(f"seed {seed}: {type(error).__name__}: {str(error)[:300]}", flush=True)
            continue
        refused += bool(words)
        if words:
            print(f"seed {seed} refused: {words[:160]}", flush=True)
    print(f"{last - first} graphs tried, {refused} refused by name")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
