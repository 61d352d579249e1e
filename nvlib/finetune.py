"""Training of any torch network for its arrays: with quantization, and with imperfect devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from nvlib.arrays import Hardware, held_codes
from nvlib.checks import require
from nvlib.graph import GraphNetwork, as_images
from nvlib.quantizers import Precision
from nvlib.training import Recipe, fit

CALIBRATION_IMAGES = 512
DEFAULT_RECIPE = Recipe(epochs=3, learning_rate=1e-3, shift=0)


class WriteErrors:
    """What a new chip would change at every step of the training: noise-aware training.

    The weights of each step are those that freshly written cells hold; gradients go to the
    weights that were asked for (Joshi et al. 2020, doi:10.1038/s41467-020-16108-9).

    Parameters
    ----------
    hardware : Hardware
        Its mapping and devices; read noise and converters are left out.
    seed : int

    Examples
    --------
    >>> errors = WriteErrors(Hardware(), seed=0)
    >>> errors(torch.tensor([[1.0, -2.0]]), Precision(3, 3))  # ideal devices make none
    tensor([[0., 0.]])
    """

    def __init__(self, hardware: Hardware, seed: int) -> None:
        self.hardware = hardware
        self.generator = np.random.default_rng(seed)

    def __call__(self, codes: torch.Tensor, precision: Precision) -> torch.Tensor:
        """Errors of weight codes (outputs, ...), in codes."""
        asked = codes.cpu().numpy().reshape(len(codes), -1).T
        held = held_codes(asked, precision, self.hardware, self.generator)
        return torch.from_numpy((held - asked).T.reshape(codes.shape)).to(codes)


def fine_tune(
    model: nn.Module,
    images: Any,
    labels: Any,
    precision: Precision,
    *,
    hardware: Hardware | None = None,
    overrides: Mapping[str, Precision] | None = None,
    digital: Sequence[str] = (),
    recipe: Recipe = DEFAULT_RECIPE,
    seed: int = 0,
    device: str = "cpu",
    progress: bool = True,
) -> GraphNetwork:
    """Train a float network on with quantization in the loop; `Chip.from_torch` takes the result.

    Batch normalization is folded first, and dropout is off.

    Parameters
    ----------
    model : torch.nn.Module
        A trained network; it is copied.
    images : Tensor or ndarray, shape (N, ...)
    labels : Tensor or ndarray of int, shape (N,)
    precision : Precision
    hardware : Hardware, optional
        Where given, training meets its imperfect devices (noise-aware training).
    overrides, digital
        See `nvlib.graph.GraphNetwork`.
    recipe : Recipe
    seed : int
        Of the order of the images, and of the devices.
    device : str
        Where torch computes, such as "cuda".

    Raises
    ------
    ValueError
        If there is not one label for each image, or what `GraphNetwork` refuses.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> images = torch.rand(64, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    >>> recipe = Recipe(epochs=2, batch=16, shift=0)
    >>> tuned = fine_tune(model, images, images.sum((1, 2, 3)) > 2, Precision(4, 3),
    ...                   recipe=recipe, progress=False)
    >>> str(tuned.precisions["1"])
    'W4A3'
    """
    images = as_images(images)
    labels = torch.as_tensor(labels).to(torch.int64)
    require(
        labels.shape == (len(images),), "labels", f"shape ({len(images)},)", tuple(labels.shape),
        "give one class for each image",
    )  # fmt: skip
    network = GraphNetwork(model, digital)
    network.quantize(images[:CALIBRATION_IMAGES], precision, overrides)
    if hardware is not None:
        network.disturb = WriteErrors(hardware, seed)
    name = "noise-aware" if hardware is not None else "fine-tune"
    fit(network, images, labels, recipe, seed, device, progress, f"{name} {precision}")
    network.disturb = None
    return network.eval()
