"""Events times a sourced table of energies; ADC laws.

An ADC has two laws. `design` is what one full conversion costs in a converter
built for B bits; `partial` is the share of it that is spent when the
converter stops, or starts late, so that b of its B bits are resolved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from nvlib.checks import require, require_number
from nvlib.events import LayerEvents
from nvlib.sparsity import Policy, SignSkip, conversions

UNITS = {
    "read_voltage": "V",
    "on_conductance": "S",
    "read_time": "s",
    "row_driver": "pJ",
    "sample_hold": "pJ",
    "shift_add": "pJ",
    "data_movement": "pJ",
    "comparator": "pJ",
    "walden_step": "pJ",
}
#: Components of the energy of an inference, in the order they are drawn.
COMPONENTS = ("adc", "array", "row drivers", "sample, shift, add", "data movement", "detection")


@dataclass(frozen=True)
class EnergyTable:
    """Value of each entry of the table, in its unit; see ``energy_table.yaml``.

    Examples
    --------
    >>> EnergyTable.load().row_driver
    0.39
    """

    read_voltage: float
    on_conductance: float
    read_time: float
    row_driver: float
    sample_hold: float
    shift_add: float
    data_movement: float
    comparator: float
    walden_step: float

    def __post_init__(self) -> None:
        for name in UNITS:
            require_number(name, getattr(self, name), highest=1e6)

    @classmethod
    def load(cls, override: Path | None = None) -> EnergyTable:
        """The shipped table, with the entries of `override` in place of its own.

        Raises
        ------
        ValueError
            If an entry is unknown, lacks a value, has a wrong unit, or is negative.
        """
        entries = yaml.safe_load(files("nvlib").joinpath("energy_table.yaml").read_text("utf-8"))
        if override is not None:
            try:
                given = yaml.safe_load(override.read_text(encoding="utf-8"))
            except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
                raise ValueError(
                    f"{override}: expected YAML, found something else ({error}); mend the file"
                ) from error
            require(
                isinstance(given, dict), str(override), "a table of entries",
                type(given).__name__, "write one entry a line, name: {value, unit, source}",
            )  # fmt: skip
            entries = entries | given
        values = {}
        for name, entry in entries.items():
            require(
                name in UNITS, "energy table", f"entries among {sorted(UNITS)}", name,
                "remove or rename it",
            )  # fmt: skip
            require(
                isinstance(entry, dict) and entry.get("unit") == UNITS[name], f"unit of {name}",
                UNITS[name], entry.get("unit") if isinstance(entry, dict) else entry,
                "convert the value",
            )  # fmt: skip
            value = entry.get("value")
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            require(number, f"value of {name}", "a number", value, "give one")
            values[name] = float(value)
        return cls(**values)


def _neurosim_sar(bits: Any) -> Any:
    """Energy in fJ of a SAR conversion: (0.538 b + 4.375) uW for (b + 1) ns."""
    return (0.538 * bits + 4.375) * (bits + 1)


def _tabled(energies_pj: dict[int, float]) -> Callable[[int, EnergyTable], float]:
    def design(bits: int, table: EnergyTable) -> float:
        known = sorted(energies_pj)
        values = [energies_pj[b] for b in known]
        slope = np.polyfit(known, np.log(values), 1)
        return energies_pj.get(bits, float(np.exp(np.polyval(slope, bits))))

    return design


#: pJ of one full conversion of B bits, by name of the law.
DESIGN_LAWS: dict[str, Callable[[int, EnergyTable], float]] = {
    # Walden figure of merit: energy per step times 2^B (Murmann ADC survey).
    "walden": lambda bits, table: table.walden_step * 2.0**bits,
    # NeuroSim 22 nm SAR.
    "neurosim": lambda bits, table: float(_neurosim_sar(np.float64(bits))) / 1000,
    # ISAAC's converter scaled by Saberi et al. 2011.
    "isaac-saberi": _tabled({4: 0.79, 5: 0.99, 6: 1.20, 7: 1.42, 8: 1.67}),
    # Regression of the Murmann survey at 32 nm by the CiMLoop project.
    "survey": _tabled({4: 0.92, 5: 0.94, 6: 1.07, 7: 1.31, 8: 1.71}),
}
#: Share of a full conversion that resolving b > 0 of B bits takes, by name of the law.
PARTIAL_LAWS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    # The SAR law read as one converter that runs b cycles.
    "sar-cycles": lambda b, bits: _neurosim_sar(b) / _neurosim_sar(np.float64(bits)),
    # Comparator and logic only: each bit the same.
    "linear": lambda b, bits: b / bits,
    # Half for sampling and reference, half with the bits.
    "half-fixed": lambda b, bits: 0.5 + 0.5 * b / bits,
    # Fixed part and capacitor array, 8 + 2^b / 16 (the fitted law of the early estimate).
    "fixed-cdac": lambda b, bits: (8 + 2.0**b / 16) / (8 + 2.0**bits / 16),
    # Capacitor array alone.
    "cdac": lambda b, bits: 2.0 ** (b - bits),
    # The converter cannot stop.
    "whole": lambda b, bits: np.ones_like(b),
}


@dataclass(frozen=True)
class AdcLaw:
    """Energy of conversions.

    Parameters
    ----------
    design : str
        Name in `DESIGN_LAWS`.
    partial : str
        Name in `PARTIAL_LAWS`.
    """

    design: str = "walden"
    partial: str = "sar-cycles"

    def __post_init__(self) -> None:
        require(
            self.design in DESIGN_LAWS, "design", f"one of {sorted(DESIGN_LAWS)}", self.design,
            "use one",
        )  # fmt: skip
        require(
            self.partial in PARTIAL_LAWS, "partial", f"one of {sorted(PARTIAL_LAWS)}",
            self.partial, "use one",
        )  # fmt: skip

    def conversions_pj(self, counts: np.ndarray, bits: int, table: EnergyTable) -> float:
        """Energy of conversions counted by resolved bits (entry 0: none resolved, no energy).

        Examples
        --------
        >>> counts = np.array([5, 0, 0, 0, 2])
        >>> round(AdcLaw("walden", "linear").conversions_pj(counts, 4, EnergyTable.load()), 3)
        0.544
        """
        full = DESIGN_LAWS[self.design](bits, table)
        resolved = np.arange(1, len(counts), dtype=float)
        return float(full * (counts[1:] @ PARTIAL_LAWS[self.partial](resolved, bits)))


def inference_energy(
    events: list[LayerEvents],
    policies: tuple[Policy, ...],
    adc_bits: int,
    law: AdcLaw,
    table: EnergyTable,
) -> dict[str, float]:
    """Energy per inference by component, in pJ.

    Detection is in situ: the tile is read, the sense column's current is converted, and only
    then is it known what may be spared. So array, drivers and data movement cost the same
    with and without policies. What detection takes, per access and array: the sense column's
    cells; where a policy senses, a complete conversion, of no more bits than the converters
    have, since a larger count spares nothing; for each column a comparison with its bound; and
    with `SignSkip`, where it works, a comparison for each pair.

    Examples
    --------
    >>> table = EnergyTable.load()
    >>> energy = inference_energy(chip.events(images[:2]), ALL_POLICIES, 8, AdcLaw(), table)
    >>> sorted(energy) == sorted(COMPONENTS), energy["adc"] > 0
    (True, True)
    """
    step = table.on_conductance * table.read_voltage**2 * table.read_time * 1e12  # pJ at G_on
    senses = any(policy.senses for policy in policies)
    total = dict.fromkeys(COMPONENTS, 0.0)
    for event in events:
        mapping, arrays = event.arrays.mapping, event.column_tiles
        unit = step / mapping.digit_max**2  # the largest digit drives the read voltage
        counts = conversions(event, policies, adc_bits)
        rows = [tile.stop - tile.start for tile in mapping.tiles(len(event.drive_events))]
        driven = int(event.digit_sums.sum(axis=(1, 2)) @ rows)
        columns = event.accesses * event.columns
        total["adc"] += law.conversions_pj(counts, adc_bits, table)
        total["array"] += event.squared_read / mapping.level_max * unit
        total["row drivers"] += driven * arrays * table.row_driver
        total["sample, shift, add"] += columns * table.sample_hold
        total["sample, shift, add"] += int(counts[1:].sum()) * table.shift_add
        total["data movement"] += columns * table.data_movement
        if policies:
            total["detection"] += columns * table.comparator
        if SignSkip() in policies and event.zero_outputs is not None:
            total["detection"] += event.accesses * event.zero_outputs.shape[1] * table.comparator
        if senses:
            sense_bits = min((mapping.rows * mapping.digit_max).bit_length(), adc_bits)
            whole = np.zeros(sense_bits + 1, np.int64)
            whole[-1] = event.accesses * arrays
            total["detection"] += law.conversions_pj(whole, sense_bits, table)
            total["detection"] += int(event.squared_digits.sum()) * arrays * unit
    return {name: value / events[0].images for name, value in total.items()}


def adc_saving(before: dict[str, float], after: dict[str, float], detection: bool = False) -> float:
    """Share of the ADC energy that is saved; with `detection`, net of what that takes.

    Examples
    --------
    >>> adc_saving({"adc": 10.0}, {"adc": 2.0, "detection": 1.0})
    0.8
    >>> adc_saving({"adc": 10.0}, {"adc": 2.0, "detection": 1.0}, detection=True)
    0.7
    """
    return 1 - (after["adc"] + detection * after["detection"]) / before["adc"]


def efficiency_gain(before: dict[str, float], after: dict[str, float]) -> float:
    """Operations per joule after, over before; detection included.

    Examples
    --------
    >>> efficiency_gain({"adc": 8.0, "array": 2.0}, {"adc": 3.0, "array": 2.0})
    2.0
    """
    return sum(before.values()) / sum(after.values())


def operations(events: list[LayerEvents]) -> int:
    """Operations of one inference: two for each multiply-accumulate of the network.

    Counted at the network's own precision, however many planes and slices carry one product.

    Examples
    --------
    >>> operations(chip.events(images[:2]))  # of LeNet-5: 416,520 multiplications and additions
    833040
    """
    return 2 * sum(
        event.positions * event.arrays.layer.matrix.size // event.arrays.groups for event in events
    )


def tops_per_watt(events: list[LayerEvents], energy: dict[str, float]) -> float:
    """Tera-operations per joule: operations over energy in pJ.

    Examples
    --------
    >>> round(tops_per_watt(chip.events(images[:2]), {"adc": 833040.0}), 6)
    1.0
    """
    return operations(events) / sum(energy.values())
