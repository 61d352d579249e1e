"""Accuracy against precision: the whole W x A grid, and the studied precisions on a chip."""

from __future__ import annotations

import pandas as pd

from nvlib.checkpoints import CheckpointName, read_manifest
from nvlib.chip import Chip
from nvlib.energy import AdcLaw, EnergyTable, inference_energy
from nvlib.mapping import count_arrays
from nvlib.network import quantized_logits
from nvlib.paths import ROOT
from nvlib.quantizers import MAX_BITS, Precision
from nvlib.retraining import SEEDS
from nvlib.sparsity import count_events
from nvlib.statistics import mean_interval, wilson_interval
from nvlib.studies import common
from nvlib.sweep import Point


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


def cost_point(dataset: str, precision: str, seed: int, images: int, checkpoints: str) -> Point:
    """Energy and arrays of one inference on the default hardware, sparsity not used."""
    net = common.network(dataset, precision, seed, checkpoints)
    hardware = common.default_hardware(net, dataset)
    events = count_events(Chip(net, hardware), common.test_images(dataset, images)[0])
    bits = common.adc_bits_of(precision)
    energy = inference_energy(events, (), bits, AdcLaw(), EnergyTable.load())
    arrays = sum(
        count_arrays(spec.rows, spec.outputs, net.precision, hardware.mapping).arrays
        for spec in net.specs
    )
    return {"adc_bits": bits, "energy_nj": sum(energy.values()) / 1000, "arrays": arrays}


def cheapest(accuracy: pd.Series, energy: pd.Series, within: float, reference: float) -> str:
    """The precision of least energy whose accuracy is at most `within` below `reference`.

    Parameters
    ----------
    accuracy, energy : Series
        Indexed by precision; shares, and nJ.
    within : float
        As a share.

    Examples
    --------
    >>> table = pd.DataFrame({"a": [0.99, 0.98], "e": [5.0, 1.0]}, index=["W8A8", "W4A3"])
    >>> cheapest(table.a, table.e, 0.003, 0.992), cheapest(table.a, table.e, 0.02, 0.992)
    ('W8A8', 'W4A3')
    """
    good = accuracy[accuracy >= reference - within].index
    return str(energy[good].idxmin()) if len(good) else "none"


def quantized_point(
    dataset: str, precision: str, seed: int, images: int, checkpoints: str
) -> Point:
    """Right answers of the integer network, without hardware."""
    pixels, labels = common.test_images(dataset, images)
    logits = quantized_logits(common.network(dataset, precision, seed, checkpoints), pixels)
    return {"correct": int((logits.argmax(axis=1) == labels).sum())}


def chip_point(dataset: str, precision: str, seed: int, images: int, checkpoints: str) -> Point:
    """Right answers of an ideal chip whose converters have the precision's own resolution."""
    net = common.network(dataset, precision, seed, checkpoints)
    hardware = common.default_hardware(net, dataset)
    pixels, labels = common.test_images(dataset, images)
    answers = common.correct(Chip(net, hardware), pixels, labels)
    return {"adc_bits": hardware.adc.bits, "correct": answers}


def by_engine(quantized: pd.DataFrame, chips: pd.DataFrame) -> pd.DataFrame:
    """Both tables in one, told apart by the column `engine`."""
    return pd.concat(
        [quantized.assign(engine="quantized network"), chips.assign(engine="ideal chip")],
        ignore_index=True,
    )


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
