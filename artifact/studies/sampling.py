"""Which test images a trial reads: more of the hard ones, weighted so that means stay unbiased.

Nearly all that a chip loses, it loses on images that the ideal network barely gets right: of the
loss to device variation, 39 to 70 % falls on the twentieth of the images with the smallest margin,
and 1 % or less on the easier half. Margin is the largest minus the second largest output of the
ideal (integer) network, here the mean over the training seeds of W8A8, so that all precisions and
recipes read the same images: with each network's own margin the variance would be a tenth
smaller, and the comparison of two networks blunter.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from artifact.paths import POINTS
from artifact.studies import common
from artifact.sweep import Point, cached

#: Upper edge of each stratum, as a share of the images by ascending margin, and the share of
#: a trial's images that it gets: roughly its size times the spread of the losses in it (Neyman
#: 1934), as measured at limits of several kinds.
EDGES = (0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
SHARES = (0.3, 0.15, 0.19, 0.13, 0.13, 0.1)
#: Images of a trial: making a chip costs as much as reading 50 to 100, and with more of them the
#: spread between chips prevails.
IMAGES = 100


@dataclass(frozen=True, eq=False)
class Sample:
    """Test images of one trial.

    Attributes
    ----------
    chosen : ndarray of int
        Numbers of test images.
    weights : ndarray
        Share of all test images that each stands for: the inverse of its chance to be chosen,
        over their number (Horvitz and Thompson 1952).
    """

    chosen: np.ndarray
    weights: np.ndarray


def strata(order: np.ndarray) -> list[np.ndarray]:
    """Images in ascending order of margin, cut at `EDGES`.

    Examples
    --------
    >>> [len(part) for part in strata(np.arange(200))]
    [10, 10, 20, 20, 40, 100]
    """
    cuts = [round(edge * len(order)) for edge in EDGES[:-1]]
    return np.split(order, cuts)


def draw(order: np.ndarray, images: int, generator: np.random.Generator) -> Sample:
    """A simple random sample of each stratum; what one has not is drawn from those after it.

    Parameters
    ----------
    order : ndarray of int
        All images, those of the smallest margin first.
    images : int
        How many to draw, at least one of each stratum.

    Examples
    --------
    >>> sample = draw(np.arange(1000), 100, np.random.default_rng(0))
    >>> len(sample.chosen), round(float(sample.weights.sum()), 9)
    (100, 1.0)
    """
    parts = strata(order)
    if not len(SHARES) <= images <= len(order) or not all(map(len, parts)):
        raise ValueError(
            f"images: expected {len(SHARES)} or more, of at least 20 and as many, received "
            f"{images} of {len(order)}; choose others"
        )
    counts = np.maximum(np.floor(np.array(SHARES) * images).astype(int), 1)
    counts[0] += images - counts.sum()
    chosen, weights, left = [], [], 0
    for part, share in zip(parts, counts, strict=True):
        count = min(share + left, len(part))
        left += share - count
        chosen.append(generator.choice(part, count, replace=False))
        weights.append(np.full(count, len(part) / count / len(order)))
    return Sample(np.concatenate(chosen), np.concatenate(weights))


def margins(dataset: str, seed: int, checkpoints: str) -> Point:
    """Margin of every test image at W8A8, largest minus second largest output."""
    net = common.network(dataset, "W8A8", seed, checkpoints)
    pixels, _ = common.test_images(dataset, None)
    best = np.sort(net.logits(pixels), axis=1)[:, -2:]
    return {"margins": (best[:, 1] - best[:, 0]).round(4).tolist()}


@lru_cache(maxsize=4)
def hardest_first(dataset: str, checkpoints: str) -> np.ndarray:
    """Test images by ascending mean margin over the training seeds."""
    points = [
        {"dataset": dataset, "seed": seed, "checkpoints": checkpoints}
        for seed in common.training_seeds(dataset, "W8A8", checkpoints)
    ]
    found = [cached(margins, point, POINTS / "margins")["margins"] for point in points]
    return np.argsort(np.mean(found, axis=0), kind="stable")


def of_trial(dataset: str, seed: int, trial: int, images: int, checkpoints: str) -> Sample:
    """Images of a trial: the same at every precision, recipe, scheme and size."""
    generator = np.random.default_rng((seed, trial))
    return draw(hardest_first(dataset, checkpoints), images, generator)
