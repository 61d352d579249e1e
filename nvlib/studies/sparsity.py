"""Where the zeros are, and what a sparsity-aware controller saves."""

from __future__ import annotations

import ast
import itertools
from dataclasses import replace

import numpy as np
import pandas as pd

from nvlib.arrays import Hardware
from nvlib.chip import Chip
from nvlib.converters import Adc
from nvlib.energy import (
    COMPONENTS,
    DESIGN_LAWS,
    PARTIAL_LAWS,
    UNITS,
    AdcLaw,
    EnergyTable,
    adc_saving,
    efficiency_gain,
    inference_energy,
)
from nvlib.mapping import Mapping
from nvlib.sparsity import ALL_POLICIES, ActiveRowBound, ColumnBound, ZeroSkip, count_events
from nvlib.statistics import mean_interval
from nvlib.studies import common
from nvlib.sweep import Point

PRECISIONS = ("W8A8", "W4A3")
ARRAY_SIZES = (32, 64, 128, 256, 512)
BLOCKS = 10  # of images, whose spread gives the interval of a saving
MECHANISMS = {
    "zero skip": (ZeroSkip(),),
    "zero skip + active rows": (ZeroSkip(), ActiveRowBound()),
    "zero skip + columns": (ZeroSkip(), ColumnBound()),
    "all": ALL_POLICIES,
}


def points(
    dataset: str, images: int, sizes: tuple[int, ...] = ARRAY_SIZES,
    checkpoints: str = common.SHIPPED,
) -> list[Point]:  # fmt: skip
    """Both precisions of the paper's claims, on arrays of each size."""
    return [
        {"dataset": dataset, "precision": precision, "array_size": size, "images": images,
         "checkpoints": checkpoints}
        for precision in PRECISIONS
        for size in sizes
    ]  # fmt: skip


def saving_point(
    dataset: str, precision: str, array_size: int, images: int, checkpoints: str
) -> Point:
    """ADC saving and efficiency gain of the default hardware, with intervals over images."""
    net = common.network(dataset, precision, 0, checkpoints)
    hardware = common.default_hardware(net, dataset, rows=array_size)
    chip, bits = Chip(net, hardware), common.adc_bits_of(precision)
    pixels, _ = common.test_images(dataset, images)
    law, table = AdcLaw(), EnergyTable.load()
    savings, gains, energies = [], [], []
    for block in np.array_split(pixels, BLOCKS):
        events = count_events(chip, block)
        before = inference_energy(events, (), bits, law, table)
        after = inference_energy(events, ALL_POLICIES, bits, law, table)
        savings.append(adc_saving(before, after))
        gains.append(efficiency_gain(before, after))
        energies.append((before, after))
    before, after = (
        {name: float(np.mean([pair[i][name] for pair in energies])) for name in COMPONENTS}
        for i in (0, 1)
    )
    low, high = mean_interval(np.array(savings))
    gain_low, gain_high = mean_interval(np.array(gains))
    return {
        "adc_saving": adc_saving(before, after), "adc_saving_lower": low, "adc_saving_upper": high,
        "adc_saving_net": adc_saving(before, after, detection=True),
        "efficiency_gain": efficiency_gain(before, after),
        "efficiency_gain_lower": gain_low, "efficiency_gain_upper": gain_high,
        "adc_share_baseline": before["adc"] / sum(before.values()),
        "config": f"1-bit cells, bit-serial, {bits}-bit ADC, {law.design} / {law.partial}",
        **{f"before {k} (pJ)": v for k, v in before.items()},
        **{f"after {k} (pJ)": v for k, v in after.items()},
    }  # fmt: skip


def zeros_point(
    dataset: str, precision: str, array_size: int, images: int, checkpoints: str
) -> Point:
    """Counts behind the figures of where the zeros are, layer by layer."""
    net = common.network(dataset, precision, 0, checkpoints)
    hardware = common.default_hardware(net, dataset, rows=array_size)
    chip, bits = Chip(net, hardware), common.adc_bits_of(precision)
    pixels, _ = common.test_images(dataset, images)
    layers = []
    events = count_events(chip, pixels)
    codes = chip.layer_codes(pixels)
    for event, inputs in zip(events, codes, strict=True):
        spec, levels = event.arrays.layer.spec, event.arrays.mapped.levels
        planes = net.precision.activation_bits
        sums = event.digit_sums.sum(axis=(0, 1))
        layers.append(
            {"layer": spec.name,
             "zero weights": float((event.arrays.layer.codes == 0).mean()),
             "zero cells": float((levels == 0).mean()),
             "zero activations": float((inputs == 0).mean()),
             "zero bits by plane": [float(((inputs >> p) & 1 == 0).mean()) for p in range(planes)],
             "active rows": np.trim_zeros(sums, "b").tolist(),
             "resolved before": event.conversions((), bits).tolist(),
             "resolved after": event.conversions(ALL_POLICIES, bits).tolist()}
        )  # fmt: skip
    return {"layers": layers}


