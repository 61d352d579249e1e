"""A chip that has several nonidealities at once, each at its own limit or at half of it.

Errors of independent sources add in squares, so four of them at half their limits are about as
bad as one at its own.
"""

from __future__ import annotations

import pandas as pd

from artifact.studies import common
from artifact.studies.nonidealities import cells, random_walk
from artifact.sweep import Point
from nvlib.chip import Chip
from nvlib.converters import Adc
from nvlib.devices import RangeVariation, StuckCells
from nvlib.hardware import Hardware

TOGETHER = ("range variation", "stuck cells", "read noise", "ADC INL")


def together_points(
    limits: pd.DataFrame, dataset: str, images: int, checkpoints: str = common.SHIPPED
) -> list[Point]:
    """Every precision and training seed: half of the limits, and all of them.

    Parameters
    ----------
    limits : DataFrame
        Of differential pairs and quantization-aware training.
    """
    rows = []
    default = limits[(limits["scheme"] == "differential") & (limits["training"] == "qat")]
    for precision in common.PRECISIONS:
        own = default[default["precision"] == precision].set_index("nonideality")["limit"]
        for seed in common.training_seeds(dataset, precision, checkpoints):
            for share in (0.5, 1.0):
                sizes = {name: float(f"{share * own[name]:.6g}") for name in TOGETHER}
                rows.append({"dataset": dataset, "precision": precision, "seed": seed,
                             "training": "qat", "share": share, **sizes, "images": images,
                             "checkpoints": checkpoints})  # fmt: skip
    return rows


def together_point(
    dataset: str, precision: str, seed: int, training: str, share: float, images: int,
    checkpoints: str, **sizes: float,
) -> Point:  # fmt: skip
    """Right answers of a chip that has all nonidealities of `TOGETHER` at once."""
    net = common.network(dataset, precision, seed, checkpoints, training)
    stuck = sizes["stuck cells"] / 2
    devices = cells(
        RangeVariation(sizes["range variation"]), StuckCells(stuck, stuck),
        noise=sizes["read noise"],
    )  # fmt: skip
    adc = Adc(bits=8, nonlinearity=random_walk("inl_lsb", sizes["ADC INL"]))
    pixels, labels = common.test_images(dataset, images)
    chip = Chip(net, Hardware(devices=devices, adc=adc), seed)
    return {"correct": common.correct(chip, pixels, labels)}
