"""Training of a torch network, in place."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from nvlib.checks import require


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


def _shifted(images: torch.Tensor, most: int, generator: torch.Generator) -> torch.Tensor:
    """Images translated together, by up to `most` pixels each way."""
    if not most:
        return images
    down, right = torch.randint(0, 2 * most + 1, (2,), generator=generator).tolist()
    side = images.shape[-1]
    return F.pad(images, [most] * 4)[..., down : down + side, right : right + side]
