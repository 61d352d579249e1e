"""What of the saving is static, what digital, what sensed in situ; which choices decide it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import stats

from artifact.statistics import redrawn
from artifact.studies import common
from artifact.studies.common import PAIR
from artifact.studies.readings import MECHANISMS, Reading
from artifact.studies.region import RANGES, SOURCED_PARTIAL_LAWS
from artifact.sweep import Point
from nvlib.energy import DESIGN_LAWS, AdcLaw, EnergyTable, inference_energy
from nvlib.events import LayerEvents
from nvlib.sparsity import Policy, conversions

#: Laws of a full conversion that draws are made from: name, and whether with column currents.
LAWS = (*((name, False) for name in DESIGN_LAWS), ("neurosim", True))
FAIR = "column sums, digital zero skip"
DRAWS = 200
COSTS = ["adc_pj", "detection_pj", "total_pj", "cycles"]
BLOCKS = 10  # of test images, whose spread goes into the intervals


def points(dataset: str, images: int, checkpoints: str = common.SHIPPED) -> list[Point]:
    """Both precisions, under recipes with several training seeds."""
    return [
        {"dataset": dataset, "training": training, "precision": precision, "seed": seed,
         "images": images, "checkpoints": checkpoints}
        for training in ("ptq", "qat")
        for precision in PAIR
        for seed in common.training_seeds(dataset, precision, checkpoints, training)
    ]  # fmt: skip


def point(
    dataset: str, training: str, precision: str, seed: int, images: int, checkpoints: str
) -> Point:
    """Energies and cycles of an inference with one mechanism after the other.

    Cycles are those of one SAR converter that an array's columns share, b + 1 for b bits; a sense
    column is converted before them, for only then is it known how far they may go.
    """
    reading = Reading(training, seed)
    bits = reading.bits(precision)
    chip = reading.chip(dataset, precision, checkpoints)
    pixels, _ = common.test_images(dataset, images)
    results = []
    for block, part in enumerate(np.array_split(pixels, min(BLOCKS, images))):
        events = chip.events(part)
        for mechanism, policies in MECHANISMS.items():
            energy = inference_energy(events, policies, bits, AdcLaw(), EnergyTable.load())
            results.append(
                {"block": block, "mechanism": mechanism, "adc_pj": energy["adc"],
                 "detection_pj": energy["detection"], "total_pj": sum(energy.values()),
                 "cycles": _cycles(events, policies, bits) / len(part)}
            )  # fmt: skip
    return {"results": results}


def _cycles(events: list[LayerEvents], policies: tuple[Policy, ...], bits: int) -> int:
    """Cycles of the converters, all arrays' together."""
    cycles = 0
    for event in events:
        counts = conversions(event, policies, bits)[1:]
        cycles += int(counts @ np.arange(2, bits + 2))
        if any(policy.senses for policy in policies):
            sensed = min(event.arrays.mapping.rows.bit_length(), bits) + 1
            cycles += event.accesses * event.column_tiles * sensed
    return cycles


def steps(table: pd.DataFrame, training: str = "qat") -> pd.DataFrame:
    """Saving and gain of each mechanism against nothing, and of the last against the fair one.

    Means over training seeds: ADC saving gross and net of detection, gain, cycles relative to the
    baseline. The fair baseline sizes conversions to the column sums and skips zeros digitally.
    """
    keys = ["precision", "mechanism", "seed"]
    table = table[table["training"] == training]
    table = table.groupby(keys, sort=False)[COSTS].mean().reset_index()
    rows = []
    for (precision, mechanism), group in table.groupby(["precision", "mechanism"], sort=False):
        for against in ("nothing", FAIR):
            if mechanism == "nothing" or (against == FAIR and mechanism != "all, sensed"):
                continue
            other = table[(table["precision"] == precision) & (table["mechanism"] == against)]
            base, mine = (part.set_index("seed") for part in (other, group))
            values = {
                "saving": 1 - mine["adc_pj"] / base["adc_pj"],
                "net": 1 - (mine["adc_pj"] + mine["detection_pj"]) / base["adc_pj"],
                "gain": base["total_pj"] / mine["total_pj"],
                "cycles": mine["cycles"] / base["cycles"],
            }
            rows.append(
                {"precision": precision, "mechanism": mechanism, "against": against,
                 **{name: value.mean() for name, value in values.items()}}
            )  # fmt: skip
    return pd.DataFrame(rows)


