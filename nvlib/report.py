"""What a network costs on its chip, layer by layer: arrays, reads, energy, accuracy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

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
from nvlib.network import as_labels
from nvlib.sparsity import ALL_POLICIES, Policy, conversions
from nvlib.storage import write_text

ENERGY_IMAGES = 50
#: Of the columns of a printed report.
FORMATS: dict[str, Callable[[float], str]] = {
    **dict.fromkeys(("utilization", "energy_share", "adc_saving"), lambda x: f"{100 * x:.1f} %"),
    **dict.fromkeys(("conversions", "energy_pj"), "{:.0f}".format),
    **dict.fromkeys(("tops_per_watt", "area_mm2", "latency_us"), "{:.3f}".format),
}


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
    costs: pd.DataFrame  # area by component, converters and standby; see `nvlib.cost`

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
