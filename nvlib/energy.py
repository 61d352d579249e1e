"""Events times a sourced table of energies; ADC laws.

An ADC has two laws: `design` is what one full conversion costs in a converter built for B bits;
`partial` is the share of it that is spent when the converter stops, or starts late, so that b of
its B bits are resolved.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import yaml

from nvlib import checks
from nvlib.checks import refusing, require, require_choice, require_number, settle_fields
from nvlib.events import LayerEvents
from nvlib.sparsity import Policy, SignSkip, conversions

#: Largest value of each unit: beyond it, a unit was mistaken.
HIGHEST = {"V": 10.0, "S": 0.1, "s": 1.0, "pJ": 1e6, "share": 1.0, "F2": 1e4, "um": 10.0,
           "um2": 1e6, "uW": 1e6}  # fmt: skip
LARGEST_FILE = 2**16  # characters
#: Numbers as they stand in a table: no octal 010, no sexagesimal 1:30, no 1_000.
NUMBER = re.compile(r"[-+]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][-+]?\d+)?")
#: Components of the energy of an inference, in the order they are drawn.
COMPONENTS = ("adc", "array", "row drivers", "sample, shift, add", "data movement", "detection")
#: NeuroSim's column current (SarADC.cpp, 22 nm LP): 0.072341 exp(-2.303 log10 R) W, so 0.072341 W
#: for each siemens of the cells that are read at 0.5 V, in proportion to the voltage; 1 ns a cycle.
COLUMN_WATTS, COLUMN_VOLTS, CYCLE_S = 0.072341, 0.5, 1e-9
#: Of a conversion: below the least published, 1 fJ, and above the most, a unit was mistaken.
JOULES = 1e-16, 1e-6


class _TableLoader(yaml.BaseLoader):
    """YAML whose values stay text, without aliases and without an entry that stands twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="an alias; write the value out", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        names = [str(key.value) for key, _ in node.value]
        for i, (key, _) in enumerate(node.value):
            if names[i] in names[:i]:
                problem = f"{checks.shown(names[i])} twice; remove one"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
        return super().construct_mapping(node, deep=True)


class SourcedTable:
    """A frozen dataclass of values that a YAML file gives, each with its unit and source."""

    FILE: ClassVar[str]

    def __post_init__(self) -> None:
        for name, entry in _shipped(self.FILE).items():
            settle_fields(self, name, require_number, 0, HIGHEST[entry["unit"]])

    @classmethod
    def load(cls, override: Path | str | None = None) -> Self:
        """The shipped table, with the entries of `override` in place of its own.

        Parameters
        ----------
        override : path, optional
            YAML file of entries ``name: {value, unit, source}``; a ValueError says what is wrong
            with it: an entry unknown or twice, a wrong unit, a value that is no decimal number,
            negative or implausibly large.
        """
        shipped = _shipped(cls.FILE)
        given = {}
        if override is not None:
            given = _entries(checks.require_path("override", override), str(override))
            for name in given:
                require_choice("table", name, shipped)
        return cls(**{name: _value(name, given.get(name, entry), entry["unit"])
                      for name, entry in shipped.items()})  # fmt: skip


@dataclass(frozen=True)
class EnergyTable(SourcedTable):
    """Value of each entry of the table, in its unit; see ``energy_table.yaml``.

    Examples
    --------
    >>> EnergyTable.load().row_driver
    0.39
    """

    FILE: ClassVar = "energy_table.yaml"

    read_voltage: float
    on_conductance: float
    read_time: float
    row_driver: float
    sample_hold: float
    shift_add: float
    data_movement: float
    buffer_share: float
    comparator: float
    walden_step: float


@cache
def _shipped(name: str) -> dict[str, Any]:
    return _entries(Path(str(files("nvlib").joinpath(name))), name)


