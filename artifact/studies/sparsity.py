"""Where the zeros are, and what a sparsity-aware controller saves."""

from __future__ import annotations

import ast
import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import yaml

from artifact import data
from artifact.paths import EXPECTED
from artifact.statistics import mean_interval
from artifact.studies import common
from artifact.sweep import Point
from nvlib.chip import Chip
from nvlib.converters import Adc
from nvlib.devices import DeviceModel, RangeVariation
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
    operations,
)
from nvlib.hardware import Hardware, SenseColumn
from nvlib.mapping import ArrayMapping
from nvlib.network import QuantizedNetwork
from nvlib.sparsity import (
    ALL_POLICIES,
    ActiveRowBound,
    ColumnBound,
    SignSkip,
    ZeroSkip,
    active_rows_first,
    conversions_by_column,
    resolved_bits,
)

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


def _default_chip(dataset: str, precision: str, array_size: int, checkpoints: str) -> Chip:
    net = common.network(dataset, precision, 0, checkpoints)
    return Chip(net, common.default_hardware(net, dataset, rows=array_size))


def saving_point(
    dataset: str, precision: str, array_size: int, images: int, checkpoints: str
) -> Point:
    """ADC saving and efficiency gain of the default hardware, with intervals over images."""
    chip = _default_chip(dataset, precision, array_size, checkpoints)
    bits, (pixels, _) = common.adc_bits_of(precision), common.test_images(dataset, images)
    law, table = AdcLaw(), EnergyTable.load()
    savings, gains, energies, layers = [], [], [], []
    for block in np.array_split(pixels, BLOCKS):
        events = chip.events(block)
        before = inference_energy(events, (), bits, law, table)
        after = inference_energy(events, ALL_POLICIES, bits, law, table)
        savings.append(adc_saving(before, after))
        gains.append(efficiency_gain(before, after))
        energies.append((before, after))
        layers.append([
            [inference_energy([event], policies, bits, law, table)["adc"]
             for policies in ((), ALL_POLICIES)]
            for event in events
        ])  # fmt: skip
    before, after = (
        {name: float(np.mean([pair[i][name] for pair in energies])) for name in COMPONENTS}
        for i in (0, 1)
    )
    low, high = mean_interval(np.array(savings))
    gain_low, gain_high = mean_interval(np.array(gains))
    by_layer = np.mean(layers, axis=0)
    return {
        "adc_saving": adc_saving(before, after), "adc_saving_lower": low, "adc_saving_upper": high,
        "adc_saving_net": adc_saving(before, after, detection=True),
        "efficiency_gain": efficiency_gain(before, after),
        "efficiency_gain_lower": gain_low, "efficiency_gain_upper": gain_high,
        "adc_share_baseline": before["adc"] / sum(before.values()),
        "config": f"1-bit cells, bit-serial, {bits}-bit ADC, {law.design} / {law.partial}",
        "operations": operations(events),
        **{f"before {k} (pJ)": v for k, v in before.items()},
        **{f"after {k} (pJ)": v for k, v in after.items()},
        **{f"{when} {layer.layer.spec.name} ADC (pJ)": float(value)
           for layer, row in zip(chip.arrays, by_layer, strict=True)
           for when, value in zip(("before", "after"), row, strict=True)},
    }  # fmt: skip


#: Columns of ``results/adc_reduction.csv``, the table of claims C5 and C6.
REDUCTION_COLUMNS = [
    "precision", "array_size", "adc_saving", "adc_saving_lower", "adc_saving_upper",
    "efficiency_gain", "adc_share_baseline", "config",
]  # fmt: skip


def macros() -> pd.DataFrame:
    """Published macros: name, TOPS/W as published, precision, source."""
    return pd.DataFrame(yaml.safe_load((EXPECTED / "macros.yaml").read_text(encoding="utf-8")))


