"""Everything about a chip but its weights and its seed, in one frozen description."""

from __future__ import annotations

from dataclasses import dataclass

from nvlib.checks import require, require_flag, require_instance, require_integer, settle_fields
from nvlib.converters import Adc, Dac
from nvlib.devices import DeviceModel
from nvlib.mapping import MAX_LINES, ArrayMapping
from nvlib.wires import Wires


@dataclass(frozen=True)
class SenseColumn:
    """A column of cells at G_on in every array, whose current counts the active rows.

    Its own converter reads whole rows; the bound it sets may be widened by guard rows, because
    its cells vary and are read with noise like any other, and its converter has as much noise as
    the others, in LSB of its own: one row.

    Parameters
    ----------
    guard_rows : int
        Added to the count before it limits a conversion.
    """

    guard_rows: int = 0

    def __post_init__(self) -> None:
        settle_fields(self, "guard_rows", require_integer, 0, MAX_LINES)


@dataclass(frozen=True)
class Hardware:
    """Everything about a chip but its weights and its seed.

    Parameters
    ----------
    mapping : ArrayMapping
    devices : DeviceModel
    adc : Adc
    dac : Dac
    sense : SenseColumn, optional
        Where given, conversions really stop at the bound that the column measures.
    wires : Wires, optional
        Where given, voltage is lost along the lines of every array.
    compensated : bool
        Whether each layer's outputs are multiplied by one digital number, which makes up for what
        its cells lost on the average: global drift compensation (Le Gallo et al., Adv. Electron.
        Mater. 4, 2018). It is the current of all columns with all rows driven that was asked for,
        over the one that is read, as the mean of many reads. Converters whose LSB is a whole unit
        round small sums of drifted cells up, so that the factor overshoots; choose a finer one.
    """

    mapping: ArrayMapping = ArrayMapping()
    devices: DeviceModel = DeviceModel()
    adc: Adc = Adc()
    dac: Dac = Dac()
    sense: SenseColumn | None = None
    wires: Wires | None = None
    compensated: bool = False

    def __post_init__(self) -> None:
        for name, kind, example in (
            ("mapping", ArrayMapping, "rows=128"), ("adc", Adc, "bits=8"), ("dac", Dac, "..."),
            ("devices", DeviceModel, "effects=(RangeVariation(0.1),)"),
            ("sense", SenseColumn, ""), ("wires", Wires, "ohm_per_segment=1.0"),
        ):  # fmt: skip
            part = getattr(self, name)
            if part is not None or name not in ("sense", "wires"):
                require_instance(name, part, kind, f"write {kind.__name__}({example})")
        settle_fields(self, "compensated", require_flag)
        bounded = self.sense is None or (self.adc.linear and self.adc.full_scale is None)
        mend = "a bound on the sum bounds the code only where the code is the sum over the LSB"
        require(bounded, "sense", "linear converters of full scale", self.adc, mend)
        mend = "each slice has a full scale of its own; write one number of cell_bits"
        for name, given in (("sense", self.sense), ("full_scale", self.adc.full_scale)):
            alike = given is None or not self.mapping.sliced
            require(alike, name, f"None with slices of {self.mapping.cell_bits} bits", given, mend)
