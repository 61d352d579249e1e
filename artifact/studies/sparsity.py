"""Where the zeros are, and what a sparsity-aware controller saves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import yaml

from artifact.paths import EXPECTED
from artifact.statistics import mean_interval
from artifact.studies import common
from artifact.studies.common import PAIR
from artifact.sweep import Point
from nvlib.chip import Chip
from nvlib.converters import Adc
from nvlib.devices import DeviceModel, RangeVariation
from nvlib.energy import (
    COMPONENTS,
    AdcLaw,
    EnergyTable,
    adc_saving,
    efficiency_gain,
    inference_energy,
    operations,
)
from nvlib.hardware import Hardware, SenseColumn
from nvlib.sparsity import (
    ALL_POLICIES,
    ActiveRowBound,
    ColumnBound,
    ZeroSkip,
    conversions_by_column,
)

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
        for precision in PAIR
        for size in sizes
    ]  # fmt: skip


def default_chip(dataset: str, precision: str, array_size: int, checkpoints: str) -> Chip:
    """An ideal chip of the default hardware, training seed 0."""
    net = common.network(dataset, precision, 0, checkpoints)
    return Chip(net, common.default_hardware(net, dataset, rows=array_size))


def saving_point(
    dataset: str, precision: str, array_size: int, images: int, checkpoints: str
) -> Point:
    """ADC saving and efficiency gain of the default hardware, with intervals over images."""
    chip = default_chip(dataset, precision, array_size, checkpoints)
    bits, (pixels, _) = common.adc_bits_of(precision), common.test_images(dataset, images)
    law, table = AdcLaw(), EnergyTable.load()
    savings, gains, energies, layers = [], [], [], []
    for block in np.array_split(pixels, min(BLOCKS, len(pixels))):
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
    """Where the zeros are, layer by layer: shares, those of bit planes, and active rows of reads.

    A result is a value of a quantity; `index` is the bit plane of "zero bits", and the number of
    active rows of "reads", which counts them.
    """
    chip = default_chip(dataset, precision, array_size, checkpoints)
    pixels, _ = common.test_images(dataset, images)
    results = []
    for event, inputs in zip(chip.events(pixels), chip.layer_codes(pixels), strict=True):
        planes = [((inputs >> p) & 1 == 0).mean() for p in range(event.arrays.planes)]
        reads = np.trim_zeros(event.digit_sums.sum(axis=(0, 1)), "b")
        quantities = {
            "zero weights": [(event.arrays.layer.codes == 0).mean()],
            "zero cells": [(event.arrays.mapped.levels == 0).mean()],
            "zero activations": [(inputs == 0).mean()],
            "zero bits": planes, "reads": reads,
        }  # fmt: skip
        results += [
            {"layer": event.arrays.layer.spec.name, "quantity": quantity, "index": index,
             "value": float(value)}
            for quantity, values in quantities.items() for index, value in enumerate(values)
        ]  # fmt: skip
    return {"results": results}


def with_layers(zeros: pd.DataFrame) -> pd.DataFrame:
    """A row for each precision, with a list of what each of its layers has.

    Parameters
    ----------
    zeros : DataFrame
        Results of `zeros_point`, tidy.
    """
    rows = []
    for (dataset, precision, images), table in zeros.groupby(
        ["dataset", "precision", "images"], sort=False
    ):
        layers = []
        for name, values in table.groupby("layer", sort=False):
            found = {
                quantity: part["value"].tolist()
                for quantity, part in values.groupby("quantity", sort=False)
            }
            shares = {key: found[key][0] for key in found if key not in ("zero bits", "reads")}
            layers.append(
                {"layer": name, **shares, "zero bits by plane": found["zero bits"],
                 "active rows": found["reads"]}
            )  # fmt: skip
        rows.append(
            {"dataset": dataset, "precision": precision, "images": images, "layers": layers}
        )
    return pd.DataFrame(rows)


def conversions_point(
    dataset: str, precision: str, array_size: int, images: int, checkpoints: str
) -> Point:
    """Conversions by layer, input plane, weight slice, polarity and resolved bits.

    Before and after sparing; bits is 0 for conversions that are spared.
    """
    chip = default_chip(dataset, precision, array_size, checkpoints)
    bits, (pixels, _) = common.adc_bits_of(precision), common.test_images(dataset, images)
    results = []
    for event in chip.events(pixels):
        before, after = (
            conversions_by_column(event, policies, bits) for policies in ((), ALL_POLICIES)
        )
        for plane, column, resolved in np.ndindex(before.shape):
            weight = int(event.arrays.mapped.coefficients[column])
            results.append(
                {"layer": event.arrays.layer.spec.name, "plane": plane,
                 "slice": abs(weight).bit_length() - 1, "polarity": "+" if weight > 0 else "-",
                 "bits": resolved, "before": int(before[plane, column, resolved]),
                 "after": int(after[plane, column, resolved])}
            )  # fmt: skip
    return {"results": results}


def checks(conversions: pd.DataFrame) -> dict[str, bool]:
    """Whether sparing loses no conversion, and nothing is spared beforehand."""
    keys = ["precision", "layer", "plane", "slice", "polarity"]
    totals = conversions.groupby(keys)[["before", "after"]].sum()
    highest = conversions.groupby("precision")["bits"].transform("max")
    return {
        "every conversion before is counted once after":
            bool((totals["before"] == totals["after"]).all()),
        "before, every conversion resolves every bit":
            bool((conversions.loc[conversions["bits"] < highest, "before"] == 0).all()),
    }  # fmt: skip


def bits_sentence(conversions: pd.DataFrame) -> str:
    """How often a conversion is spared, and how often half of the converter's bits are enough."""
    parts = []
    for name, rows in conversions.groupby("precision", sort=False):
        after, top = rows.groupby("bits")["after"].sum(), int(rows["bits"].max())
        share = after / after.sum()
        half = share[share.index <= top // 2].sum()
        parts.append(
            f"At {name} {100 * share.get(0, 0.0):.0f} % of the conversions are spared; with these, "
            f"{100 * half:.0f} % need {top // 2} of {top} bits or fewer."
        )
    return " ".join(parts)


GUARD_ROWS = (0, 1, 2, 4, 8, 16)


def guard_points(
    dataset: str, images: int, chips: int, checkpoints: str = common.SHIPPED
) -> list[Point]:
    """Guard rows at several spreads of the cells, the sense column's among them."""
    return [
        {"dataset": dataset, "precision": precision, "sigma": sigma, "guard_rows": guard,
         "images": images, "chips": chips, "checkpoints": checkpoints}
        for precision in PAIR
        for sigma in (0.0, 0.1, 0.2)
        for guard in GUARD_ROWS
    ]  # fmt: skip


def guard_point(
    dataset: str, precision: str, sigma: float, guard_rows: int, images: int, chips: int,
    checkpoints: str,
) -> Point:  # fmt: skip
    """Images that chips lose (least, mean, most) to stopping at an imperfect sense column's count.

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
    found = {"lost_least": min(lost), "lost_mean": float(np.mean(lost)), "lost_most": max(lost)}
    return found | {"adc_saving": adc_saving(before, after)}