def intervals(
    table: pd.DataFrame, precision: str, samples: int = 2000
) -> dict[str, tuple[float, float, float]]:
    """Saving, net saving and gain of everything against nothing: value and 95 % interval.

    After quantization-aware training.

    Of the mean over training seeds and test images; both, seeds and blocks of images, are drawn
    with replacement. The ends of the bootstrap are those of a normal distribution, and of few seeds
    87 % in place of 95 would lie between them: they are moved out as Student's t is wider.
    """
    rows = table[(table["training"] == "qat") & (table["precision"] == precision)]
    wide = rows.set_index(["mechanism", "seed", "block"])[COSTS].sort_index()

    def cost(mechanism: str, name: str) -> np.ndarray:
        return wide.loc[mechanism, name].unstack("block").to_numpy()  # (seeds, blocks)

    adc, whole = (cost("nothing", name) for name in ("adc_pj", "total_pj"))
    less, total = (cost("all, sensed", name) for name in ("adc_pj", "total_pj"))
    spent = cost("all, sensed", "detection_pj")
    generator = np.random.default_rng(0)
    if max(adc.shape) < 2:
        raise ValueError(
            "expected at least 2 training seeds or test images for an interval, received one of "
            "each; use more images"
        )
    s, b = (redrawn(generator.random((samples, count)), count) for count in adc.shape)
    s, b = s[:, :, None], b[:, None, :]
    few = min((count for count in adc.shape if count > 1), default=2)
    wider = float(stats.t.ppf(0.975, few - 1) / stats.norm.ppf(0.975))

    def both(values: Callable[..., np.ndarray]) -> tuple[float, float, float]:
        drawn = values(*(part[s, b].mean(axis=(1, 2)) for part in (adc, whole, less, total, spent)))
        value = float(values(*(part.mean() for part in (adc, whole, less, total, spent))))
        lower, upper = value + wider * (np.quantile(drawn, (0.025, 0.975)) - value)
        return value, float(lower), float(upper)

    return {
        "saving": both(lambda adc, whole, less, total, spent: 1 - less / adc),
        "net": both(lambda adc, whole, less, total, spent: 1 - (less + spent) / adc),
        "gain": both(lambda adc, whole, less, total, spent: whole / total),
    }


def draw_points(dataset: str, images: int, checkpoints: str = common.SHIPPED) -> list[Point]:
    """Every training seed of both recipes."""
    return [
        {"dataset": dataset, "training": training, "seed": seed, "images": images,
         "checkpoints": checkpoints}
        for training in ("ptq", "qat")
        for seed in common.training_seeds(dataset, "W4A3", checkpoints, training)
    ]  # fmt: skip


def draw_point(dataset: str, training: str, seed: int, images: int, checkpoints: str) -> Point:
    """C5 and C6 under laws and constants drawn from the literature, the same for every network.

    Laws are drawn evenly among those that are sourced, constants evenly in their logarithm over
    their ranges. The default hardware is not varied: 1-bit cells, bit-serial, B = 8 and 4.
    """
    reading = Reading(training, seed)
    pixels, _ = common.test_images(dataset, images)
    events = {
        precision: reading.chip(dataset, precision, checkpoints).events(pixels, column_sums=True)
        for precision in PAIR
    }
    generator, results = np.random.default_rng(2022), []
    for draw in range(DRAWS):
        design, current = LAWS[generator.integers(len(LAWS))]
        partial = str(generator.choice(SOURCED_PARTIAL_LAWS))
        constants = {
            name: float(np.exp(generator.uniform(*np.log(span)))) for name, span in RANGES.items()
        }
        drawn = replace(
            reading, design=design, partial=partial, column_current=current, constants=constants
        )
        numbers = drawn.numbers("W8A8", events["W8A8"]) | drawn.numbers("W4A3", events["W4A3"])
        results.append(
            {"draw": draw, "design": design, "column_current": current, "partial": partial}
            | numbers
        )
    return {"results": results}


#: One choice changed at a time, everything else the artifact's hardware.
SINGLE: dict[str, dict] = {
    "as it is": {},
    "quantization after training": {"training": "ptq"},
    **{f"converters designed as {law}": {"design": law} for law in DESIGN_LAWS if law != "walden"},
    "converters designed as neurosim, with column currents":
        {"design": "neurosim", "column_current": True},
    **{f"stopped early as {law}": {"partial": law}
       for law in SOURCED_PARTIAL_LAWS if law != "sar-cycles"},
    "Walden 30 fJ a step": {"constants": {"walden_step": 0.030}},
    "data movement halved": {"constants": {"data_movement": 0.24}},
    "data movement doubled": {"constants": {"data_movement": 0.96}},
    "row driver 0.8 pJ": {"constants": {"row_driver": 0.8}},
    "G_on 100 uS": {"constants": {"on_conductance": 100e-6}},
    "8-bit converters at both": {"adc_bits": (8, 8)},
    "4-bit converters at both": {"adc_bits": (4, 4)},
    "2-bit cells": {"cell_bits": 2},
    "2 input bits at a time": {"dac_bits": 2},
    "offset columns, 8 and 6 bits": {"scheme": "offset", "adc_bits": (8, 6)},
    "two's-complement slices": {"scheme": "twos-complement"},
    "two's-complement slices of mixed width": {"scheme": "mixed", "cell_bits": 4},
    "two's-complement slices, 8 and 5 bits": {"scheme": "twos-complement", "adc_bits": (8, 5)},
    "column sums alone": {"mechanism": "column sums"},
    "column sums, digital zero skip": {"mechanism": FAIR},
    "against converters sized to the columns": {"baseline": FAIR},
}  # fmt: skip


def single_points(dataset: str, images: int, checkpoints: str = common.SHIPPED) -> list[Point]:
    """Every single choice."""
    return [
        {"dataset": dataset, "choice": choice, "images": images, "checkpoints": checkpoints}
        for choice in SINGLE
    ]


def single_point(dataset: str, choice: str, images: int, checkpoints: str) -> Point:
    """The four numbers under one changed choice."""
    return replace(Reading(), **SINGLE[choice]).four(dataset, images, checkpoints)
