"""Accuracy and energy of one and the same chip, for the choice of a precision.

The converters' bits are chosen on training images, accuracy is that of test images, and energy is
counted on that very chip. Reading a chip is slow, the integer network is fast and nearly as
accurate, so it is the control variate (Hammersley and Handscomb 1964): the accuracy of a chip is
that of the network on all test images, plus what the chip gains on a sample of them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from artifact import data
from artifact.statistics import redrawn
from artifact.studies import common, precision, sampling
from artifact.sweep import Point
from nvlib import Adc, ArrayMapping, Chip, Hardware
from nvlib.cost import cost
from nvlib.mapping import count_arrays
from nvlib.sparsity import ALL_POLICIES

#: Bits of converters that are read, by scheme; 1-bit cells of 128 rows lose nothing in 8. An offset
#: column is never near empty, and needs finer ones.
READ_BITS = {"differential": (3, 4, 5), "offset": (5, 6), "twos-complement": (4, 5, 6)}
SCHEMES = tuple(READ_BITS)
LOSSLESS_BITS = 8
#: Precisions that are put on chips: those around the knee, and two above it.
AROUND = (*(f"W{w}A{a}" for w in (2, 3, 4, 5) for a in (2, 3, 4)), "W6A6", "W8A8")
#: Points that converters may lose on training images.
CONVERTER_LOSS = 0.1
#: What the fewest bits that lose no more are called in the table of converters.
FEWEST = "least that lose no training image, net"
#: Points below floating point that a choice may lose.
TOLERANCES = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
BLOCKS = 10  # of test images, every tenth in one, resampled by the bootstrap
#: Accuracy (%) on each block.
ACCURACIES = [f"accuracy {block}" for block in range(BLOCKS)]
SAMPLES = 2000


def points(
    dataset: str, images: int, read_images: int, bits_images: int, cost_images: int,
    seeds: int = 1, checkpoints: str = common.SHIPPED,
) -> list[Point]:  # fmt: skip
    """Networks around the knee under every recipe, and the float networks they come from.

    Parameters
    ----------
    images : int
        Test images of the integer and the float networks.
    read_images : int
        How many of them each chip reads.
    bits_images : int
        Training images that choose the converters' bits.
    cost_images : int
        Test images that energies are averaged over.
    """
    found = []
    for training in precision.RECIPES:
        networks = [
            network for network in precision.shipped(dataset, training, checkpoints)
            if network[0] in AROUND and network[1] < seeds
        ]  # fmt: skip
        floats = [("float", seed) for seed in sorted({seed for _, seed in networks})]
        found += [
            {"dataset": dataset, "training": training, "precision": name, "seed": seed,
             "images": images, "read_images": read_images, "bits_images": bits_images,
             "cost_images": cost_images, "checkpoints": checkpoints}
            for name, seed in networks + floats
        ]  # fmt: skip
    return found


def samples(dataset: str, images: int, read_images: int, checkpoints: str) -> list[sampling.Sample]:
    """Of each block of the first `images` test images those that every chip reads.

    Raises
    ------
    ValueError
        If a block has too few to draw from every stratum.
    """
    order = sampling.hardest_first(dataset, checkpoints)
    order, generator = order[order < images], np.random.default_rng(2022)
    return [
        sampling.draw(order[order % BLOCKS == block], read_images // BLOCKS, generator)
        for block in range(BLOCKS)
    ]


def by_block(right: np.ndarray) -> np.ndarray:
    """Accuracy (%) on each block, of which of all test images are classified rightly."""
    return np.array([100 * right[block::BLOCKS].mean() for block in range(BLOCKS)])


def gained(drawn: list[sampling.Sample], more: np.ndarray) -> np.ndarray:
    """What a chip gains (points) on each block over the integer network.

    Parameters
    ----------
    more : ndarray
        1 where only the chip is right, -1 where only the network is, of the images `drawn`.
    """
    parts = np.split(more, np.cumsum([len(part.chosen) for part in drawn])[:-1])
    weighed = zip(drawn, parts, strict=True)
    return np.array([100 * (part.weights * values).sum() for part, values in weighed])


def point(
    dataset: str, training: str, precision: str, seed: int, images: int, read_images: int,
    bits_images: int, cost_images: int, checkpoints: str,
) -> Point:  # fmt: skip
    """A network by scheme and resolution of the converters: accuracy and energy of each chip.

    Converters of 8 bits lose nothing on 128 rows of 1-bit cells, so their chip says what the
    integer network says, to the last bit.
    """
    pixels, labels = common.test_images(dataset, images)
    right = common.classes(dataset, precision, seed, training, checkpoints, pixels) == labels
    whole = by_block(right)
    if precision == "float":
        return {"results": [{"scheme": "none", "bits": 0, **_named(whole)}]}
    net = common.network(dataset, precision, seed, checkpoints, training)
    drawn = samples(dataset, images, read_images, checkpoints)
    chosen = np.concatenate([part.chosen for part in drawn])
    digits = data.load(dataset)
    seen, answers = digits.train_images[-bits_images:], digits.train_labels[-bits_images:]
    specs = [layer.spec for layer in net.layers]
    results = []
    for scheme, read_bits in READ_BITS.items():
        mapping = ArrayMapping(scheme=scheme)
        counts = [count_arrays(s.rows, s.outputs, net.precision, mapping) for s in specs]
        for bits in (*read_bits, LOSSLESS_BITS):
            hardware, accuracies = Hardware(mapping, adc=Adc(bits=bits)), whole
            if bits < LOSSLESS_BITS:
                hardware = common.calibrated(net, hardware, dataset)
            chip = Chip(net, hardware)
            if bits < LOSSLESS_BITS:
                read = chip.predict(pixels[chosen], threads=1) == labels[chosen]
                accuracies = whole + gained(drawn, read.astype(int) - right[chosen])
            trained = (net if bits == LOSSLESS_BITS else chip).predict(seen)
            events = chip.events(pixels[:cost_images])
            plain, sparse = (
                common.energy_nj(events, policies, bits) for policies in ((), ALL_POLICIES)
            )
            spent = cost(chip, events).iloc[-1]
            results.append(
                {"scheme": scheme, "bits": bits, "train_right": int((trained == answers).sum()),
                 "energy_nj": plain, "sparse_nj": sparse,
                 "cells": sum(count.cells for count in counts),
                 "area_mm2": float(spent["area_mm2"]), "latency_us": float(spent["latency_us"]),
                 **_named(accuracies)}
            )  # fmt: skip
    return {"results": results}


def _named(accuracies: np.ndarray) -> Point:
    return dict(zip(ACCURACIES, accuracies.round(4).tolist(), strict=True))


def least_bits(chips: pd.DataFrame) -> pd.DataFrame:
    """Of each network the chip of the coarsest converters that lose at most `CONVERTER_LOSS`.

    Loss is on training images, against converters that lose nothing.
    """
    chips = chips[chips["precision"] != "float"]
    keys = ["training", "scheme", "precision", "seed"]
    best = chips[chips["bits"] == LOSSLESS_BITS].set_index(keys)["train_right"]
    whole = best.reindex(pd.MultiIndex.from_frame(chips[keys])).to_numpy()
    fine = chips[100 * (whole - chips["train_right"]) <= CONVERTER_LOSS * chips["bits_images"]]
    return fine.loc[fine.groupby(keys, sort=False)["bits"].idxmin()].reset_index(drop=True)


def accuracy(rows: pd.DataFrame) -> pd.Series:
    """Accuracy in percent, the mean of the blocks of test images."""
    return rows[ACCURACIES].mean(axis=1)


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


def certainty(chips: pd.DataFrame, draws: int = SAMPLES) -> pd.DataFrame:
    """How often each precision is the cheapest within a tolerance, by bootstrap.

    Of every precision that `choices` has, and of the float network, training seeds and blocks of
    test images are drawn anew, blocks the same for all, seeds the same for precisions with as many
    of them. A precision with one seed gets the typical (median) spread of the recipe's others.

    Returns
    -------
    DataFrame
        By recipe, scheme and tolerance (points): precision, its seeds, share of the draws that
        pick it; also of those that none picks.
    """
    fine, rows = least_bits(chips), []
    for (training, scheme), group in fine.groupby(["training", "scheme"], sort=False):
        generator = np.random.default_rng(0)
        position = generator.random((draws, len(set(chips["seed"]))))
        block = redrawn(generator.random((draws, BLOCKS)), BLOCKS)
        parts = dict(list(group.groupby("precision", sort=False)))
        spread = np.median(
            [accuracy(part).std() for part in parts.values() if len(part) > 1] or [0.0]
        )
        shares, energies = [], []  # of each precision, (draws,)
        for part in parts.values():
            chosen = redrawn(position, len(part))  # (draws, seeds)
            share = _drawn(part, chosen, block)
            if len(part) == 1:
                share = share + spread * generator.standard_normal(draws)
            shares.append(share)
            energies.append(part["energy_nj"].to_numpy()[chosen].mean(axis=1))
        floats = chips[(chips["precision"] == "float") & (chips["training"] == training)]
        most = _drawn(floats, redrawn(position, len(floats)), block)
        for tolerance in TOLERANCES:
            good = np.array(shares) >= most - tolerance  # (precisions, draws)
            cheap = np.where(good, energies, np.inf).argmin(axis=0)
            picked = np.where(good.any(axis=0), cheap, -1)
            rows += [
                {"training": training, "scheme": scheme, "tolerance": tolerance,
                 "precision": name, "seeds": seeds, "share": float((picked == place).mean())}
                for place, name, seeds in [
                    *((p, name, len(part)) for p, (name, part) in enumerate(parts.items())),
                    (-1, "none", 0),
                ]
            ]  # fmt: skip
    return pd.DataFrame(rows)


def _drawn(rows: pd.DataFrame, seeds: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """Mean accuracy (%) of drawn rows, (draws, rows), on drawn blocks, (draws, blocks)."""
    values = rows[ACCURACIES].to_numpy()
    return values[seeds[:, :, None], blocks[:, None, :]].mean(axis=(1, 2))


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
        FEWEST: (fine, "energy_nj"),
    }
    parts = [
        pd.DataFrame({"converter": kind, "precision": rows["precision"], "bits": rows["bits"],
                      "energy_nj": rows[column], "accuracy": accuracy(rows)})
        for kind, (rows, column) in kinds.items()
    ]  # fmt: skip
    keys = ["converter", "precision"]
    return pd.concat(parts).groupby(keys, sort=False).mean().reset_index()
