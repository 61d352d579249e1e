"""What a network costs on its chip: area, time, energy and accuracy, layer by layer.

The arrays of a layer, across and down, work at once; its positions and input planes, and the
layers, follow one another. A converter serves some columns one after the other, while its
sample-and-hold circuits keep one read and the array settles to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from nvlib.checks import require, require_instance, require_integer, require_number, settle_fields
from nvlib.chip import Chip
from nvlib.devices import Cells, WriteVerify
from nvlib.energy import (
    AdcLaw,
    EnergyTable,
    SourcedTable,
    adc_saving,
    efficiency_gain,
    inference_energy,
    tabled,
    tops_per_watt,
)
from nvlib.events import LayerEvents
from nvlib.hardware import Hardware
from nvlib.mapping import MAX_LINES
from nvlib.network import as_labels
from nvlib.sparsity import ALL_POLICIES, Policy, conversions, require_policies
from nvlib.storage import write_text

#: Area (um2) of an ADC of so many bits: ISAAC's (Kull et al., ISSCC 2013, 32 nm), scaled as Saberi
#: et al. 2011 scale capacitor arrays. The smallest SAR converters of the Murmann survey, scaled to
#: 32 nm by the square, have 371 (5 bits), 649 (7 bits), 316 and 727 (8 bits).
adc_um2 = tabled({4: 361.0, 5: 477.0, 6: 627.0, 7: 845.0, 8: 1200.0, 9: 1828.0, 10: 3002.0})
#: (effective bits, samples a second): no published converter that is not interleaved is faster at
#: as many (Murmann ADC survey, rev. 2025-06-09).
FASTEST = ((17.2, 2e6), (16.1, 5e6), (14.9, 4e7), (12.6, 2.5e8), (11.5, 6.4e9), (8.2, 1e10),
           (4.6, 1.03e10), (3.0, 4e10))  # fmt: skip
ISAAC_HZ = 1.28e9
ENERGY_IMAGES = 50  # that the energy of a report is counted on
#: Of the columns of a printed report.
FORMATS: dict[str, Callable[[float], str]] = {
    **dict.fromkeys(("utilization", "energy_share", "adc_saving"), lambda x: f"{100 * x:.1f} %"),
    **dict.fromkeys(("conversions", "energy_pj"), "{:.0f}".format),
    **dict.fromkeys(("tops_per_watt", "area_mm2", "latency_us"), "{:.3f}".format),
}


@dataclass(frozen=True)
class Converters:
    """How the columns of an array share their converters.

    Parameters
    ----------
    columns_per_adc : int, optional
        Columns that one ADC converts, one after the other; None is all of an array, as in ISAAC.
    sample_rate_hz : float, optional
        Conversions a second at full resolution; None is ISAAC's 1.28 GS/s, or the fastest published
        where that is less.
    """

    columns_per_adc: int | None = None
    sample_rate_hz: float | None = None

    def __post_init__(self) -> None:
        if self.columns_per_adc is not None:
            settle_fields(self, "columns_per_adc", require_integer, 1, MAX_LINES)
        if self.sample_rate_hz is not None:
            settle_fields(self, "sample_rate_hz", require_number, 1, 1e12)

    def seconds(self, hardware: Hardware) -> float:
        """Time of a full conversion; ValueError if the array or the world has no such converters.

        >>> f"{Converters().seconds(Hardware()):.2g}"
        '7.8e-10'
        """
        mapping, bits = hardware.mapping, hardware.adc.resolution(hardware.mapping.largest_sum)
        wanted = f"at most the {mapping.columns} columns of an array"
        require((self.columns_per_adc or 1) <= mapping.columns, "columns_per_adc", wanted,
                self.columns_per_adc, "share it among fewer, or widen the array")  # fmt: skip
        fastest = max((hertz for enob, hertz in FASTEST if enob >= bits - 1), default=0)
        require(fastest > 0, "ADC bits", f"at most {int(FASTEST[0][0]) + 1}, the most published",
                bits, "give Adc(bits=...), or use fewer rows or bits of a cell")  # fmt: skip
        rate = self.sample_rate_hz or min(ISAAC_HZ, fastest)
        require(rate <= fastest, "sample_rate_hz",
                f"at most {fastest:.3g}, the fastest published of {bits} bits", rate,
                "lower it, and let an ADC serve fewer columns")  # fmt: skip
        return 1 / rate


@dataclass(frozen=True)
class AreaTable(SourcedTable):
    """Value of each entry of the table, in its unit; see ``area_table.yaml``.

    Examples
    --------
    >>> AreaTable.load().cell  # square feature sizes
    48.0
    """

    FILE: ClassVar = "area_table.yaml"
    feature_size: float
    cell: float
    row_driver: float
    sample_hold: float
    shift_add: float
    comparator: float
    buffers: float
    interconnect: float
    standby: float


def cost(
    chip: Chip, events: Sequence[LayerEvents], converters: Converters | None = None,
    policies: tuple[Policy, ...] = (), areas: AreaTable | None = None,
    energies: EnergyTable | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Area by component, latency, and energy of buffers and standby, of layers and the network.

    Where a policy senses, the sense column is converted before the others. Conversions that stop
    after b of B bits take (b + 1) / (B + 1) of the time (an asynchronous SAR), in the mean: arrays
    that work at once are taken to be alike.

    Parameters
    ----------
    events : sequence of LayerEvents
        Of any images, from `Chip.events`.

    Returns
    -------
    DataFrame
        Columns layer, arrays, adcs; cells_mm2, converters_mm2 (with sample and hold), drivers_mm2,
        sense_mm2, digital_mm2, buffers_mm2, interconnect_mm2, area_mm2; reads and latency_us of an
        inference, layer after layer; buffers_pj and interconnect_pj, which are the data movement of
        `inference_energy`; standby_pj of the row's arrays in all of that time, which is none of its
        components. The last row is the network's. Pipelined layers take an image every largest
        latency_us.

    Examples
    --------
    >>> table = cost(chip, chip.events(images[:2]))
    >>> table[["layer", "arrays", "adcs", "reads"]].values.tolist()[-1]
    ['network', 32, 32, 2661]
    """
    policies = require_policies(policies)
    chip, mend = require_instance("chip", chip, Chip, "make one"), "pass those of chip.events()"
    own = [id(event.arrays) for event in events] == list(map(id, chip.arrays))
    require(own, "events", f"those of the {len(chip.arrays)} arrays of this chip", events, mend)
    hardware, converters = chip.hardware, converters or Converters()
    areas, energies = areas or AreaTable.load(), energies or EnergyTable.load()
    mapping, seconds = hardware.mapping, converters.seconds(hardware)
    bits = hardware.adc.resolution(mapping.largest_sum)
    senses = hardware.sense is not None or any(policy.senses for policy in policies)
    sense_um2 = senses * adc_um2((mapping.rows * mapping.digit_max).bit_length())
    cell_um2 = areas.cell * areas.feature_size**2

    def costs(event: LayerEvents) -> dict[str, Any]:
        arrays = len(event.digit_sums) * event.column_tiles
        across = -(-event.columns // event.column_tiles)  # columns of an array that are converted
        served = min(across, converters.columns_per_adc or across)
        adcs = arrays * -(-across // served)
        um2 = {
            "cells": arrays * mapping.rows * mapping.columns * cell_um2,
            "converters": adcs * adc_um2(bits) + arrays * across * areas.sample_hold,
            "drivers": arrays * mapping.rows * mapping.digit_max * areas.row_driver,
            "sense": arrays * sense_um2,  # its cells are among the array's
            "digital": adcs * (areas.shift_add + bool(policies) * areas.comparator),
            "buffers": arrays * areas.buffers,
            "interconnect": arrays * areas.interconnect,
        }
        counts = conversions(event, policies, bits)
        taken = counts[1:] @ np.arange(2, bits + 2) / (bits + 1) / (event.accesses * event.columns)
        converting = float((served * taken + senses) * seconds)
        reads = event.accesses // len(event.digit_sums) // event.images
        # While one read is converted the array settles to the next; the last conversion is alone.
        ends = min(energies.read_time, converting)
        latency = reads * max(energies.read_time, converting) + ends
        area = {f"{name}_mm2": value / 1e6 for name, value in um2.items()}
        moved_pj = event.accesses * event.columns / event.images * energies.data_movement
        return {
            "arrays": arrays, "adcs": adcs, **area, "area_mm2": sum(area.values()),
            "reads": reads, "latency_us": 1e6 * latency,
            "buffers_pj": energies.buffer_share * moved_pj,
            "interconnect_pj": (1 - energies.buffer_share) * moved_pj,
        }  # fmt: skip

    found = pd.DataFrame([{"layer": name} | costs(e) for name, e in zip(chip.layer_names, events)])
    how = dict.fromkeys(found.columns[1:], "sum") | {"reads": "max", "latency_us": "max"}
    layers = found.groupby("layer", sort=False).agg(how)  # groups of a layer work at once
    layers = pd.concat([layers, layers.sum().to_frame("network").T]).rename_axis("layer")
    layers["standby_pj"] = layers["arrays"] * areas.standby * layers["latency_us"].iloc[-1]
    return layers.astype(dict.fromkeys(("arrays", "adcs", "reads"), int)).reset_index()


def write_cost(chip: Chip, pulse_s: float, pulse_j: float) -> pd.DataFrame:
    """Pulses, time and energy that writing the weights takes, with `WriteVerify` among the effects.

    Parameters
    ----------
    pulse_s, pulse_j : float
        Time and energy of a pulse and the read that verifies it.

    Returns
    -------
    DataFrame
        Columns layer, cells, pulses and failed cells as expected, energy_uj, and time_s where each
        array writes its cells one after the other and all arrays write at once.

    Examples
    --------
    >>> verified = DeviceModel(effects=(WriteVerify(0.1, tolerance=0.05),))
    >>> table = write_cost(Chip(network, Hardware(devices=verified)), 1e-6, 10e-12)
    >>> round(float(table["pulses"].iloc[-1] / table["cells"].iloc[-1]), 2)  # 1 / 0.383
    2.61
    """
    verified = [e for e in chip.hardware.devices.effects if isinstance(e, WriteVerify)]
    require(len(verified) == 1, "effects", "one WriteVerify", chip.hardware.devices.effects,
            "add it to the devices")  # fmt: skip
    seconds = require_number("pulse_s", pulse_s, 0, 1)
    joules = require_number("pulse_j", pulse_j, 0, 1)
    rows = []
    for name, arrays in zip(chip.layer_names, chip.arrays):
        levels = arrays.mapped.levels
        pulses, failed = verified[0].expected(Cells(levels, arrays.mapping.level_max, 0.0))
        tiles = [tile.start for tile in arrays.mapping.tiles(len(levels))]
        of_tile = np.add.reduceat(pulses, tiles, axis=0)  # (row tiles, B, M)
        across = arrays.column_tile.ravel()
        busiest = max(np.bincount(across, tile.ravel()).max() for tile in of_tile)
        rows.append({"layer": name, "cells": levels.size, "pulses": pulses.sum(),
                     "failed": failed.sum(), "time_s": busiest * seconds})  # fmt: skip
    table = pd.DataFrame(rows)
    how = dict.fromkeys(table.columns[1:], "sum") | {"time_s": "max"}
    table = table.groupby("layer", sort=False).agg(how)
    table = pd.concat([table, table.agg(how).to_frame("network").T]).rename_axis("layer")
    table["energy_uj"] = table["pulses"] * joules * 1e6
    return table.astype({"cells": int}).reset_index()


@dataclass(frozen=True, eq=False)
class LayerReport:
    """A chip's report; print it, or write its table.

    `layers` has one row per layer, and a last one for the network. Columns: layer, matrix (inputs
    of an output x outputs), precision, arrays, utilization (share of the arrays' cells that hold
    weights), reads (one after another, per inference), conversions (per inference), energy_pj
    (with the sparsity policies), energy_share, adc_saving, tops_per_watt, area_mm2, latency_us
    (of an inference; layers one after another).
    """

    layers: pd.DataFrame
    accuracy: float | None  # share of the images that are classified rightly
    interval: tuple[float, float] | None  # 95 % interval of the accuracy (Wilson)
    images: int
    efficiency_gain: float  # energy without the policies over energy with them
    costs: pd.DataFrame  # area by component, converters and standby; see `cost`

    def __str__(self) -> str:
        whole = self.layers.iloc[-1]
        lines = [self.layers.to_string(index=False, formatters=FORMATS), ""]
        if self.accuracy is not None and self.interval is not None:
            lower, upper = (100 * end for end in self.interval)
            lines.append(f"accuracy      {100 * self.accuracy:.2f} % ({lower:.2f} to {upper:.2f}; "
                         f"{self.images} images)")  # fmt: skip
        areas = self.costs.iloc[-1].filter(like="_mm2").drop("area_mm2")
        lines += [
            f"energy        {whole['energy_pj'] / 1e3:.4g} nJ per inference, "
            f"{whole['tops_per_watt']:.3g} TOPS/W",
            f"sparsity      {100 * whole['adc_saving']:.1f} % of the ADC energy saved, "
            f"{self.efficiency_gain:.2f} x the efficiency",
            f"latency       {whole['reads']} reads one after another, "
            f"{whole['latency_us']:.4g} us; pipelined, an image every "
            f"{self.layers['latency_us'].iloc[:-1].max():.4g} us",
            f"area          {whole['area_mm2']:.3g} mm2, of it "
            + ", ".join(f"{100 * value / whole['area_mm2']:.0f} % {name.removesuffix('_mm2')}"
                        for name, value in areas.items()),
            f"arrays        {whole['arrays']}, {100 * whole['utilization']:.1f} % of their cells "
            "hold weights",
        ]  # fmt: skip
        return "\n".join(lines)

    def save(self, path: Path) -> None:
        """Write the table as CSV, whole or not at all."""
        write_text(path, self.layers.to_csv(index=False, lineterminator="\n"))


def report(
    chip: Chip, images: Any, labels: Any = None, *, policies: tuple[Policy, ...] = ALL_POLICIES,
    law: AdcLaw | None = None, table: EnergyTable | None = None,
    converters: Converters | None = None,
) -> LayerReport:  # fmt: skip
    """Accuracy on all images, and what an inference takes, counted on the first few.

    Images (N, ...) are as the chip takes them. Without labels (N,) no accuracy is given; labels
    that are not one for each image are refused.

    Examples
    --------
    >>> table = report(chip, images[:4]).layers
    >>> table[["layer", "matrix", "arrays", "reads"]].values.tolist()[-2:]
    [['fc3', '84 x 10', 1, 3], ['network', '', 32, 2661]]
    >>> table[["layer", "area_mm2", "latency_us"]].round(3).values.tolist()[::5]
    [['conv1', 0.006, 235.206], ['network', 0.19, 266.283]]
    """
    policies, chip = require_policies(policies), require_instance("chip", chip, Chip, "make one")
    law = require_instance("law", law or AdcLaw(), AdcLaw, "write AdcLaw('walden')")
    siemens = chip.hardware.devices.on_conductance_s
    table = table or replace(EnergyTable.load(), on_conductance=siemens)
    images = chip.network.check(images)
    require(len(images) > 0, "images", "at least one", 0, "pass some")
    accuracy, interval = None, None
    if labels is not None:
        labels = as_labels(labels, len(images))  # before the images are read
        logits, mend = chip.logits(images), "leave the labels out"
        wanted = "an output (N, classes) to compare with labels"
        require(logits.ndim == 2, "network", wanted, logits.shape, mend)
        labels = as_labels(labels, len(images), logits.shape[1]).numpy()
        right = int((logits.argmax(axis=1) == labels).sum())
        accuracy = right / len(images)
        found = binomtest(right, len(images)).proportion_ci(method="wilson")
        interval = float(found.low), float(found.high)
    events = chip.events(images[:ENERGY_IMAGES])
    mapping, layers = chip.hardware.mapping, chip.network.layers
    bits = chip.hardware.adc.resolution(mapping.largest_sum)
    costs = cost(chip, events, converters, policies, energies=table)
    by_layer = [
        [event for event, name in zip(events, chip.layer_names) if name == layer.spec.name]
        for layer in layers
    ]
    shown = [(f"{one.spec.rows} x {one.spec.outputs}", str(one.precision)) for one in layers]
    whole_pj = sum(inference_energy(events, policies, bits, law, table).values())
    rows = []
    for some, (matrix, precision), (_, costing) in zip(
        [*by_layer, events], [*shown, ("", "")], costs.iterrows()
    ):
        before, after = (inference_energy(some, p, bits, law, table) for p in ((), policies))
        spent_pj, arrays = sum(after.values()), int(costing["arrays"])
        weights = sum(event.arrays.mapped.levels.size for event in some)
        done = sum(int(conversions(event, policies, bits)[1:].sum()) for event in some)
        rows.append({
            "layer": costing["layer"], "matrix": matrix, "precision": precision, "arrays": arrays,
            "utilization": weights / (arrays * mapping.rows * mapping.columns),
            "reads": int(costing["reads"]), "conversions": done / some[0].images,
            "energy_pj": spent_pj, "energy_share": spent_pj / whole_pj,
            "adc_saving": adc_saving(before, after), "tops_per_watt": tops_per_watt(some, after),
            "area_mm2": costing["area_mm2"], "latency_us": costing["latency_us"],
        })  # fmt: skip
    gain = efficiency_gain(before, after)  # of the network, which is the last row
    return LayerReport(pd.DataFrame(rows), accuracy, interval, len(images), gain, costs)
