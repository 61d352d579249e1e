"""Which readings of the hardware and which constants explain the savings."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pandas as pd

from artifact.studies import common
from artifact.studies.sparsity import MECHANISMS, PRECISIONS, default_chip
from artifact.sweep import Point
from nvlib import Adc, ArrayMapping, Chip, Hardware
from nvlib.energy import (
    DESIGN_LAWS,
    UNITS,
    AdcLaw,
    EnergyTable,
    adc_saving,
    efficiency_gain,
    inference_energy,
)
from nvlib.sparsity import ALL_POLICIES

NETWORKS = ("lenet5", "wide")
#: Laws that a SAR converter may follow when it stops early; those without a fitted constant.
SOURCED_PARTIAL_LAWS = ("sar-cycles", "constant-power", "linear", "half-fixed", "cdac")


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
    """Saving and gain under every mechanism and ADC law, for one reading."""
    net = common.network(dataset, precision, 0, checkpoints, "qat", network)
    bits = common.adc_bits_of(precision) if adc_rule == "B = W" else int(adc_rule[-1])
    dac_bits = {"bit-serial": 1, "2 bits": 2, "one shot": net.precision.activation_bits}[inputs]
    hardware = Hardware(ArrayMapping(cell_bits=cell_bits, dac_bits=dac_bits), adc=Adc(bits=bits))
    chip = Chip(net, common.calibrated(net, hardware, dataset))
    events = chip.events(common.test_images(dataset, images)[0])
    table, results = EnergyTable.load(), []
    for design, partial in itertools.product(DESIGN_LAWS, SOURCED_PARTIAL_LAWS):
        law = AdcLaw(design, partial)
        before = inference_energy(events, (), bits, law, table)
        for mechanism, policies in MECHANISMS.items():
            after = inference_energy(events, policies, bits, law, table)
            results.append(
                {"design": design, "partial": partial, "mechanism": mechanism,
                 "adc_saving": round(adc_saving(before, after), 4),
                 "efficiency_gain": round(efficiency_gain(before, after), 4)}
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
    keys += ["design", "partial", "mechanism"]
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
    chip = default_chip(dataset, precision, 128, checkpoints)
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
