"""Accuracy against precision and recipe: the W x A grid, and the studied precisions on a chip."""

from __future__ import annotations

import numpy as np
import pandas as pd

from artifact.checkpoints import CheckpointName, read_manifest
from artifact.paths import ROOT
from artifact.recipes import SEEDS
from artifact.statistics import mean_interval, wilson_interval
from artifact.studies import common
from artifact.sweep import Point
from nvlib.chip import Chip
from nvlib.quantizers import MAX_BITS, Precision

#: How a network came to its codes, from the weakest to the strongest.
RECIPES = ("ptq", "plain", "qat")
#: Bits up to which networks quantized after training are looked at with every seed.
KNEE_BITS = 5


def shipped(
    dataset: str, training: str, checkpoints: str = common.SHIPPED
) -> list[tuple[str, int]]:
    """Precision and seed of every network of a recipe that has a checkpoint.

    The scales of networks quantized after training give every precision; beyond the knee one seed
    is enough, for there they no longer differ.
    """
    grid = [Precision(w, a) for w in range(1, MAX_BITS + 1) for a in range(1, MAX_BITS + 1)]
    manifest = read_manifest(ROOT / checkpoints)

    def there(precision: Precision | None, seed: int) -> bool:
        name = CheckpointName(dataset, "lenet5", precision, seed, training)
        return name.path.as_posix() in manifest

    if training == "ptq":
        low = [p for p in grid if max(p.weight_bits, p.activation_bits) <= KNEE_BITS]
        seeds = [seed for seed in SEEDS if there(None, seed)]
        low.append(Precision(MAX_BITS, MAX_BITS))
        return [(str(p), seed) for p in grid for seed in (seeds if p in low else seeds[:1])]
    return [(str(p), seed) for p in grid for seed in SEEDS if there(p, seed)]


def grid_points(dataset: str, images: int, checkpoints: str = common.SHIPPED) -> list[Point]:
    """Every network of every recipe, and the float networks that they come from."""
    networks = [
        (training, *network)
        for training in RECIPES
        for network in shipped(dataset, training, checkpoints)
    ]
    networks += [
        (training, "float", seed)
        for training in ("plain", "qat")
        for seed in sorted({s for kind, _, s in networks if kind == training})
    ]
    return [
        {"dataset": dataset, "precision": precision, "seed": seed, "images": images,
         "checkpoints": checkpoints, "training": training}
        for training, precision, seed in networks
    ]  # fmt: skip


def seed_points(
    dataset: str, images: int, checkpoints: str = common.SHIPPED,
    trainings: tuple[str, ...] = ("qat",),
) -> list[Point]:  # fmt: skip
    """The studied precisions, for every training seed that has a checkpoint."""
    return [
        {"dataset": dataset, "precision": precision, "seed": seed, "images": images,
         "checkpoints": checkpoints, "training": training}
        for training in trainings
        for precision, seed in sorted(
            shipped(dataset, training, checkpoints),
            key=lambda network: (_place(network[0]), network[1]),
        )
        if precision in common.PRECISIONS
    ]  # fmt: skip


def _place(precision: str) -> int:
    return common.PRECISIONS.index(precision) if precision in common.PRECISIONS else -1


def quantized_point(
    dataset: str, precision: str, seed: int, images: int, checkpoints: str, training: str = "qat"
) -> Point:
    """Right answers of the float or the integer network, without hardware."""
    pixels, labels = common.test_images(dataset, images)
    classes = common.classes(dataset, precision, seed, training, checkpoints, pixels)
    return {"correct": int((classes == labels).sum())}


def chip_point(
    dataset: str, precision: str, seed: int, images: int, checkpoints: str, training: str = "qat"
) -> Point:
    """Right answers of an ideal chip whose converters have the precision's own resolution."""
    net = common.network(dataset, precision, seed, checkpoints, training)
    hardware = common.default_hardware(net, dataset)
    pixels, labels = common.test_images(dataset, images)
    answers = common.correct(Chip(net, hardware), pixels, labels)
    return {"adc_bits": hardware.adc.bits, "correct": answers}


def by_engine(**tables: pd.DataFrame) -> pd.DataFrame:
    """Tables of right answers in one, told apart by the column `engine`."""
    parts = [table.assign(engine=name.replace("_", " ")) for name, table in tables.items()]
    return pd.concat(parts, ignore_index=True)


def seed_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Mean, spread over training seeds and 95 % interval of the accuracy (%), by recipe.

    The interval of several seeds is of their mean (Student's t); of one seed it is over test
    images (Wilson). Groups are by the columns training, precision and, where there, engine.
    """
    keys = [name for name in ("training", "precision", "engine") if name in table]
    rows = []
    for key, group in table.groupby(keys, sort=False):
        shares = (100 * group["correct"] / group["images"]).to_numpy()
        if len(shares) > 1:
            lower, upper = mean_interval(shares)
        else:
            hits, trials = int(group["correct"].iloc[0]), int(group["images"].iloc[0])
            lower, upper = (100 * bound for bound in wilson_interval(hits, trials))
        rows.append(
            dict(zip(keys, key, strict=True)) |
            {"seeds": len(shares), "images": int(group["images"].iloc[0]),
             "mean (%)": shares.mean(),
             "spread (points)": shares.std(ddof=1) if len(shares) > 1 else float("nan"),
             "lower (%)": lower, "upper (%)": upper}
        )  # fmt: skip
    return pd.DataFrame(rows)


def explains(table: pd.DataFrame, paper: float, precision: str = "W4A3") -> pd.DataFrame:
    """Which recipe gives the paper's accuracy (%) at a precision, by measured spread.

    A recipe does if the paper is within two standard deviations of its mean, where a deviation is
    that of its training seeds and, independently, that of so many test images. `passing` of
    `among` precisions of the recipe would pass the same test: if many do, it says little.

    Returns
    -------
    DataFrame
        By recipe: seeds, images, mean, spread, tolerance, distance, explains, passing, among.
    """
    summary = seed_summary(table[table["precision"] != "float"]).set_index("training")
    rows = []
    for training in summary.index.unique():
        of_recipe = summary.loc[[training]]
        row = of_recipe[of_recipe["precision"] == precision].iloc[0]
        share, spread = row["mean (%)"], row["spread (points)"]
        images_sd = 100 * np.sqrt(share / 100 * (1 - share / 100) / row["images"])
        tolerance = 2 * np.hypot(0.0 if np.isnan(spread) else spread, images_sd)
        inside = (of_recipe["mean (%)"] - paper).abs() <= tolerance
        rows.append(
            {"training": training, "seeds": row["seeds"], "images": row["images"],
             "mean (%)": share, "spread (points)": spread, "lower (%)": row["lower (%)"],
             "upper (%)": row["upper (%)"], "tolerance (points)": tolerance,
             "distance (points)": share - paper, "explains": abs(share - paper) <= tolerance,
             "passing": int(inside.sum()), "among": len(of_recipe)}
        )  # fmt: skip
    return pd.DataFrame(rows)
