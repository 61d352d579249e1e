"""Accuracy against one imperfection at a time, and the largest one that is tolerated.

All chips are alike but for the precision and the imperfection: 128 x 128
arrays of 1-bit cells, bit-serial inputs, converters of 8 bits that lose
nothing. Chip number k has the same random numbers at every size of the
imperfection, so curves are smooth and comparisons sharp.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from nvlib.arrays import Hardware
from nvlib.chip import Chip
from nvlib.converters import Adc, Nonlinearity
from nvlib.devices import (
    DeviceModel,
    ProportionalVariation,
    RangeVariation,
    ReadNoise,
    StuckCells,
)
from nvlib.statistics import mean_interval
from nvlib.studies import common
from nvlib.sweep import Point

ADC_BITS = 8


def _cells(effect) -> Hardware:
    return Hardware(devices=DeviceModel(effects=(effect,)), adc=Adc(bits=ADC_BITS))


def _adc(nonlinearity: Nonlinearity) -> Hardware:
    return Hardware(adc=Adc(bits=ADC_BITS, nonlinearity=nonlinearity))


#: Imperfections of the cells: unit, sizes from none upwards, and the hardware of a size.
DEVICE_KINDS: dict[str, tuple[str, tuple[float, ...], Callable[[float], Hardware]]] = {
    "proportional variation": (
        "sigma / G", (0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8),
        lambda size: _cells(ProportionalVariation(size)),
    ),
    "range variation": (
        "sigma / (G_on - G_off)", (0.0, 0.02, 0.04, 0.06, 0.09, 0.12, 0.16),
        lambda size: _cells(RangeVariation(size)),
    ),
    "stuck cells": (
        "share, half on, half off", (0.0, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08),
        lambda size: _cells(StuckCells(size / 2, size / 2)),
    ),
    "read noise": (
        "sigma / (G_on - G_off)", (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4),
        lambda size: Hardware(
            devices=DeviceModel(read_noise=ReadNoise(size)), adc=Adc(bits=ADC_BITS)
        ),
    ),
}  # fmt: skip
#: Imperfections of the converters, in LSB of 8 bits over 255 cells.
CONVERTER_KINDS: dict[str, tuple[str, tuple[float, ...], Callable[[float], Hardware]]] = {
    "INL": (
        "LSB", (0.0, 0.5, 1.0, 2.0, 3.0, 4.5, 6.0),
        lambda size: _adc(Nonlinearity(inl_lsb=size, shape="random-walk")),
    ),
    "DNL": (
        "LSB", (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0),
        lambda size: _adc(Nonlinearity(dnl_lsb=size, monotone=False)),
    ),
}  # fmt: skip
KINDS = DEVICE_KINDS | CONVERTER_KINDS


def points(
    kinds: dict, dataset: str, images: int, chips: int, checkpoints: str = common.SHIPPED
) -> list[Point]:
    """Every precision at every size of every imperfection."""
    return [
        {"dataset": dataset, "precision": precision, "kind": kind, "size": size,
         "images": images, "chips": chips, "checkpoints": checkpoints}
        for kind, (_, sizes, _) in kinds.items()
        for size in sizes
        for precision in common.PRECISIONS
    ]  # fmt: skip


def point(
    dataset: str,
    precision: str,
    kind: str,
    size: float,
    images: int,
    chips: int,
    checkpoints: str,
) -> Point:
    """Right answers of each of `chips` chips, as a list written in one string."""
    net = common.network(dataset, precision, 0, checkpoints)
    hardware = KINDS[kind][2](size)
    pixels, labels = common.test_images(dataset, images)
    seeds = range(chips if size else 1)  # without imperfection all chips are one
    answers = [common.correct(Chip(net, hardware, seed), pixels, labels) for seed in seeds]
    return {"correct": " ".join(map(str, answers))}


def losses(table: pd.DataFrame) -> pd.DataFrame:
    """Mean loss of accuracy against the same precision's ideal chip, with its 95 % interval.

    Returns
    -------
    DataFrame
        Columns precision, kind, size, accuracy, lower, upper (shares) and loss (points).
    """
    rows = []
    ideal = {
        (row.precision, row.kind): int(row.correct)
        for row in table[table["size"] == 0].itertuples()
    }
    for row in table.itertuples():
        shares = np.array(str(row.correct).split(), float) / row.images
        lower, upper = mean_interval(shares) if len(shares) > 1 else (shares[0], shares[0])
        best = ideal[row.precision, row.kind] / row.images
        rows.append(
            {"precision": row.precision, "kind": row.kind, "size": row.size,
             "accuracy": shares.mean(), "lower": lower, "upper": upper,
             "loss": 100 * (best - shares.mean()), "loss_upper": 100 * (best - lower),
             "loss_lower": 100 * (best - upper), "chips": len(shares), "images": row.images}
        )  # fmt: skip
    return pd.DataFrame(rows)


def limits(table: pd.DataFrame, delta: float = 1.0) -> pd.DataFrame:
    """Largest size whose mean loss is at most `delta` points, interpolated between points.

    Returns
    -------
    DataFrame
        Columns precision, nonideality, unit, limit, lower, upper, chips, images, delta_points.
        `lower` and `upper` are where the bounds of the mean's 95 % interval cross `delta`; a limit
        beyond the largest size is that size, and `bound` then says ">".
    """
    if not delta > 0:
        raise ValueError(f"delta: expected points above 0, received {delta!r}; choose one")
    curves = losses(table)
    rows = []
    for (kind, precision), curve in curves.groupby(["kind", "precision"], sort=False):
        sizes = curve["size"].to_numpy()
        crossing = {
            name: _crossing(sizes, curve[name].to_numpy(), delta)
            for name in ("loss", "loss_upper", "loss_lower")
        }
        tested = crossing["loss"] < sizes[-1]
        rows.append(
            {"precision": precision, "nonideality": kind, "unit": KINDS[str(kind)][0],
             "bound": "=" if tested else ">", "limit": crossing["loss"],
             "lower": crossing["loss_upper"], "upper": crossing["loss_lower"],
             "chips": int(curve["chips"].max()), "images": int(curve["images"].max()),
             "delta_points": delta}
        )  # fmt: skip
    return pd.DataFrame(rows)


def compare(table: pd.DataFrame, high: str, low: str, delta: float = 1.0) -> pd.DataFrame:
    """Whether the limit of precision `high` is stricter than that of `low`, chip by chip.

    Chip k has the same random numbers at both precisions, so the limits of single chips are
    compared in pairs; what is common to the pair drops out.

    Returns
    -------
    DataFrame
        Columns kind, difference, lower, upper (95 % interval of the mean difference of limits,
        `high` minus `low`) and order: "stricter", "looser" or "undecided".
    """
    rows = []
    for kind, part in table.groupby("kind", sort=False):
        found = {}
        for name in (high, low):
            curve = part[part["precision"] == name].sort_values("size")
            answers = [np.array(str(c).split(), float) for c in curve["correct"]]
            chips = max(map(len, answers))
            shares = np.array([np.resize(a, chips) for a in answers]) / curve["images"].iloc[0]
            loss = 100 * (shares[0] - shares)  # (sizes, chips)
            sizes = curve["size"].to_numpy()
            found[name] = np.array([_crossing(sizes, loss[:, k], delta) for k in range(chips)])
        difference = found[high] - found[low]
        lower, upper = mean_interval(difference)
        order = "stricter" if upper < 0 else "looser" if lower > 0 else "undecided"
        rows.append(
            {"kind": kind, "difference": difference.mean(), "lower": lower, "upper": upper,
             "order": order}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _crossing(sizes: np.ndarray, loss: np.ndarray, delta: float) -> float:
    """First size at which `loss` exceeds `delta`, by linear interpolation."""
    beyond = np.flatnonzero(loss > delta)
    if not len(beyond):
        return float(sizes[-1])
    i = int(beyond[0])
    if i == 0:
        return float(sizes[0])
    share = (delta - loss[i - 1]) / (loss[i] - loss[i - 1])
    return float(sizes[i - 1] + share * (sizes[i] - sizes[i - 1]))
