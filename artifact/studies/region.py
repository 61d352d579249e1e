"""Which readings of the hardware and which constants explain the savings."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pandas as pd

from artifact.studies import common
from artifact.studies.common import PAIR
from artifact.studies.sparsity import MECHANISMS, default_chip
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
#: Columns of the region that make a reading of the hardware; the others are laws.
READING = ["network", "cell_bits", "inputs", "adc_rule"]
#: Laws that a SAR converter may follow when it stops early; those without a fitted constant.
SOURCED_PARTIAL_LAWS = ("sar-cycles", "constant-power", "linear", "half-fixed", "cdac")


def region_points(dataset: str, images: int, checkpoints: str = common.SHIPPED) -> list[Point]:
    """Readings of the hardware but for its converters: cell bits, bits at a time, network."""
    return [
        {"dataset": dataset, "precision": precision, "network": network, "cell_bits": cell_bits,
         "inputs": inputs, "images": images, "checkpoints": checkpoints}
        for network in reversed(NETWORKS)
        for cell_bits in (1, 2, 3)
        for inputs in ("bit-serial", "2 bits", "one shot")
        for precision in PAIR
    ]  # fmt: skip


def region_point(
    dataset: str, precision: str, network: str, cell_bits: int, inputs: str, images: int,
    checkpoints: str,
) -> Point:  # fmt: skip
    """Saving and gain under every rule for the converters, mechanism and ADC law.

    Rules that give the converters as many bits share what is counted.
    """
    net = common.network(dataset, precision, 0, checkpoints, "qat", network)
    dac_bits = {"bit-serial": 1, "2 bits": 2, "one shot": net.precision.activation_bits}[inputs]
    mapping = ArrayMapping(cell_bits=cell_bits, dac_bits=dac_bits)
    pixels, _ = common.test_images(dataset, images)
    table, results = EnergyTable.load(), []
    bits_of = {"B = W": common.adc_bits_of(precision), "B = 8": 8, "B = 4": 4}
    for bits in dict.fromkeys(bits_of.values()):
        hardware = common.calibrated(net, Hardware(mapping, adc=Adc(bits=bits)), dataset)
        events = Chip(net, hardware).events(pixels)
        rules = [rule for rule, asked in bits_of.items() if asked == bits]
        for design, partial in itertools.product(DESIGN_LAWS, SOURCED_PARTIAL_LAWS):
            law = AdcLaw(design, partial)
            before = inference_energy(events, (), bits, law, table)
            for mechanism, policies in MECHANISMS.items():
                after = inference_energy(events, policies, bits, law, table)
                saving, gain = adc_saving(before, after), efficiency_gain(before, after)
                results += [
                    {"adc_rule": rule, "design": design, "partial": partial,
                     "mechanism": mechanism, "adc_saving": round(saving, 4),
                     "efficiency_gain": round(gain, 4)}
                    for rule in rules
                ]  # fmt: skip
    return {"results": results}


def tidy_region(table: pd.DataFrame) -> pd.DataFrame:
    """One row per combination, with both precisions' saving and gain side by side."""
    keys = ["dataset", *READING, "design", "partial", "mechanism", "images"]
    wide = common.tidy(table).pivot(
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
    """Both precisions."""
    return [
        {"dataset": dataset, "precision": precision, "images": images, "checkpoints": checkpoints}
        for precision in PAIR
    ]


def tornado_point(dataset: str, precision: str, images: int, checkpoints: str) -> Point:
    """Net saving and gain over the range of each constant or law, the others at the default."""
    chip = default_chip(dataset, precision, 128, checkpoints)
    events = chip.events(common.test_images(dataset, images)[0])
    bits, table = common.adc_bits_of(precision), EnergyTable.load()

    def numbers(law: AdcLaw, values: EnergyTable) -> tuple[float, float]:
        before = inference_energy(events, (), bits, law, values)
        after = inference_energy(events, ALL_POLICIES, bits, law, values)
        return adc_saving(before, after, detection=True), efficiency_gain(before, after)

    (saving, gain), results = numbers(AdcLaw(), table), []
    for constant in (*RANGES, "partial law", "design law"):
        label = constant
        if constant == "partial law":
            found = [numbers(AdcLaw(partial=name), table) for name in SOURCED_PARTIAL_LAWS]
        elif constant == "design law":
            found = [numbers(AdcLaw(design=name), table) for name in DESIGN_LAWS]
        else:
            low, high = RANGES[constant]
            label = f"{constant.replace('_', ' ')}, {low:g} to {high:g} {UNITS[constant]}"
            found = [numbers(AdcLaw(), replace(table, **{constant: end})) for end in (low, high)]
        savings, gains = zip(*found, strict=True)
        results.append(
            {"constant": constant, "label": label, "saving": saving, "saving_low": min(savings),
             "saving_high": max(savings), "gain": gain, "gain_low": min(gains),
             "gain_high": max(gains)}
        )  # fmt: skip
    return {"results": results}