def efficiency(savings: pd.DataFrame) -> pd.DataFrame:
    """Energy per inference (nJ) and TOPS/W at 128 x 128, before and after."""
    rows = []
    for row in savings[savings["array_size"] == 128].to_dict("records"):
        for when in ("before", "after"):
            energy = sum(row[f"{when} {name} (pJ)"] for name in COMPONENTS)
            rows.append({"precision": row["precision"], "sparsity": when,
                         "energy (nJ)": energy / 1000,
                         "TOPS/W": row["operations"] / energy})  # fmt: skip
    return pd.DataFrame(rows)


def zeros_point(
    dataset: str, precision: str, array_size: int, images: int, checkpoints: str
) -> Point:
    """Counts behind the figures of where the zeros are, layer by layer."""
    chip = _default_chip(dataset, precision, array_size, checkpoints)
    bits, (pixels, _) = common.adc_bits_of(precision), common.test_images(dataset, images)
    layers = []
    events = chip.events(pixels)
    codes = chip.layer_codes(pixels)
    for event, inputs in zip(events, codes, strict=True):
        spec, levels = event.arrays.layer.spec, event.arrays.mapped.levels
        planes = event.arrays.planes
        sums = event.digit_sums.sum(axis=(0, 1))
        layers.append(
            {"layer": spec.name,
             "zero weights": float((event.arrays.layer.codes == 0).mean()),
             "zero cells": float((levels == 0).mean()),
             "zero activations": float((inputs == 0).mean()),
             "zero bits by plane": [float(((inputs >> p) & 1 == 0).mean()) for p in range(planes)],
             "active rows": np.trim_zeros(sums, "b").tolist(),
             "coefficients": event.arrays.mapped.coefficients.tolist(),
             "resolved before": conversions_by_column(event, (), bits).tolist(),
             "resolved after": conversions_by_column(event, ALL_POLICIES, bits).tolist()}
        )  # fmt: skip
    return {"layers": layers}


def with_layers(table: pd.DataFrame) -> pd.DataFrame:
    """The column `layers` as objects, also where it was read from CSV."""
    parsed = [
        ast.literal_eval(layers) if isinstance(layers, str) else layers
        for layers in table["layers"]
    ]
    return table.assign(layers=parsed)


def conversions(zeros: pd.DataFrame) -> pd.DataFrame:
    """Conversions by layer, input plane, weight slice, polarity and resolved bits.

    Parameters
    ----------
    zeros : DataFrame
        From `with_layers`.

    Returns
    -------
    DataFrame
        Columns dataset, precision, images, layer, plane, slice, polarity, bits, before, after;
        bits is 0 for conversions that are spared.
    """
    rows = []
    for table in zeros.to_dict("records"):
        for layer in table["layers"]:
            before, after = (np.array(layer[f"resolved {when}"]) for when in ("before", "after"))
            for plane, column, bits in np.ndindex(before.shape):
                weight = layer["coefficients"][column]
                rows.append(
                    {"dataset": table["dataset"], "precision": table["precision"],
                     "images": table["images"], "layer": layer["layer"], "plane": plane,
                     "slice": int(abs(weight)).bit_length() - 1,
                     "polarity": "+" if weight > 0 else "-", "bits": bits,
                     "before": before[plane, column, bits], "after": after[plane, column, bits]}
                )  # fmt: skip
    return pd.DataFrame(rows)


NETWORKS = ("lenet5", "wide")
#: Everything but converters and detection, as a multiple of the table's.
REST_SHARES = (0.5, 1.0, 2.0)


def region_points(dataset: str, images: int, checkpoints: str = common.SHIPPED) -> list[Point]:
    """Readings of the hardware: cell bits, input bits at a time, converters, network."""
    return [
        {"dataset": dataset, "precision": precision, "network": network, "cell_bits": cell_bits,
         "inputs": inputs, "adc_rule": rule, "images": images, "checkpoints": checkpoints}
        for network in reversed(NETWORKS)
        for cell_bits in (1, 2, 3)
        for inputs in ("bit-serial", "2 bits", "one shot")
        for rule in ("B = W", "B = 8", "B = 4")
        for precision in PRECISIONS
    ]  # fmt: skip


