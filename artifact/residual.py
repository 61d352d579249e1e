"""A residual network with batch normalization: what a user might bring, trained three ways."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from artifact import data
from artifact.checkpoints import verified_tensors
from artifact.paths import CHECKPOINTS
from artifact.training import accuracy, fastest, to_tensor
from nvlib.arrays import Hardware
from nvlib.devices import DeviceModel, RangeVariation
from nvlib.files import write_whole
from nvlib.finetune import fine_tune
from nvlib.graph import GraphNetwork
from nvlib.quantizers import Precision
from nvlib.training import Recipe, fit

PRECISION = Precision(4, 3)
#: Programming error that the noise-aware training meets.
SIGMA = 0.15
TRAININGS = ("float", "fine-tuned", "noise-aware")
FLOAT_RECIPE = Recipe(epochs=10, learning_rate=4e-3)
TUNING_RECIPE = Recipe(epochs=4, learning_rate=1e-3)
#: The embedded sample is fifteen times smaller, so it is seen more often.
EMBEDDED_TIMES = 6


class Block(nn.Module):
    """Two convolutions beside a shortcut, which is a projection where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResidualNetwork(nn.Module):
    """Nine convolutions and a linear layer, 20,000 weights, for MNIST.

    Examples
    --------
    >>> ResidualNetwork()(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.block1, self.block2 = Block(8, 8, 1), Block(8, 16, 2)
        self.block3 = Block(16, 32, 2)
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(32, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (N, 10) of images (N, 1, 28, 28) in [0, 1]."""
        x = torch.relu(self.norm(self.stem(images)))
        x = self.block3(self.block2(self.block1(x)))
        return self.fc(self.pool(x).flatten(1))


def checkpoint(dataset: str, training: str) -> Path:
    """File of one network, relative to the folder of the checkpoints.

    Examples
    --------
    >>> checkpoint("mnist", "float").as_posix()
    'mnist/residual-float-seed0.safetensors'
    """
    return Path(dataset) / f"residual-{training}-seed0.safetensors"


def worn_hardware(sigma: float = SIGMA) -> Hardware:
    """128 x 128 arrays whose cells have a programming error of `sigma` of their range.

    Examples
    --------
    >>> worn_hardware(0.1).devices.effects
    (RangeVariation(sigma=0.1),)
    """
    effects = (RangeVariation(sigma),) if sigma else ()
    return Hardware(devices=DeviceModel(effects=effects))


def train_one(dataset: str, training: str, folder: Path, progress: bool = True) -> None:
    """Train and save one network, unless it is there already; the tuned ones start from float.

    Examples
    --------
    >>> train_one("embedded", "float", CHECKPOINTS)  # is there already
    """
    if (folder / checkpoint(dataset, training)).is_file():
        return
    digits = data.load(dataset)
    times = 1 if digits.comparable else EMBEDDED_TIMES
    recipe = FLOAT_RECIPE if training == "float" else TUNING_RECIPE
    recipe = replace(recipe, epochs=recipe.epochs * times)
    images = to_tensor(digits.train_images)
    labels = torch.from_numpy(digits.train_labels.astype(np.int64))
    torch.manual_seed(0)
    network: nn.Module = ResidualNetwork()
    if training == "float":
        fit(network, images, labels, recipe, 0, fastest(), progress, "residual float")
    else:
        train_one(dataset, "float", folder, progress)
        network.load_state_dict(load_file(folder / checkpoint(dataset, "float")))
        network = fine_tune(
            network, images, labels, PRECISION,
            hardware=worn_hardware() if training == "noise-aware" else None,
            recipe=recipe, device=fastest(), progress=progress,
        )  # fmt: skip
    network.eval()
    right = accuracy(network, digits.test_images, digits.test_labels)
    metadata = {
        "dataset": dataset, "network": "residual", "training": training, "seed": "0",
        "precision": "float" if training == "float" else str(PRECISION),
        "epochs": str(recipe.epochs), "test_accuracy": f"{right:.4f}",
        "test_images": str(len(digits.test_images)), "torch": torch.__version__,
    }  # fmt: skip
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    write_whole(
        folder / checkpoint(dataset, training), partial(save_file, state, metadata=metadata)
    )


def load(dataset: str, training: str, folder: Path = CHECKPOINTS) -> nn.Module:
    """A trained network, verified against the manifest: a float one, or a `GraphNetwork`.

    Raises
    ------
    CheckpointError
        If the file is missing or altered.

    Examples
    --------
    >>> load("embedded", "fine-tuned").precisions["block1.conv1"]
    Precision(weight_bits=4, activation_bits=3)
    """
    content = verified_tensors(checkpoint(dataset, training), folder)
    state = {name: torch.from_numpy(value) for name, value in content.items()}
    network: nn.Module = ResidualNetwork().eval()
    if training != "float":
        network = GraphNetwork(network)
    network.load_state_dict(state)
    return network
