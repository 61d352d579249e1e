"""What a network costs on its chip, layer by layer: arrays, reads, energy, accuracy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from nvlib.checks import require
from nvlib.chip import Chip
from nvlib.cost import Converters, cost
from nvlib.energy import (
    AdcLaw,
    EnergyTable,
    adc_saving,
    efficiency_gain,
    inference_energy,
    tops_per_watt,
)
from nvlib.events import LayerEvents
from nvlib.mapping import count_arrays
from nvlib.network import as_labels
from nvlib.sparsity import ALL_POLICIES, Policy, conversions
from nvlib.storage import write_text

ENERGY_IMAGES = 50


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
    latency_s: float  # of an inference, layers one after another
    costs: pd.DataFrame  # area by component, converters and standby; see `nvlib.cost`

    def __str__(self) -> str:
        table = self.layers.copy()
        for name in ("utilization", "energy_share", "adc_saving"):
            table[name] = (100 * table[name]).map("{:.1f} %".format)
        for name in ("conversions", "energy_pj"):
            table[name] = table[name].map("{:.0f}".format)
        for name in ("tops_per_watt", "area_mm2", "latency_us"):
            table[name] = table[name].map("{:.3f}".format)
        whole = self.layers.iloc[-1]
        lines = [table.to_string(index=False), ""]
        if self.accuracy is not None and self.interval is not None:
            lower, upper = (100 * end for end in self.interval)
            lines.append(f"accuracy      {100 * self.accuracy:.2f} % ({lower:.2f} to {upper:.2f}; "
                         f"{self.images} images)")  # fmt: skip
        lines += [
            f"energy        {whole['energy_pj'] / 1e3:.4g} nJ per inference, "
            f"{whole['tops_per_watt']:.3g} TOPS/W",
            f"sparsity      {100 * whole['adc_saving']:.1f} % of the ADC energy saved, "
            f"{self.efficiency_gain:.2f} x the efficiency",
            f"latency       {whole['reads']} reads one after another, "
            f"{whole['latency_us']:.4g} us; pipelined, an image every "
            f"{self.layers['latency_us'].iloc[:-1].max():.4g} us",
            f"area          {whole['area_mm2']:.3g} mm2, of it "
            + ", ".join(
                f"{100 * self.costs[name].iloc[-1] / whole['area_mm2']:.0f} % {name[:-4]}"
                for name in self.costs.columns
                if name.endswith("_mm2") and name != "area_mm2"
            ),
            f"arrays        {whole['arrays']}, {100 * whole['utilization']:.1f} % of their cells "
            "hold weights",
        ]
        return "\n".join(lines)

    def save(self, path: Path) -> None:
        """Write the table as CSV, whole or not at all."""
        write_text(Path(path), self.layers.to_csv(index=False, lineterminator="\n"))


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
    """
    law, siemens = law or AdcLaw(), chip.hardware.devices.on_conductance_s
    table = table or replace(EnergyTable.load(), on_conductance=siemens)
    images = chip.network.check(images)
    require(len(images) > 0, "images", "at least one", 0, "pass some")
    accuracy, interval = None, None
    if labels is not None:
        logits = chip.logits(images)
        labels = as_labels(labels, len(images), logits.shape[1]).numpy()
        right = int((logits.argmax(axis=1) == labels).sum())
        accuracy = right / len(images)
        found = binomtest(right, len(images)).proportion_ci(method="wilson")
        interval = float(found.low), float(found.high)
    events = chip.events(images[:ENERGY_IMAGES])
    mapping = chip.hardware.mapping
    bits = chip.hardware.adc.resolution(mapping.largest_sum)

    def energy(some: list[LayerEvents], chosen: tuple[Policy, ...]) -> dict[str, float]:
        return inference_energy(some, chosen, bits, law, table)

    without, within = energy(events, ()), energy(events, policies)
    layers = cost(chip, events, converters, policies, energies=table)
    shown = layers.set_index("layer")[["reads", "area_mm2", "latency_us"]]

    def costs(some: list[LayerEvents]) -> dict[str, Any]:
        before, after = energy(some, ()), energy(some, policies)
        done = sum(int(conversions(event, policies, bits)[1:].sum()) for event in some)
        arrays, weights = np.sum([_arrays(chip, event) for event in some], axis=0).tolist()
        return {
            "arrays": arrays,
            "utilization": weights / (arrays * mapping.rows * mapping.columns),
            "conversions": done / some[0].images,
            "energy_pj": sum(after.values()),
            "energy_share": sum(after.values()) / sum(within.values()),
            "adc_saving": adc_saving(before, after),
            "tops_per_watt": tops_per_watt(some, after),
        }

    rows = []
    for layer in chip.network.layers:
        some = [event for event, name in zip(events, chip.layer_names) if name == layer.spec.name]
        matrix = f"{layer.spec.rows} x {layer.spec.outputs}"
        names = {"layer": layer.spec.name, "matrix": matrix, "precision": str(layer.precision)}
        rows.append(names | costs(some))
    rows.append({"layer": "network", "matrix": "", "precision": ""} | costs(events))
    found = pd.DataFrame(rows)
    found.insert(5, "reads", shown["reads"].to_numpy())
    found = found.assign(**{name: shown[name].to_numpy() for name in ("area_mm2", "latency_us")})
    gain = efficiency_gain(without, within)
    latency = layers["latency_us"].iloc[-1] / 1e6
    return LayerReport(found, accuracy, interval, len(images), gain, latency, layers)


def _arrays(chip: Chip, event: LayerEvents) -> tuple[int, int]:
    """Arrays of a layer, and cells that hold weights of the network."""
    layer, sense = event.arrays.layer, int(chip.hardware.sense is not None)
    inputs = len(event.arrays.conductance)
    mapping = event.arrays.mapping
    count = count_arrays(inputs, layer.spec.outputs, layer.precision, mapping, sense)
    return count.arrays, count.cells // event.arrays.groups
