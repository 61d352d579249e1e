"""Which codes of a converter occur, and how nonlinear it is among those alone.

The INL of a converter is its largest anywhere; a network sees only the part of the curve that its
column sums reach. A limit in LSB, times the share of the largest INL that occurs there, is the
limit referred to the input over the codes that occur.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from artifact.studies import common
from artifact.studies.nonidealities import random_walk
from artifact.sweep import Point
from nvlib.chip import Chip
from nvlib.converters import adc_transitions
from nvlib.hardware import Hardware
from nvlib.mapping import ArrayMapping

BITS = 8
#: Share of the conversions whose codes count as those that occur.
OCCUR = 0.999
DRAWS = 500


def points(searches: pd.DataFrame, images: int = 20) -> list[Point]:
    """A point for each precision, scheme and training whose ADC INL was searched."""
    found = searches[searches["nonideality"] == "ADC INL"]
    columns = ["dataset", "precision", "scheme", "training", "checkpoints"]
    rows = found[columns].drop_duplicates().to_dict("records")
    return [{**row, "images": images} for row in rows]  # type: ignore[dict-item]


def occurring_point(
    dataset: str, precision: str, scheme: str, training: str, images: int, checkpoints: str
) -> Point:
    """Code that all but a thousandth of the conversions stay below, and the share of INL there."""
    seed = common.training_seeds(dataset, precision, checkpoints, training)[0]
    net = common.network(dataset, precision, seed, checkpoints, training)
    pixels, _ = common.test_images(dataset, images)
    chip = Chip(net, Hardware(ArrayMapping(scheme=scheme)))
    found = [event.column_sums for event in chip.events(pixels, column_sums=True)]
    sums = np.zeros(max(len(part) for part in found if part is not None), np.int64)
    for part in found:
        assert part is not None
        sums[: len(part)] += part
    largest = int(np.searchsorted(np.cumsum(sums), OCCUR * sums.sum()))
    return {"largest_code": largest, "inl_share": round(inl_share(largest), 4)}


def inl_share(largest_code: int) -> float:
    """Largest INL of a random walk up to a code, over its largest anywhere: a mean of `DRAWS`.

    Examples
    --------
    >>> inl_share(2**BITS - 1) > 0.99, 0.1 < inl_share(20) < 0.5
    (True, True)
    """
    generator, ideal = np.random.default_rng(0), np.arange(2**BITS - 1) + 0.5
    walks = [
        np.abs(adc_transitions(BITS, random_walk("inl_lsb", 0.1), generator) - ideal)
        for _ in range(DRAWS)
    ]
    return float(np.mean([walk[: max(largest_code, 1)].max() / walk.max() for walk in walks]))


def referred(limits: pd.DataFrame, codes: pd.DataFrame) -> pd.DataFrame:
    """Limits of ADC INL in LSB, and over the codes that occur alone."""
    found = limits[limits["nonideality"] == "ADC INL"]
    both = found.merge(codes, on=["precision", "scheme", "training"])
    columns = ["scheme", "training", "precision", "limit", "largest_code", "inl_share"]
    return both.assign(limit_met=both["limit"] * both["inl_share"])[[*columns, "limit_met"]].rename(
        columns={"limit_met": "limit_over_codes_that_occur"}
    )
