"""Quantization-aware training of the shipped networks, from a float start."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from artifact.data import Dataset
from nvlib.network import LENET5, LayerSpec, Network
from nvlib.quantizers import Precision
from nvlib.training import Recipe, fit

FLOAT_RECIPE = Recipe(epochs=15)
QUANTIZED_RECIPE = Recipe(epochs=6, learning_rate=1e-3)
#: The embedded sample is fifteen times smaller, so it is seen more often.
EMBEDDED_FLOAT_RECIPE = replace(FLOAT_RECIPE, epochs=60)
EMBEDDED_QUANTIZED_RECIPE = replace(QUANTIZED_RECIPE, epochs=40)


def to_tensor(images: np.ndarray) -> torch.Tensor:
    """Images (N, 28, 28) of pixels as floats in [0, 1], shape (N, 1, 28, 28).

    Examples
    --------
    >>> to_tensor(np.full((2, 28, 28), 255, np.uint8)).shape
    torch.Size([2, 1, 28, 28])
    """
    return torch.from_numpy(images.astype(np.float32) / 255).unsqueeze(1)


def train(
    data: Dataset,
    precision: Precision | None,
    seed: int,
    start: Network | None = None,
    recipe: Recipe | None = None,
    specs: tuple[LayerSpec, ...] = LENET5,
    progress: bool = True,
    device: str = "cpu",
) -> Network:
    """Train one network on the training images.

    Parameters
    ----------
    data : Dataset
    precision : Precision or None
        None trains in floating point.
    seed : int
        Of the initial weights, the order of the images and their shifts.
    start : Network, optional
        The float network a quantized one starts from; required with `precision`.
    device : str
        Where torch computes, such as "cuda".

    Notes
    -----
    One seed gives one network on one machine, not the same bits on every machine.

    Examples
    --------
    >>> from artifact.data import load_embedded
    >>> recipe = Recipe(epochs=1, batch=2000)
    >>> network = train(load_embedded(), None, 0, recipe=recipe, progress=False)
    >>> len(network.weights)
    5
    """
    if precision is not None and start is None:
        raise ValueError(
            f"expected a float network to start {precision} from, received none; "
            "train with precision=None first"
        )
    recipe = recipe or default_recipe(data, precision)
    torch.manual_seed(seed)
    images = to_tensor(data.train_images)
    labels = torch.from_numpy(data.train_labels.astype(np.int64))
    network = Network(specs, precision)
    if start is not None:
        network.quantize_from(start, images[:2000])
    fit(network, images, labels, recipe, seed, device, progress, f"train {precision or 'float'}")
    return network.eval()


def fastest() -> str:
    """Where networks train fastest: "cuda" where there is one, else "cpu".

    Examples
    --------
    >>> fastest() in ("cpu", "cuda")
    True
    """
    return "cuda" if torch.cuda.is_available() else "cpu"


def default_recipe(data: Dataset, precision: Precision | None) -> Recipe:
    """The recipe of the shipped checkpoints; one for all precisions.

    Examples
    --------
    >>> from artifact.data import load_embedded
    >>> default_recipe(load_embedded(), None).epochs
    60
    """
    if data.comparable:
        return FLOAT_RECIPE if precision is None else QUANTIZED_RECIPE
    return EMBEDDED_FLOAT_RECIPE if precision is None else EMBEDDED_QUANTIZED_RECIPE


@torch.no_grad()
def accuracy(network: nn.Module, images: np.ndarray, labels: np.ndarray) -> float:
    """Share of `images` (N, 28, 28) that a network in training classifies rightly.

    Examples
    --------
    >>> from artifact.checkpoints import CheckpointName, load_float
    >>> from artifact.data import load_embedded
    >>> digits, network = load_embedded(), load_float(CheckpointName("embedded", "lenet5", None, 0))
    >>> accuracy(network, digits.test_images, digits.test_labels) > 0.95
    True
    """
    hits = 0
    for start in range(0, len(images), 1000):
        logits = network(to_tensor(images[start : start + 1000]))
        hits += int((logits.argmax(1).numpy() == labels[start : start + 1000]).sum())
    return hits / len(images)
