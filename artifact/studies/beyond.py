"""Lossless savings that go beyond the default controller."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import pandas as pd

from artifact import data
from artifact.studies import common
from artifact.studies.common import PAIR
from artifact.sweep import Point
from nvlib import Adc, ArrayMapping, Chip, Hardware, QuantizedNetwork
from nvlib.arrays import LayerArrays
from nvlib.energy import AdcLaw, EnergyTable, adc_saving, efficiency_gain, inference_energy
from nvlib.events import LayerEvents, count, unfold
from nvlib.network import LayerSpec
from nvlib.sparsity import ALL_POLICIES, SignSkip, resolved_bits

BLOCK = 100  # images that are counted together


def clipped(network: QuantizedNetwork, limit: int) -> QuantizedNetwork:
    """The network with weight codes no larger than `limit`, so that high slices are empty."""
    layers = tuple(
        replace(layer, codes=np.clip(layer.codes, -limit, limit)) for layer in network.layers
    )
    return replace(network, layers=layers)


def active_rows_first(chip: Chip, images: Any) -> list[np.ndarray]:
    """Row orders (K,), from training images, that put often active rows into the same tiles.

    The other tiles then have fewer active rows, or none. Products do not change, since digital
    logic adds tiles up in any order.
    """
    return [np.argsort(-event.squared_digits, kind="stable") for event in chip.events(images)]


def reordered(arrays: LayerArrays, order: np.ndarray) -> LayerArrays:
    """The same arrays, of a linear layer: row i holds what row order[i] held."""
    matrix = arrays.layer.matrix[order]
    spec, codes = LayerSpec(arrays.layer.spec.name, *matrix.shape), np.ascontiguousarray(matrix.T)
    cells: dict[str, Any] = {
        name: None if getattr(arrays, name) is None else getattr(arrays, name)[order]
        for name in ("conductance", "reference", "sense", "on_conductance", "noise_weights")
    }
    return replace(
        arrays, **cells, mapped=replace(arrays.mapped, levels=arrays.mapped.levels[order]),
        layer=replace(arrays.layer, spec=spec, codes=codes, input_shape=matrix.shape[:1]),
    )  # fmt: skip


def events_in_order(chip: Chip, images: Any, orders: list[np.ndarray]) -> list[LayerEvents]:
    """What `Chip.events` counts, but for rows that are written in those orders."""
    moved = [reordered(arrays, order) for arrays, order in zip(chip.arrays, orders, strict=True)]
    blocks = []
    for start in range(0, len(images), BLOCK):
        block, found = images[start : start + BLOCK], []
        for number, codes in enumerate(chip.layer_codes(block)):
            inputs = unfold(codes, chip.arrays[number])[..., orders[number]]  # (N, P, K)
            event = count(moved[number], inputs.reshape(-1, inputs.shape[-1]))
            found.append(replace(event, images=len(block), positions=inputs.shape[1]))
        blocks.append(found)
    return [reduce(add, layer) for layer in zip(*blocks, strict=True)]


#: What goes beyond the default controller; see `point`.
OPTIONS = (
    "default", "active rows first", "clip to 3/4", "clip to 1/2", "clip to 1/4",
    "signed-digit weights", "offset weights", "twos-complement weights", "one shot",
    "one shot, sign skip", "oracle: bits of the code",
)  # fmt: skip


def points(dataset: str, images: int, checkpoints: str = common.SHIPPED) -> list[Point]:
    """Every option at both precisions."""
    return [
        {"dataset": dataset, "precision": precision, "option": option, "images": images,
         "checkpoints": checkpoints}
        for precision in PAIR
        for option in OPTIONS
    ]  # fmt: skip


def point(dataset: str, precision: str, option: str, images: int, checkpoints: str) -> Point:
    """Accuracy, ADC saving and gain of one option, against the same images without sparsity.

    The baseline is the default hardware, but for one-shot inputs, whose drivers and reads have
    other costs: there it is one-shot hardware without sparsity.
    """
    net = common.network(dataset, precision, 0, checkpoints)
    bits, (pixels, labels) = common.adc_bits_of(precision), common.test_images(dataset, images)
    law, table = AdcLaw(), EnergyTable.load()
    counted = pixels[: max(images // 5, 1)]
    baseline = Chip(net, common.default_hardware(net, dataset))
    mapping, policies = ArrayMapping(), ALL_POLICIES
    if option.startswith("clip to"):
        parts = {"3/4": 0.75, "1/2": 0.5, "1/4": 0.25}
        net = clipped(net, int(parts[option.split()[-1]] * (net.precision.weight_max + 1)) - 1)
    elif option.endswith("weights"):
        mapping = ArrayMapping(scheme=option.split()[0])
    elif option.startswith("one shot"):
        w, a = net.precision.weight_bits, net.precision.activation_bits
        mapping = ArrayMapping(cell_bits=w - 1, dac_bits=a)
        policies += (SignSkip(),) if "sign" in option else ()
    hardware = common.calibrated(net, Hardware(mapping, adc=Adc(bits=bits)), dataset)
    chip = Chip(net, hardware)
    if option.startswith("one shot"):
        baseline = chip
    before = inference_energy(baseline.events(counted), (), bits, law, table)
    if option == "active rows first":
        orders = active_rows_first(chip, data.load(dataset).train_images[:200])
        events = events_in_order(chip, counted, orders)
    else:
        events = chip.events(counted)
    after = inference_energy(events, policies, bits, law, table)
    if option.startswith("oracle"):
        after |= {"adc": _oracle_pj(chip, counted, bits, law, table), "detection": 0.0}  # fmt: skip
    return {
        "accuracy": common.correct(chip, pixels, labels) / images,
        "adc_saving": adc_saving(before, after), "efficiency_gain": efficiency_gain(before, after),
    }  # fmt: skip


def _oracle_pj(chip: Chip, images: np.ndarray, bits: int, law: AdcLaw, table: EnergyTable) -> float:
    """ADC energy of an inference if each conversion took just the bits of its code."""
    ideal = Chip(chip.network, Hardware(chip.hardware.mapping)).events(images, column_sums=True)
    total = 0.0
    for arrays, event in zip(chip.arrays, ideal, strict=True):
        assert event.column_sums is not None
        needed = resolved_bits(np.arange(len(event.column_sums)), arrays.lsb, bits)
        counts = np.bincount(needed, event.column_sums, minlength=bits + 1)
        total += law.conversions_pj(counts, bits, table)
    return total / len(images)


def checks(options: pd.DataFrame) -> dict[str, bool]:
    """Whether the options that are no less accurate keep the order that they must have."""
    saved, right = (
        options.pivot(index="precision", columns="option", values=value)
        for value in ("adc_saving", "accuracy")
    )
    first, oracle = saved["active rows first"], saved.pop("oracle: bits of the code")
    fair = saved.where(right[saved.columns].ge(right["default"], axis=0))
    return {
        "active rows first saves more than the default": bool((first > saved["default"]).all()),
        "the oracle saves more than any no less accurate": bool((oracle > fair.max(axis=1)).all()),
    }


def sentence(options: pd.DataFrame) -> str:
    """What the default saves, what an oracle would, and what comes nearest as accurately."""
    parts = []
    for name, rows in options.groupby("precision", sort=False):
        saved = rows.set_index("option")["adc_saving"]
        right = rows.set_index("option")["accuracy"]
        fair = saved[(right >= right["default"]) & ~saved.index.str.startswith("oracle")]
        parts.append(
            f"at {name} the default saves {100 * saved['default']:.0f} % of the converters' "
            f"energy, the oracle {100 * saved['oracle: bits of the code']:.0f} %, and the most of "
            f"an option that is no less accurate here is {100 * fair.max():.0f} % ({fair.idxmax()})"
        )
    return f"{'; '.join(parts).replace('at ', 'At ', 1)}."
