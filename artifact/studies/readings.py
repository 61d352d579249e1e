"""One reading of the hardware behind the abstract, and the four numbers of C5 and C6 under it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache

from artifact.studies import common
from artifact.studies.common import PAIR
from artifact.sweep import Point
from nvlib import Adc, ArrayMapping, Chip, Hardware, Precision
from nvlib.energy import AdcLaw, EnergyTable, adc_saving, efficiency_gain, inference_energy
from nvlib.events import LayerEvents
from nvlib.sparsity import ALL_POLICIES, ColumnBound, Policy, ZeroSkip

#: Which conversions are spared, by name of the mechanism.
MECHANISMS: dict[str, tuple[Policy, ...]] = {
    "nothing": (),
    "column sums": (ColumnBound(),),
    "column sums, digital zero skip": (ColumnBound(), ZeroSkip(senses=False)),
    "all, sensed": ALL_POLICIES,
}
#: Two's-complement slices of mixed width, as MemIntelli's examples have them.
MIXED = "mixed"


def mapping(scheme: str, cell_bits: int, precision: str, dac_bits: int = 1) -> ArrayMapping:
    """A mapping by its scheme and the bits of its cells; of `MIXED` slices those of the widest.

    Each of the `MIXED` slices is as wide as all above it together, up to the bits that are left.

    >>> mapping(MIXED, 4, "W8A8").cell_bits, mapping(MIXED, 4, "W4A3").cell_bits
    ((1, 1, 2, 4), (1, 1, 2))
    """
    if scheme != MIXED:
        return ArrayMapping(scheme=scheme, cell_bits=cell_bits, dac_bits=dac_bits)
    widths, bits = [1], Precision.parse(precision).weight_bits
    while sum(widths) < bits:
        widths.append(min(sum(widths), bits - sum(widths), cell_bits))
    return ArrayMapping(scheme="twos-complement", cell_bits=tuple(widths), dac_bits=dac_bits)


@dataclass(frozen=True)
class Reading:
    """What the abstract leaves open about C5 and C6; by default the artifact's hardware."""

    training: str = "qat"
    seed: int = 0
    scheme: str = "differential"
    cell_bits: int = 1
    dac_bits: int = 1
    #: Converter bits of W8A8 and of W4A3.
    adc_bits: tuple[int, int] = (8, 4)
    design: str = "walden"
    partial: str = "sar-cycles"
    #: Whether the columns' currents into the converters take energy, as NeuroSim counts them.
    column_current: bool = False
    mechanism: str = "all, sensed"
    baseline: str = "nothing"
    #: Constants of the energy table in place of its own.
    constants: dict[str, float] = field(default_factory=dict, hash=False)

    def bits(self, precision: str) -> int:
        """Converter bits of a precision."""
        return self.adc_bits[PAIR.index(precision)]

    def hardware(self, precision: str) -> Hardware:
        """Its hardware, before the full scale of its converters is calibrated."""
        laid = mapping(self.scheme, self.cell_bits, precision, self.dac_bits)
        return Hardware(laid, adc=Adc(bits=self.bits(precision)))

    def chip(self, dataset: str, precision: str, checkpoints: str = common.SHIPPED) -> Chip:
        """An ideal chip of it."""
        net = common.network(dataset, precision, self.seed, checkpoints, self.training)
        return Chip(net, common.calibrated(net, self.hardware(precision), dataset))

    def numbers(self, precision: str, events: list[LayerEvents]) -> Point:
        """Saving (gross, and net of detection) and gain of a precision's counted events.

        With `column_current` they are counted with their column sums.
        """
        law = AdcLaw(self.design, self.partial, self.column_current)
        table = EnergyTable.load()
        table = replace(table, **self.constants)
        before, after = (
            inference_energy(events, MECHANISMS[name], self.bits(precision), law, table)
            for name in (self.baseline, self.mechanism)
        )
        return {
            f"saving_{precision}": adc_saving(before, after),
            f"net_{precision}": adc_saving(before, after, detection=True),
            f"gain_{precision}": efficiency_gain(before, after),
        }

    def four(self, dataset: str, images: int, checkpoints: str = common.SHIPPED) -> Point:
        """The numbers of both precisions, counted on the first test images."""
        found: Point = {}
        # Laws, constants and mechanisms change nothing about what is counted.
        counted = Reading(
            self.training, self.seed, self.scheme, self.cell_bits, self.dac_bits, self.adc_bits,
            column_current=self.column_current,
        )  # fmt: skip
        for precision in PAIR:
            events = _events(counted, dataset, precision, images, checkpoints)
            found |= self.numbers(precision, events)
        return found


@lru_cache(maxsize=16)
def _events(
    reading: Reading, dataset: str, precision: str, images: int, checkpoints: str
) -> list[LayerEvents]:
    pixels, _ = common.test_images(dataset, images)
    chip = reading.chip(dataset, precision, checkpoints)
    return chip.events(pixels, column_sums=reading.column_current)
