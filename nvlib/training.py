"""Quantization-aware training, from a float start."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from nvlib.checks import require
from nvlib.data import Dataset
from nvlib.network import LENET5, LayerSpec, Network
from nvlib.quantizers import Precision


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; Adam with a cosine schedule.

    Attributes
    ----------
    epochs : int
    batch : int
        Images per step.
    learning_rate : float
        At the start; it ends at zero.
    shift : int
        Largest random translation of a training image, in pixels.
    """

    epochs: int
    batch: int = 128
    learning_rate: float = 2e-3
    shift: int = 2

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1 or self.learning_rate <= 0 or self.shift < 0:
            raise ValueError(
                "expected epochs and batch of at least 1, a positive learning rate and a shift "
                f"of at least 0, received {self}; correct the recipe"
            )


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
    >>> from nvlib.data import load_embedded
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


def fit(
    network: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    recipe: Recipe,
    seed: int,
    device: str = "cpu",
    progress: bool = True,
    name: str = "train",
) -> None:
    """Minimize the cross-entropy of a network's output, in place.

    Parameters
    ----------
    network : torch.nn.Module
        Comes back on the CPU.
    images : Tensor, shape (N, ...)
    labels : Tensor of int64, shape (N,)
    recipe : Recipe
    seed : int
        Of the order of the images and their shifts.
    device : str
        Where torch computes.

    Raises
    ------
    ValueError
        If there are fewer images than a step takes.

    Examples
    --------
    >>> network, images = nn.Linear(2, 2), torch.eye(2).repeat(64, 1)
    >>> recipe = Recipe(epochs=50, batch=64, learning_rate=0.1, shift=0)
    >>> fit(network, images, torch.arange(128) % 2, recipe, seed=0, progress=False)
    >>> network(torch.eye(2)).argmax(dim=1)
    tensor([0, 1])
    """
    require(
        len(images) >= recipe.batch, "images", f"at least {recipe.batch} for one step", len(images),
        "pass more images, or a recipe of a smaller batch",
    )  # fmt: skip
    network.to(device)
    images, labels = images.to(device), labels.to(device)
    generator = torch.Generator().manual_seed(seed)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=recipe.learning_rate)
    steps = recipe.epochs * (len(images) // recipe.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    bar = tqdm(total=steps, desc=name, disable=not progress)
    for _ in range(recipe.epochs):
        order = torch.randperm(len(images), generator=generator)
        for step in range(len(images) // recipe.batch):
            batch = order[step * recipe.batch : (step + 1) * recipe.batch]
            inputs = _shifted(images[batch], recipe.shift, generator)
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(network(inputs), labels[batch]).backward()
            optimizer.step()
            schedule.step()
            bar.update()
    bar.close()
    network.to("cpu")


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
    >>> from nvlib.data import load_embedded
    >>> default_recipe(load_embedded(), None).epochs
    60
    """
    if data.comparable:
        return FLOAT_RECIPE if precision is None else QUANTIZED_RECIPE
    return EMBEDDED_FLOAT_RECIPE if precision is None else EMBEDDED_QUANTIZED_RECIPE


def _shifted(images: torch.Tensor, most: int, generator: torch.Generator) -> torch.Tensor:
    """Images translated together, by up to `most` pixels each way."""
    if not most:
        return images
    down, right = torch.randint(0, 2 * most + 1, (2,), generator=generator).tolist()
    side = images.shape[-1]
    return F.pad(images, [most] * 4)[..., down : down + side, right : right + side]


@torch.no_grad()
def accuracy(network: nn.Module, images: np.ndarray, labels: np.ndarray) -> float:
    """Share of `images` (N, 28, 28) that a network in training classifies rightly.

    Examples
    --------
    >>> from nvlib.checkpoints import CheckpointName, load_float
    >>> from nvlib.data import load_embedded
    >>> digits, network = load_embedded(), load_float(CheckpointName("embedded", "lenet5", None, 0))
    >>> accuracy(network, digits.test_images, digits.test_labels) > 0.95
    True
    """
    hits = 0
    for start in range(0, len(images), 1000):
        logits = network(to_tensor(images[start : start + 1000]))
        hits += int((logits.argmax(1).numpy() == labels[start : start + 1000]).sum())
    return hits / len(images)
