"""Accuracy against precision: the whole W x A grid, and the studied precisions on a chip."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from artifact.checkpoints import CheckpointName, read_manifest
from artifact.paths import ROOT
from artifact.recipes import SEEDS
from artifact.statistics import mean_interval, wilson_interval
from artifact.studies import common
from artifact.sweep import Point
from nvlib.chip import Chip
from nvlib.converters import Adc
from nvlib.energy import AdcLaw, EnergyTable, inference_energy
from nvlib.hardware import Hardware
from nvlib.mapping import count_arrays
from nvlib.quantizers import MAX_BITS, Precision

#: Points below the floating-point network that the compromise may lose.
RULE_POINTS = 0.3


def grid_points(dataset: str, images: int, checkpoints: str = common.SHIPPED) -> list[Point]:
    """Every precision that has a checkpoint, at seed 0."""
    grid = [f"W{w}A{a}" for w in range(1, MAX_BITS + 1) for a in range(1, MAX_BITS + 1)]
    names = [name for name in grid if dataset == "mnist" or name in common.PRECISIONS]
    return [
        {"dataset": dataset, "precision": name, "seed": 0, "images": images,
         "checkpoints": checkpoints}
        for name in names
    ]  # fmt: skip


def seed_points(dataset: str, images: int, checkpoints: str = common.SHIPPED) -> list[Point]:
    """The studied precisions, for every training seed that has a checkpoint."""
    manifest = read_manifest(ROOT / checkpoints)
    return [
        {"dataset": dataset, "precision": name, "seed": seed, "images": images,
         "checkpoints": checkpoints}
        for name in common.PRECISIONS
        for seed in SEEDS
        if CheckpointName(
            dataset, "lenet5", Precision.parse(name), seed).path.as_posix() in manifest
    ]  # fmt: skip


def cost_points(
    dataset: str, images: int, cost_images: int, checkpoints: str = common.SHIPPED
) -> list[Point]:
    """Every precision of the grid, as `cost_point` takes them."""
    return [
        point | {"cost_images": cost_images} for point in grid_points(dataset, images, checkpoints)
    ]


def cost_point(
    dataset: str, precision: str, seed: int, images: int, cost_images: int, checkpoints: str
) -> Point:
    """What one inference costs with the coarsest converters that the precision tolerates.

    Converters lose bits until accuracy is more than one point below the integer network's;
    full scales are calibrated anew for each resolution. Energy is without sparsity processing.
    """
    net = common.network(dataset, precision, seed, checkpoints)
    pixels, labels = common.test_images(dataset, images)
    ideal = int((net.predict(pixels) == labels).sum())
    enough = 8
    for bits in range(5, 0, -1):
        hardware = common.calibrated(net, Hardware(adc=Adc(bits=bits)), dataset)
        if 100 * (ideal - common.correct(Chip(net, hardware), pixels, labels)) > images:
            break
        enough = bits
    hardware = common.calibrated(net, Hardware(adc=Adc(bits=enough)), dataset)
    events = Chip(net, hardware).events(pixels[:cost_images])
    energy = inference_energy(events, (), enough, AdcLaw(), EnergyTable.load())
    counts = [
        count_arrays(layer.spec.rows, layer.spec.outputs, net.precision, hardware.mapping)
        for layer in net.layers
    ]
    return {
        "adc_bits": enough, "energy_nj": sum(energy.values()) / 1000,
        "arrays": sum(count.arrays for count in counts),
        "cells": sum(count.cells for count in counts),
    }  # fmt: skip


def choices(grid: pd.DataFrame, costs: pd.DataFrame) -> pd.DataFrame:
    """Accuracy (percent) and cost of every precision in one table, by precision."""
    accuracy = (100 * grid["correct"] / grid["images"]).set_axis(grid["precision"])
    wanted = ["adc_bits", "energy_nj", "arrays", "cells"]
    return costs.set_index("precision")[wanted].assign(accuracy=accuracy)


def front(table: pd.DataFrame, cost: str) -> pd.DataFrame:
    """Pareto front: what no other precision beats in both accuracy and `cost`, cheapest first.

    Examples
    --------
    >>> table = pd.DataFrame({"accuracy": [99.0, 98.0, 97.0], "energy_nj": [5.0, 1.0, 2.0]},
    ...                      index=["W8A8", "W4A3", "W3A3"])
    >>> list(front(table, "energy_nj").index)
    ['W4A3', 'W8A8']
    """
    ordered = table.sort_values([cost, "accuracy"], ascending=[True, False])
    best = ordered["accuracy"].cummax().shift(fill_value=-np.inf)
    return ordered[ordered["accuracy"] > best]


def cheapest(table: pd.DataFrame, within: float, reference: float, cost: str = "energy_nj") -> str:
    """The precision of least cost whose accuracy is at most `within` points below `reference`.

    Examples
    --------
    >>> table = pd.DataFrame({"accuracy": [99.0, 98.0], "energy_nj": [5.0, 1.0]},
    ...                      index=["W8A8", "W4A3"])
    >>> cheapest(table, 0.3, 99.2), cheapest(table, 2.0, 99.2), cheapest(table, 0.1, 99.2)
    ('W8A8', 'W4A3', 'none')
    """
    good = table[table["accuracy"] >= reference - within]
    return str(good[cost].idxmin()) if len(good) else "none"


def knee(table: pd.DataFrame, cost: str = "energy_nj") -> str:
    """The point of the Pareto front farthest above the chord between its ends.

    Accuracy against ln(cost), both scaled to 1 over the front (Satopaa et al. 2011).
    """
    line = front(table, cost)
    x, y = np.log(line[cost].to_numpy()), line["accuracy"].to_numpy()
    if len(line) < 3:
        return str(line.index[-1])
    rise = (y - y[0]) / (y[-1] - y[0]) - (x - x[0]) / (x[-1] - x[0])
    return str(line.index[int(rise.argmax())])


def utility(table: pd.DataFrame, points_per_halving: float) -> str:
    """The precision of the largest accuracy - w log2(energy), w in points per halving."""
    worth = table["accuracy"] - points_per_halving * np.log2(table["energy_nj"])
    return str(worth.idxmax())


def weights_that_choose(table: pd.DataFrame, name: str) -> str:
    """Range of the weight w of `utility`, in points per halving, for which it picks `name`."""
    weights = np.geomspace(0.001, 10, 401)
    picked = [w for w in weights if utility(table, w) == name]
    return f"{min(picked):.2g} to {max(picked):.2g}" if picked else "no weight"


def rules(table: pd.DataFrame, reference: float) -> pd.DataFrame:
    """What each rule of decision picks, from the whole grid and from the studied precisions.

    Parameters
    ----------
    table : DataFrame
        From `choices`.
    reference : float
        Accuracy of the floating-point network, percent.
    """
    studied = table.loc[[name for name in common.PRECISIONS if name in table.index]]

    def both(rule: str, pick: Callable[[pd.DataFrame], str]) -> dict[str, str]:
        return {"rule": rule, "of the grid": pick(table), "of the studied": pick(studied)}

    return pd.DataFrame([
        both(f"least energy within {RULE_POINTS:g} points of float (stated)",
             lambda t: cheapest(t, RULE_POINTS, reference)),
        both("least energy within 0.1 points", lambda t: cheapest(t, 0.1, reference)),
        both(f"fewest cells within {RULE_POINTS:g} points",
             lambda t: cheapest(t, RULE_POINTS, reference, "cells")),
        both("knee of the front, accuracy against energy", knee),
        both("knee of the front, accuracy against cells", lambda t: knee(t, "cells")),
        both("most accuracy per joule", lambda t: str((t["accuracy"] / t["energy_nj"]).idxmax())),
        both("least error x energy",
             lambda t: str(((100 - t["accuracy"]) * t["energy_nj"]).idxmin())),
        both("utility, 0.1 points per halving of energy", lambda t: utility(t, 0.1)),
        both("weights (points per halving) for which utility picks W4A3",
             lambda t: weights_that_choose(t, "W4A3")),
    ])  # fmt: skip


def quantized_point(
    dataset: str, precision: str, seed: int, images: int, checkpoints: str
) -> Point:
    """Right answers of the integer network, without hardware."""
    pixels, labels = common.test_images(dataset, images)
    classes = common.network(dataset, precision, seed, checkpoints).predict(pixels)
    return {"correct": int((classes == labels).sum())}


def chip_point(dataset: str, precision: str, seed: int, images: int, checkpoints: str) -> Point:
    """Right answers of an ideal chip whose converters have the precision's own resolution."""
    net = common.network(dataset, precision, seed, checkpoints)
    hardware = common.default_hardware(net, dataset)
    pixels, labels = common.test_images(dataset, images)
    answers = common.correct(Chip(net, hardware), pixels, labels)
    return {"adc_bits": hardware.adc.bits, "correct": answers}