def region_point(
    dataset: str, precision: str, network: str, cell_bits: int, inputs: str, adc_rule: str,
    images: int, checkpoints: str,
) -> Point:  # fmt: skip
    """Saving and gain under every mechanism, ADC law and share of the rest, for one reading."""
    net = common.network(dataset, precision, 0, checkpoints, "qat", network)
    bits = common.adc_bits_of(precision) if adc_rule == "B = W" else int(adc_rule[-1])
    dac_bits = {"bit-serial": 1, "2 bits": 2, "one shot": net.precision.activation_bits}[inputs]
    hardware = Hardware(ArrayMapping(cell_bits=cell_bits, dac_bits=dac_bits), adc=Adc(bits=bits))
    chip = Chip(net, common.calibrated(net, hardware, dataset))
    events = chip.events(common.test_images(dataset, images)[0])
    table, results = EnergyTable.load(), []
    for design, partial in itertools.product(DESIGN_LAWS, PARTIAL_LAWS):
        law = AdcLaw(design, partial)
        before = inference_energy(events, (), bits, law, table)
        for mechanism, policies in MECHANISMS.items():
            after = inference_energy(events, policies, bits, law, table)
            for rest in REST_SHARES:
                scale = {name: 1.0 if name in ("adc", "detection") else rest for name in before}
                first, then = (
                    {name: scale[name] * energy[name] for name in scale}
                    for energy in (before, after)
                )
                results.append(
                    {"design": design, "partial": partial, "mechanism": mechanism, "rest": rest,
                     "adc_saving": round(adc_saving(first, then), 4),
                     "efficiency_gain": round(efficiency_gain(first, then), 4)}
                )  # fmt: skip
    return {"results": results}


def tidy_region(table: pd.DataFrame) -> pd.DataFrame:
    """One row per combination, with both precisions' saving and gain side by side."""
    keys = ["dataset", "network", "cell_bits", "inputs", "adc_rule"]
    rows = [
        {key: row[key] for key in (*keys, "precision")} | result
        for row in table.to_dict("records")
        for result in row["results"]
    ]
    keys += ["design", "partial", "mechanism", "rest"]
    wide = pd.DataFrame(rows).pivot(
        index=keys, columns="precision", values=["adc_saving", "efficiency_gain"]
    )
    wide.columns = [f"{value}_{precision}" for value, precision in wide.columns]
    return wide.reset_index()


#: Literature ranges of the constants for the tornado plot: (lowest, highest) of the table's unit.
RANGES = {
    "walden_step": (0.010, 0.030),
    "data_movement": (0.24, 0.96),
    "row_driver": (0.1, 0.8),
    "on_conductance": (1e-6, 100e-6),
    "comparator": (0.003, 0.06),
}
#: Laws that a SAR converter may follow when it stops early; those without a fitted constant.
SOURCED_PARTIAL_LAWS = ("sar-cycles", "linear", "half-fixed", "cdac")


def tornado_points(dataset: str, images: int, checkpoints: str = common.SHIPPED) -> list[Point]:
    """Every constant with a range and every choice of law, at both precisions."""
    return [
        {"dataset": dataset, "precision": precision, "constant": constant, "images": images,
         "checkpoints": checkpoints}
        for precision in PRECISIONS
        for constant in (*RANGES, "partial law", "design law")
    ]  # fmt: skip


