"""Small layers and networks that tests share."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import settings
from torch import nn
from torch.nn import functional as F

from artifact import data
from artifact.checkpoints import CheckpointName, load_quantized
from nvlib import Precision
from nvlib.arrays import write_layer
from nvlib.network import LayerSpec, QuantizedLayer

#: Times say nothing on a machine that does other things too.
settings.register_profile("nvlib", deadline=None)
settings.load_profile("nvlib")


@pytest.fixture(scope="session")
def digits():
    """The data set that needs no network."""
    return data.load_embedded()


@pytest.fixture(scope="session")
def network():
    """A trained network by the name of its precision."""

    def load(precision: str, kind: str = "lenet5"):
        return load_quantized(CheckpointName("embedded", kind, Precision.parse(precision), 0))

    return load


def random_layer(generator, precision, inputs, outputs, kernel=(), sides=(8, 7), **window):
    """A layer of random codes; `window` is its padding, stride and dilation."""
    spec = LayerSpec("layer", inputs, outputs, kernel=kernel, **window)
    most = precision.weight_max
    codes = generator.integers(-most, most + 1, spec.weight_shape)
    if precision.weight_bits == 1:
        codes = np.where(codes < 0, -1, 1)
    shape = (inputs, *sides) if kernel else (inputs,)
    return QuantizedLayer(
        spec, precision, codes.astype(np.int8), 1.0, 1.0, np.zeros(outputs), shape
    )


def written(layer, hardware, seed=0):
    """Arrays of a layer, as the first of a chip."""
    return write_layer(layer, 0, hardware, np.random.SeedSequence(seed))


class Residual(nn.Module):
    """Batch normalization, a strided block with a projection, an addition."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.one, self.first = nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8)
        self.two, self.second = nn.Conv2d(8, 8, 3, padding="same"), nn.BatchNorm2d(8)
        self.short = nn.Conv2d(6, 8, 1, stride=2)
        self.drop, self.fc = nn.Dropout(0.5), nn.Linear(8, 10)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        y = F.relu(self.first(self.one(x)))
        x = F.relu6(self.second(self.two(y)) + self.short(x))
        return self.fc(self.drop(F.adaptive_avg_pool2d(x, 1).view(x.size(0), -1)))


class Branches(nn.Module):
    """Grouped, dilated and rectangular kernels, a concatenation, normalization before the ReLU."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.wide = nn.Conv2d(1, 12, (1, 5), padding=(0, 2))
        self.depth = nn.Conv2d(12, 24, (3, 2), padding=(1, 0), dilation=(2, 1), groups=12)
        self.pool, self.mean = nn.MaxPool2d(2), nn.AvgPool2d(3, 2)
        self.last = nn.Conv2d(36, 10, 1)
        self.fold = nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten())

    def forward(self, x):
        x = self.wide(self.norm(x))
        deep = self.pool(self.depth(F.relu(x)))
        flat = self.mean(x)[:, :, :4, :4]
        return self.fold(self.last(torch.cat([deep[:, :, :4, :4], flat], dim=1)))


class Shared(nn.Module):
    """One module called twice, and a normalized linear layer."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.fc, self.last = nn.Linear(48, 16), nn.BatchNorm1d(16)

    def forward(self, x):
        x = self.norm(self.conv(self.conv(x))).relu()
        return self.last(self.fc(torch.flatten(F.max_pool2d(x, 2), 1)))


CASES = {"residual": (Residual, (1, 12, 12)), "branches": (Branches, (1, 11, 10)),
         "shared": (Shared, (3, 8, 8))}  # fmt: skip


def model_of(name):
    """A network whose normalizations have seen data, and images; some pixels are negative."""
    torch.manual_seed(7)
    kind, shape = CASES[name]
    model, images = kind(), torch.randn(40, *shape)
    model.train()
    for _ in range(3):
        model(images)
    return model.eval(), images
