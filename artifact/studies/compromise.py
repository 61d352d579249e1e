"""Accuracy and energy of one and the same chip, for the choice of a precision.

The converters' bits are chosen on training images, accuracy is that of test images, and energy is
counted on that very chip.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from artifact import data
from artifact.studies import common, precision
from artifact.sweep import Point
from nvlib import Adc, ArrayMapping, Chip, Hardware
from nvlib.cost import cost
from nvlib.energy import AdcLaw, EnergyTable, inference_energy
from nvlib.mapping import count_arrays
from nvlib.sparsity import ALL_POLICIES

SCHEMES = ("differential", "offset", "twos-complement")
#: Bits of converters that are read; 1-bit cells of 128 rows lose nothing in converters of 8.
READ_BITS = (3, 4, 5, 6)
LOSSLESS_BITS = 8
#: Precisions that are put on chips: those around the knee, and two above it.
AROUND = (*(f"W{w}A{a}" for w in (2, 3, 4, 5) for a in (2, 3, 4)), "W6A6", "W8A8")
#: Points that converters may lose on training images.
CONVERTER_LOSS = 0.1
#: Points below floating point that a choice may lose.
TOLERANCES = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
BLOCKS = 10  # of test images, resampled by the bootstrap
RIGHT = [f"right {block}" for block in range(BLOCKS)]
SAMPLES = 1000


def points(
    dataset: str, images: int, bits_images: int, cost_images: int, seeds: int = 1,
    checkpoints: str = common.SHIPPED,
) -> list[Point]:  # fmt: skip
    """Networks around the knee under every recipe and scheme, and the float networks."""
    found = []
    for training in precision.RECIPES:
        networks = [
            network for network in precision.shipped(dataset, training, checkpoints)
            if network[0] in AROUND and network[1] < seeds
        ]  # fmt: skip
        floats = [("float", seed) for seed in sorted({seed for _, seed in networks})]
        found += [
            {"dataset": dataset, "training": training, "scheme": scheme, "precision": name,
             "seed": seed, "images": images, "bits_images": bits_images,
             "cost_images": cost_images, "checkpoints": checkpoints}
            for name, seed in networks + floats
            for scheme in (SCHEMES if name != "float" else SCHEMES[:1])
        ]  # fmt: skip
    return found


def point(
    dataset: str, training: str, scheme: str, precision: str, seed: int, images: int,
    bits_images: int, cost_images: int, checkpoints: str,
) -> Point:  # fmt: skip
    """A network with converters of each resolution: accuracy and energy of each such chip.

    Converters of 8 bits lose nothing on 128 rows of 1-bit cells, so their chip says what the
    integer network says, to the last bit.
    """
    pixels, labels = common.test_images(dataset, images)

    def blocks(classes: np.ndarray) -> Point:
        right = np.array_split(classes == labels, BLOCKS)
        return {name: int(part.sum()) for name, part in zip(RIGHT, right, strict=True)}

    if precision == "float":
        classes = common.classes(dataset, precision, seed, training, checkpoints, pixels)
        return {"results": [{"bits": 0} | blocks(classes)]}
    net = common.network(dataset, precision, seed, checkpoints, training)
    digits, table, law = data.load(dataset), EnergyTable.load(), AdcLaw()
    seen, answers = digits.train_images[-bits_images:], digits.train_labels[-bits_images:]
    mapping = ArrayMapping(scheme=scheme)
    specs = [layer.spec for layer in net.layers]
    counts = [count_arrays(s.rows, s.outputs, net.precision, mapping) for s in specs]
    results = []
    for bits in (*READ_BITS, LOSSLESS_BITS):
        hardware = Hardware(mapping, adc=Adc(bits=bits))
        if bits < LOSSLESS_BITS:
            hardware = common.calibrated(net, hardware, dataset)
        chip = Chip(net, hardware)
        read = net if bits == LOSSLESS_BITS else chip
        events = chip.events(pixels[:cost_images])
        plain, sparse = (
            sum(inference_energy(events, policies, bits, law, table).values()) / 1000
            for policies in ((), ALL_POLICIES)
        )
        whole = cost(chip, events).iloc[-1]
        results.append(
            {"bits": bits, "train_right": int((read.predict(seen) == answers).sum()),
             "energy_nj": plain, "sparse_nj": sparse,
             "cells": sum(count.cells for count in counts), "area_mm2": float(whole["area_mm2"]),
             "latency_us": float(whole["latency_us"])} | blocks(read.predict(pixels))
        )  # fmt: skip
    return {"results": results}


def tidy(table: pd.DataFrame) -> pd.DataFrame:
    """One row for each chip: network, scheme and converter bits; its right answers by block."""
    keys = [name for name in table.columns if name not in ("results", "checkpoints")]
    return pd.DataFrame(
        [{key: row[key] for key in keys} | result
         for row in table.to_dict("records") for result in row["results"]]
    )  # fmt: skip


def least_bits(chips: pd.DataFrame, loss: float = CONVERTER_LOSS) -> pd.DataFrame:
    """Of each network the chip of the coarsest converters that lose at most `loss` points.

    Loss is on training images, against converters that lose nothing.
    """
    chips = chips[chips["precision"] != "float"]
    keys = ["training", "scheme", "precision", "seed"]
    best = chips[chips["bits"] == LOSSLESS_BITS].set_index(keys)["train_right"]
    whole = best.reindex(pd.MultiIndex.from_frame(chips[keys])).to_numpy()
    fine = chips[100 * (whole - chips["train_right"]) <= loss * chips["bits_images"]]
    return fine.loc[fine.groupby(keys, sort=False)["bits"].idxmin()].reset_index(drop=True)


def accuracy(rows: pd.DataFrame, blocks: list[str] = RIGHT) -> pd.Series:
    """Accuracy in percent, of the test images of some blocks."""
    return 100 * rows[blocks].sum(axis=1) / (rows["images"] * len(blocks) / BLOCKS)


def choices(chips: pd.DataFrame, training: str, scheme: str) -> pd.DataFrame:
    """Mean over training seeds by precision, at its least bits: accuracy, and every cost."""
    fine = least_bits(chips)
    fine = fine[(fine["training"] == training) & (fine["scheme"] == scheme)]
    fine = fine.assign(accuracy=accuracy(fine)).rename(columns={"bits": "adc_bits"})
    wanted = ["adc_bits", "energy_nj", "cells", "area_mm2", "latency_us", "accuracy"]
    return fine.groupby("precision", sort=False)[wanted].mean()


def reference(chips: pd.DataFrame, training: str) -> float:
    """Accuracy (%) of the float networks of a recipe on the same test images, mean over seeds."""
    rows = chips[(chips["precision"] == "float") & (chips["training"] == training)]
    return float(accuracy(rows).mean())


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


Rule = Callable[[pd.DataFrame, float], str]


def _within(tolerance: float) -> Rule:
    return lambda table, most: cheapest(table, tolerance, most)


#: How one may decide, by name: (choices, accuracy of floating point) -> a precision.
RULES: dict[str, Rule] = {
    **{f"least energy within {t:g} points of float": _within(t) for t in TOLERANCES},
    "fewest cells within 0.5 points of float":
        lambda table, most: cheapest(table, 0.5, most, "cells"),
    "least area within 0.5 points of float":
        lambda table, most: cheapest(table, 0.5, most, "area_mm2"),
    "least latency within 0.5 points of float":
        lambda table, most: cheapest(table, 0.5, most, "latency_us"),
    "knee of the front, accuracy against energy": lambda table, _: knee(table),
    "knee of the front, accuracy against cells": lambda table, _: knee(table, "cells"),
    "least error x energy":
        lambda table, _: str(((100 - table["accuracy"]) * table["energy_nj"]).idxmin()),
    "utility, 0.1 points per halving of energy": lambda table, _: utility(table, 0.1),
    "utility, 0.5 points per halving of energy": lambda table, _: utility(table, 0.5),
}  # fmt: skip


def rules(chips: pd.DataFrame) -> pd.DataFrame:
    """What each rule picks under each recipe and scheme: columns training, scheme, rule, pick."""
    groups = chips[chips["precision"] != "float"].groupby(["training", "scheme"], sort=False)
    rows = []
    for training, scheme in groups.groups:
        table, most = choices(chips, training, scheme), reference(chips, training)
        rows += [
            {"training": training, "scheme": scheme, "rule": rule, "pick": pick(table, most)}
            for rule, pick in RULES.items()
        ]
    return pd.DataFrame(rows)


def certainty(chips: pd.DataFrame, samples: int = SAMPLES, seed: int = 0) -> pd.DataFrame:
    """How often each precision is the cheapest within a tolerance, by bootstrap.

    Training seeds and blocks of test images are drawn with replacement, the same for all
    precisions and for the float network that they are measured against.

    Returns
    -------
    DataFrame
        By recipe, scheme and tolerance (points): precision, share of the samples that pick it.
    """
    fine, generator, rows = least_bits(chips), np.random.default_rng(seed), []
    for (training, scheme), group in fine.groupby(["training", "scheme"], sort=False):
        floats = chips[(chips["precision"] == "float") & (chips["training"] == training)]
        seeds = sorted(set(group["seed"]))
        names = [name for name, part in group.groupby("precision", sort=False)
                 if set(part["seed"]) == set(seeds)]  # fmt: skip
        indexed = group.set_index(["precision", "seed"])
        right = np.stack([indexed.loc[name].loc[seeds, RIGHT] for name in [*names]])  # (P, S, B)
        most = floats.set_index("seed").loc[seeds, RIGHT].to_numpy()  # (S, B)
        energy = np.array([indexed.loc[name]["energy_nj"].mean() for name in names])
        images = group["images"].iloc[0] / BLOCKS
        picks: dict[float, list[str]] = {tolerance: [] for tolerance in TOLERANCES}
        for _ in range(samples):
            s = generator.integers(len(seeds), size=len(seeds))
            b = generator.integers(BLOCKS, size=BLOCKS)
            share = 100 * right[:, s][:, :, b].mean(axis=(1, 2)) / images
            floor = 100 * most[s][:, b].mean() / images
            for tolerance, picked in picks.items():
                good = np.flatnonzero(share >= floor - tolerance)
                picked.append(names[good[energy[good].argmin()]] if len(good) else "none")
        rows += [
            {"training": training, "scheme": scheme, "tolerance": tolerance, "precision": name,
             "share": count / samples, "seeds": len(seeds)}
            for tolerance, picked in picks.items()
            for name, count in pd.Series(picked).value_counts().items()
        ]  # fmt: skip
    return pd.DataFrame(rows)


def converters(chips: pd.DataFrame, training: str, scheme: str) -> pd.DataFrame:
    """Energy and accuracy of each precision with converters of each kind, mean over seeds.

    Kinds are 8 bits, 8 bits sparsity-aware, 4 bits, 3 bits, and the least that lose at most
    `CONVERTER_LOSS` points on training images.
    """
    mine = chips[(chips["training"] == training) & (chips["scheme"] == scheme)]
    mine = mine[mine["precision"] != "float"]
    fine = least_bits(chips)
    fine = fine[(fine["training"] == training) & (fine["scheme"] == scheme)]
    kinds = {
        "8 bits": (mine[mine["bits"] == LOSSLESS_BITS], "energy_nj"),
        "8 bits, sparsity-aware": (mine[mine["bits"] == LOSSLESS_BITS], "sparse_nj"),
        "4 bits": (mine[mine["bits"] == 4], "energy_nj"),
        "3 bits": (mine[mine["bits"] == 3], "energy_nj"),
        "least that lose nothing measurable": (fine, "energy_nj"),
    }
    parts = [
        pd.DataFrame({"converter": kind, "precision": rows["precision"], "bits": rows["bits"],
                      "energy_nj": rows[column], "accuracy": accuracy(rows)})
        for kind, (rows, column) in kinds.items()
    ]  # fmt: skip
    keys = ["converter", "precision"]
    return pd.concat(parts).groupby(keys, sort=False).mean().reset_index()