def tornado_point(
    dataset: str, precision: str, constant: str, images: int, checkpoints: str
) -> Point:
    """Net saving and gain over the range of one constant or law, the others at the default."""
    chip = _default_chip(dataset, precision, 128, checkpoints)
    events = chip.events(common.test_images(dataset, images)[0])
    bits, table = common.adc_bits_of(precision), EnergyTable.load()

    def numbers(law: AdcLaw, values: EnergyTable) -> tuple[float, float]:
        before = inference_energy(events, (), bits, law, values)
        after = inference_energy(events, ALL_POLICIES, bits, law, values)
        return adc_saving(before, after, detection=True), efficiency_gain(before, after)

    label = constant
    if constant == "partial law":
        found = [numbers(AdcLaw(partial=name), table) for name in SOURCED_PARTIAL_LAWS]
    elif constant == "design law":
        found = [numbers(AdcLaw(design=name), table) for name in DESIGN_LAWS]
    else:
        low, high = RANGES[constant]
        label = f"{constant.replace('_', ' ')}, {low:g} to {high:g} {UNITS[constant]}"
        found = [numbers(AdcLaw(), replace(table, **{constant: value})) for value in (low, high)]
    saving, gain = numbers(AdcLaw(), table)
    savings, gains = zip(*found, strict=True)
    return {
        "label": label, "saving": saving, "saving_low": min(savings), "saving_high": max(savings),
        "gain": gain, "gain_low": min(gains), "gain_high": max(gains),
    }  # fmt: skip


GUARD_ROWS = (0, 1, 2, 4, 8, 16)


def guard_points(
    dataset: str, images: int, chips: int, checkpoints: str = common.SHIPPED
) -> list[Point]:
    """Guard rows at several spreads of the cells, the sense column's among them."""
    return [
        {"dataset": dataset, "precision": precision, "sigma": sigma, "guard_rows": guard,
         "images": images, "chips": chips, "checkpoints": checkpoints}
        for precision in PRECISIONS
        for sigma in (0.0, 0.1, 0.2)
        for guard in GUARD_ROWS
    ]  # fmt: skip


def guard_point(
    dataset: str, precision: str, sigma: float, guard_rows: int, images: int, chips: int,
    checkpoints: str,
) -> Point:  # fmt: skip
    """Images that each chip loses to stopping at what an imperfect sense column measures.

    Lossless 8-bit converters; the same chips without a sense column are the reference.
    """
    net = common.network(dataset, precision, 0, checkpoints)
    devices = DeviceModel(effects=(RangeVariation(sigma),) if sigma else ())
    plain = Hardware(devices=devices, adc=Adc(bits=8))
    sensed = replace(plain, sense=SenseColumn(guard_rows))
    pixels, labels = common.test_images(dataset, images)
    lost = [
        common.correct(Chip(net, plain, seed), pixels, labels)
        - common.correct(Chip(net, sensed, seed), pixels, labels)
        for seed in range(chips if sigma else 1)
    ]
    events = Chip(net, Hardware(adc=Adc(bits=8))).events(pixels[:20])
    policies = (ZeroSkip(), ActiveRowBound(guard_rows), ColumnBound())
    law, table = AdcLaw(), EnergyTable.load()
    before, after = (inference_energy(events, p, 8, law, table) for p in ((), policies))
    return {"lost": " ".join(map(str, lost)), "adc_saving": adc_saving(before, after)}


def clipped(network: QuantizedNetwork, limit: int) -> QuantizedNetwork:
    """The network with weight codes no larger than `limit`, so that high slices are empty."""
    layers = tuple(
        replace(layer, codes=np.clip(layer.codes, -limit, limit)) for layer in network.layers
    )
    return replace(network, layers=layers)


#: What goes beyond the default controller; see `beyond_point`.
OPTIONS = (
    "default", "active rows first", "clip to 3/4", "clip to 1/2", "clip to 1/4",
    "signed-digit weights", "offset weights", "one shot", "one shot, sign skip",
    "oracle: bits of the code",
)  # fmt: skip


def beyond_points(dataset: str, images: int, checkpoints: str = common.SHIPPED) -> list[Point]:
    """Every option at both precisions."""
    return [
        {"dataset": dataset, "precision": precision, "option": option, "images": images,
         "checkpoints": checkpoints}
        for precision in PRECISIONS
        for option in OPTIONS
    ]  # fmt: skip


def beyond_point(dataset: str, precision: str, option: str, images: int, checkpoints: str) -> Point:
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
    orders = None
    if option == "active rows first":
        orders = active_rows_first(chip, data.load(dataset).train_images[:200])
    events = chip.events(counted, orders)
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
