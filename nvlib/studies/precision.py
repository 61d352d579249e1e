"""Accuracy against precision: the whole W x A grid, and the studied precisions on a chip."""

from __future__ import annotations

import pandas as pd

from nvlib.checkpoints import CheckpointName
from nvlib.chip import Chip
from nvlib.energy import AdcLaw, EnergyTable, inference_energy
from nvlib.mapping import count_arrays
from nvlib.network import quantized_logits
from nvlib.paths import ROOT
from nvlib.quantizers import MAX_BITS, Precision
from nvlib.retraining import SEEDS
from nvlib.sparsity import count_events
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
    seeds = SEEDS if dataset == "mnist" else SEEDS[:1]
    return [
        {"dataset": dataset, "precision": name, "seed": seed, "images": images,
         "checkpoints": checkpoints}
        for name in common.PRECISIONS
        for seed in seeds
        if (ROOT / checkpoints / CheckpointName(
            dataset, "lenet5", Precision.parse(name), seed).path).is_file()
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