def by_engine(**tables: pd.DataFrame) -> pd.DataFrame:
    """Tables of right answers in one, told apart by the column `engine`."""
    parts = [table.assign(engine=name.replace("_", " ")) for name, table in tables.items()]
    return pd.concat(parts, ignore_index=True)


def seed_summary(seeds: pd.DataFrame) -> pd.DataFrame:
    """Mean, spread and 95 % interval of the accuracy in percent, by precision and engine."""
    rows = []
    for (precision, engine), group in seeds.groupby(["precision", "engine"], sort=False):
        shares = (100 * group["correct"] / group["images"]).to_numpy()
        if len(shares) > 1:
            lower, upper = mean_interval(shares)
        else:
            hits, trials = int(group["correct"].iloc[0]), int(group["images"].iloc[0])
            lower, upper = (100 * bound for bound in wilson_interval(hits, trials))
        rows.append(
            {"precision": precision, "engine": engine, "seeds": len(shares),
             "images": int(group["images"].iloc[0]), "mean (%)": shares.mean(),
             "spread (points)": shares.std(ddof=1) if len(shares) > 1 else float("nan"),
             "lower (%)": lower, "upper (%)": upper}
        )  # fmt: skip
    return pd.DataFrame(rows)


def float_accuracy(dataset: str, checkpoints: str = common.SHIPPED) -> float:
    """Test accuracy of the floating-point network of seed 0, as its manifest records it."""
    name = CheckpointName(dataset, "lenet5", None, 0).path.as_posix()
    return float(read_manifest(ROOT / checkpoints)[name]["test_accuracy"])