def _entries(path: Path, source: str) -> dict[str, Any]:
    """Entries of a table, by name."""
    with refusing(source, "YAML", "mend the file or its path"), path.open(encoding="utf-8") as file:
        text = file.read(LARGEST_FILE + 1)
        given: Any = yaml.load(text, _TableLoader) if len(text) <= LARGEST_FILE else None
    most, mend = LARGEST_FILE, "write one entry a line, name: {value, unit, source}"
    require(len(text) <= most, source, f"{most} characters", "more", mend)
    require(isinstance(given, dict), source, "a table of entries", given, mend)
    return given


#: Unit of each entry of the table of energies.
UNITS = {name: entry["unit"] for name, entry in _shipped("energy_table.yaml").items()}


#: What an entry of a table can say.
ENTRY = {"value", "unit", "node", "source"}


def _value(name: str, entry: object, wanted: str) -> float:
    """Value of one entry, in the wanted unit."""
    given = entry if isinstance(entry, dict) else {"unit": entry}
    unit, text, stray = given.get("unit"), given.get("value"), sorted(given.keys() - ENTRY)
    require(not stray, f"entry of {name}", "value, unit, node, source", stray, "write 0.5, not 0,5")
    require(unit == wanted, f"unit of {name}", wanted, unit, "convert the value")
    number = isinstance(text, str) and NUMBER.fullmatch(text) is not None
    require(number, f"value of {name}", "a decimal number", text, "write it as 10, 0.39 or 1e-7")
    return float(str(text))


def _neurosim_sar(bits: Any) -> Any:
    """Energy in fJ of a conversion of NeuroSim's 22 nm SAR: (0.538 b + 4.375) uW for (b + 1) ns."""
    return (0.538 * bits + 4.375) * (bits + 1)


def tabled(known: dict[int, float]) -> Callable[..., float]:
    """What is known of converters of some bits, and of others on the exponential that fits it.

    Examples
    --------
    >>> energy_pj = tabled({4: 1.0, 8: 4.0})
    >>> energy_pj(8), round(energy_pj(6), 6)
    (4.0, 2.0)
    """
    slope = np.polyfit(sorted(known), np.log([known[bits] for bits in sorted(known)]), 1)

    def value(bits: int, table: object = None) -> float:
        return known.get(bits, float(np.exp(np.polyval(slope, bits))))

    return value


#: pJ of one full conversion of B bits, by name of the law.
DESIGN_LAWS: dict[str, Callable[[int, EnergyTable], float]] = {
    # Walden figure of merit: energy per step times 2^B (Murmann ADC survey).
    "walden": lambda bits, table: table.walden_step * 2.0**bits,
    "neurosim": lambda bits, table: float(_neurosim_sar(np.float64(bits))) / 1000,
    # ISAAC's converter scaled by Saberi et al. 2011.
    "isaac-saberi": tabled({4: 0.79, 5: 0.99, 6: 1.20, 7: 1.42, 8: 1.67}),
    # Regression of the Murmann survey at 32 nm by the CiMLoop project.
    "survey": tabled({4: 0.92, 5: 0.94, 6: 1.07, 7: 1.31, 8: 1.71}),
    # Quantile regressions of ln(energy) on ENOB, 120 Nyquist converters of ENOB 3 to 9 since 2010
    # in the Murmann survey (rev. 2025-06-09); an ENOB of B - 0.5 is read as B bits.
    "survey tenth": tabled({4: 0.60, 5: 0.88, 6: 1.28, 7: 1.87, 8: 2.73}),
    "survey median": tabled({4: 1.45, 5: 2.28, 6: 3.57, 7: 5.59, 8: 8.76}),
}
#: Share of a full conversion that resolving b > 0 of B bits takes, by name of the law.
PARTIAL_LAWS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    # The SAR law read as one converter that runs b cycles.
    "sar-cycles": lambda b, bits: _neurosim_sar(b) / _neurosim_sar(np.float64(bits)),
    "constant-power": lambda b, bits: (b + 1) / (bits + 1),  # so many cycles, sampling is one
    "linear": lambda b, bits: b / bits,  # comparator and logic only: each bit the same
    "half-fixed": lambda b, bits: 0.5 + 0.5 * b / bits,  # half for sampling and reference
    # Fixed part and capacitor array, 8 + 2^b / 16.
    "fixed-cdac": lambda b, bits: (8 + 2.0**b / 16) / (8 + 2.0**bits / 16),
    "cdac": lambda b, bits: 2.0 ** (b - bits),  # capacitor array alone
    "whole": lambda b, bits: np.ones_like(b),  # the converter cannot stop
}