def region_points(dataset: str, images: int, checkpoints: str = common.SHIPPED) -> list[Point]:
    """Readings of the hardware: cell bits and converter resolution."""
    return [
        {"dataset": dataset, "precision": precision, "cell_bits": cell_bits,
         "adc_rule": rule, "images": images, "checkpoints": checkpoints}
        for cell_bits in (1, 2, 3)
        for rule in ("B = W", "B = 8", "B = 4")
        for precision in PRECISIONS
    ]  # fmt: skip


def region_point(
    dataset: str, precision: str, cell_bits: int, adc_rule: str, images: int,
    checkpoints: str,
) -> Point:  # fmt: skip
    """Saving and gain under every mechanism and ADC law, for one reading of the hardware."""
    net = common.network(dataset, precision, 0, checkpoints)
    bits = common.adc_bits_of(precision) if adc_rule == "B = W" else int(adc_rule[-1])
    hardware = Hardware(Mapping(cell_bits=cell_bits), adc=Adc(bits=bits))
    chip = Chip(net, common.calibrated(net, hardware, dataset))
    events = count_events(chip, common.test_images(dataset, images)[0])
    table, results = EnergyTable.load(), []
    for design, partial in itertools.product(DESIGN_LAWS, PARTIAL_LAWS):
        law = AdcLaw(design, partial)
        before = inference_energy(events, (), bits, law, table)
        for mechanism, policies in MECHANISMS.items():
            after = inference_energy(events, policies, bits, law, table)
            results.append(
                {"design": design, "partial": partial, "mechanism": mechanism,
                 "adc_saving": adc_saving(before, after),
                 "efficiency_gain": efficiency_gain(before, after)}
            )  # fmt: skip
    return {"results": results}


#: Literature ranges of the constants for the tornado plot: (lowest, highest) of the table's unit.
RANGES = {
    "walden_step": (0.010, 0.030),
    "data_movement": (0.24, 0.96),
    "row_driver": (0.1, 0.8),
    "on_conductance": (1e-6, 100e-6),
    "comparator": (0.003, 0.06),
}


def tidy_region(table: pd.DataFrame) -> pd.DataFrame:
    """One row per combination, with both precisions' saving and gain side by side."""
    rows = [
        {key: row[key] for key in ("dataset", "precision", "cell_bits", "adc_rule")} | result
        for row in table.to_dict("records")
        for result in (
            ast.literal_eval(row["results"]) if isinstance(row["results"], str) else row["results"]
        )
    ]
    keys = ["dataset", "cell_bits", "adc_rule", "design", "partial", "mechanism"]
    wide = pd.DataFrame(rows).pivot(
        index=keys, columns="precision", values=["adc_saving", "efficiency_gain"]
    )
    wide.columns = [f"{value}_{precision}" for value, precision in wide.columns]
    return wide.reset_index()


def tornado_point(
    dataset: str, precision: str, constant: str, images: int, checkpoints: str
) -> Point:
    """Efficiency gain with one constant at both ends of its range in the literature."""
    net = common.network(dataset, precision, 0, checkpoints)
    events = count_events(
        Chip(net, common.default_hardware(net, dataset)), common.test_images(dataset, images)[0]
    )
    bits, law, table = common.adc_bits_of(precision), AdcLaw(), EnergyTable.load()

    def gain(value: float) -> float:
        changed = replace(table, **{constant: value})
        return efficiency_gain(
            inference_energy(events, (), bits, law, changed),
            inference_energy(events, ALL_POLICIES, bits, law, changed),
        )

    low, high = RANGES[constant]
    return {
        "gain": gain(getattr(table, constant)), "gain_low": gain(low), "gain_high": gain(high),
        "label": f"{constant.replace('_', ' ')}\n{low:g} to {high:g} {UNITS[constant]}",
    }  # fmt: skip


def tornado_points(dataset: str, images: int, checkpoints: str = common.SHIPPED) -> list[Point]:
    """Every constant with a range, at both precisions."""
    return [
        {"dataset": dataset, "precision": precision, "constant": constant, "images": images,
         "checkpoints": checkpoints}
        for precision in PRECISIONS
        for constant in RANGES
    ]  # fmt: skip


def with_layers(table: pd.DataFrame) -> pd.DataFrame:
    """The column `layers` as objects, also where it was read from CSV."""
    parsed = [
        ast.literal_eval(layers) if isinstance(layers, str) else layers
        for layers in table["layers"]
    ]
    return table.assign(layers=parsed)