@dataclass(frozen=True)
class AdcLaw:
    """Energy of conversions.

    Parameters
    ----------
    design : str or callable
        One of `DESIGN_LAWS`, or your own: bits to the joules of a full conversion, as
        `nvlib.read_adc_energies` gives. It need not grow with the bits: published ones do not.
    partial : str
        One of `PARTIAL_LAWS`.
    column_current : bool
        Whether what carries a column's current into the converter takes energy too, for every cycle
        of a conversion: `COLUMN_WATTS` for each siemens, as in NeuroSim. That needs events with
        column sums; all conversions are taken to meet the mean of them.

    Examples
    --------
    >>> AdcLaw(lambda bits: 1e-12 * bits).full_pj(8, EnergyTable.load())
    8.0
    """

    design: str | Callable[[int], float] = "walden"
    partial: str = "sar-cycles"
    column_current: bool = False

    def __post_init__(self) -> None:
        if not callable(self.design):
            settle_fields(self, "design", require_choice, DESIGN_LAWS)
        settle_fields(self, "partial", require_choice, PARTIAL_LAWS)
        settle_fields(self, "column_current", checks.require_flag)

    def full_pj(self, bits: int, table: EnergyTable) -> float:
        """Energy of a full conversion."""
        if callable(self.design):
            name, mend = f"joules of {bits} bits", "let it take bits"
            with refusing(name, "design(bits) to give a number", mend, passing=ValueError):
                joules = self.design(bits)
            return 1e12 * require_number(name, joules, *JOULES)
        return DESIGN_LAWS[self.design](bits, table)

    def conversions_pj(self, counts: np.ndarray, bits: int, table: EnergyTable) -> float:
        """Energy of conversions counted by resolved bits (entry 0: none resolved, no energy).

        >>> counts = np.array([5, 0, 0, 0, 2])
        >>> round(AdcLaw("walden", "linear").conversions_pj(counts, 4, EnergyTable.load()), 3)
        0.544
        """
        resolved = np.arange(1, len(counts), dtype=float)
        shares = PARTIAL_LAWS[self.partial](resolved, bits)
        return float(self.full_pj(bits, table) * (counts[1:] @ shares))

    def current_pj(self, event: LayerEvents, counts: np.ndarray, table: EnergyTable) -> float:
        """What the currents of the columns take in those conversions; see `column_current`."""
        if not self.column_current:
            return 0.0
        require(event.column_sums is not None, "events", "column sums, for the law's current", None,
                "count them with column_sums=True")  # fmt: skip
        mapping, sums = event.arrays.mapping, np.asarray(event.column_sums)
        units = float(np.arange(len(sums)) @ sums) / (event.accesses * event.columns)
        steps = mapping.level_max + event.arrays.pedestal  # a cell at G_on holds G_off and levels
        siemens = units * table.on_conductance / steps / mapping.digit_max
        watts = COLUMN_WATTS * siemens * table.read_voltage / COLUMN_VOLTS
        cycles = float(counts[1:] @ np.arange(2, len(counts) + 1))
        return 1e12 * watts * cycles * CYCLE_S


def inference_energy(
    events: list[LayerEvents], policies: tuple[Policy, ...], adc_bits: int, law: AdcLaw,
    table: EnergyTable,
) -> dict[str, float]:  # fmt: skip
    """Energy per inference by component, in pJ; that of the array is of all its cells.

    Detection is in situ: the tile is read, the sense column's current is converted, and only then
    is it known what may be spared. So array, drivers and data movement cost the same with and
    without policies. What detection takes, per access and array: the sense column's cells; where
    a policy senses, a complete conversion, of no more bits than the converters have, since a
    larger count spares nothing, and for each column a comparison with its bound; and with
    `SignSkip`, where it works, a comparison for each pair.

    Examples
    --------
    >>> table = EnergyTable.load()
    >>> energy = inference_energy(chip.events(images[:2]), ALL_POLICIES, 8, AdcLaw(), table)
    >>> sorted(energy) == sorted(COMPONENTS), energy["adc"] > 0
    (True, True)
    """
    require(len(events) > 0, "events", "those of a layer or more", events, "count some images")
    step = table.on_conductance * table.read_voltage**2 * table.read_time * 1e12  # pJ at G_on
    total = dict.fromkeys(COMPONENTS, 0.0)
    for event in events:
        mapping, arrays = event.arrays.mapping, event.column_tiles
        unit = step / mapping.digit_max**2  # the largest digit drives the read voltage
        counts = conversions(event, policies, adc_bits)
        rows = [tile.stop - tile.start for tile in mapping.tiles(len(event.squared_digits))]
        driven = int(event.digit_sums.sum(axis=(1, 2)) @ rows)
        columns = event.accesses * event.columns
        total["adc"] += law.conversions_pj(counts, adc_bits, table)
        total["adc"] += law.current_pj(event, counts, table)
        # A cell at G_on holds G_off and its levels.
        on_steps = mapping.level_max + event.arrays.pedestal
        squares = float(event.squared_digits @ event.arrays.on_conductance)  # digit^2 x level steps
        total["array"] += squares / on_steps * unit
        # A driver of d bits is as many unit drivers as its largest digit.
        total["row drivers"] += driven * arrays * table.row_driver * mapping.digit_max
        total["sample, shift, add"] += columns * table.sample_hold
        total["sample, shift, add"] += int(counts[1:].sum()) * table.shift_add
        total["data movement"] += columns * table.data_movement
        if SignSkip() in policies and event.zero_outputs is not None:
            total["detection"] += event.accesses * event.zero_outputs.shape[1] * table.comparator
        if any(policy.senses for policy in policies):
            total["detection"] += columns * table.comparator
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
    mend = "give the energy table a law of converters above 0"
    require(before["adc"] > 0, "before", "conversions that take energy", before["adc"], mend)
    return 1 - (after["adc"] + detection * after["detection"]) / before["adc"]


def efficiency_gain(before: dict[str, float], after: dict[str, float]) -> float:
    """Operations per joule after, over before; detection included.

    Examples
    --------
    >>> efficiency_gain({"adc": 8.0, "array": 2.0}, {"adc": 3.0, "array": 2.0})
    2.0
    """
    require(sum(after.values()) > 0, "after", "an energy above 0", after, "check the energy table")
    return sum(before.values()) / sum(after.values())


def operations(events: list[LayerEvents]) -> int:
    """Operations of one inference: two for each multiply-accumulate, however many reads it takes.

    >>> operations(chip.events(images[:2]))  # of LeNet-5: 416,520 multiplications and additions
    833040
    """
    return 2 * sum(event.positions * event.arrays.layer.matrix.size for event in events)


def tops_per_watt(events: list[LayerEvents], energy: dict[str, float]) -> float:
    """Tera-operations per joule: operations over energy in pJ.

    >>> round(tops_per_watt(chip.events(images[:2]), {"adc": 833040.0}), 6)
    1.0
    """
    require(sum(energy.values()) > 0, "energy", "above 0", energy, "check the energy table")
    return operations(events) / sum(energy.values())
