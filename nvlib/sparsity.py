"""Which conversions a sparsity-aware controller spares, and how short it makes the rest.

Reconstruction; the abstract names no mechanism. All policies act per access (one tile, one input
plane) before the ADC converts, and answer one question: how many bits must this conversion resolve
(0: none)? They see what the hardware has in situ, and nothing else: `Access` holds the sum that
the sense column measures and the levels that were once written. The bounds are those of ideal
devices, for which no code changes.

A SAR converter that knows its code to be below 2^b starts at bit b - 1 and so resolves b of its B
bits. `SignSkip` is the exception: it compares the two columns of a pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nvlib.checks import require, require_integer, require_tuple, settle_fields
from nvlib.converters import MAX_ADC_BITS
from nvlib.events import LayerEvents
from nvlib.mapping import MAX_LINES

NO_BOUND = np.iinfo(np.int64).max


@dataclass(frozen=True, eq=False)
class Access:
    """What a controller knows when one tile is read."""

    digit_sums: np.ndarray  # (sums, 1): of the tile's input digits, as the sense column tells
    column_levels: np.ndarray  # (columns,): sum of the levels written to each column of the tile
    level_max: int
    digit_max: int


class Policy(Protocol):
    """One mechanism."""

    @property
    def senses(self) -> bool:
        """Whether it needs the sense column."""

    def bound(self, access: Access) -> np.ndarray:
        """Largest column sum that is possible: broadcasts to (sums, columns); 0 needs none."""


@dataclass(frozen=True)
class ZeroSkip:
    """No active row, so no current in the sense column: nothing is converted.

    Digital logic that sees the drivers' bits knows it without sensing (`senses` False).
    """

    senses: bool = True

    def bound(self, access: Access) -> np.ndarray:
        return np.where(access.digit_sums == 0, 0, NO_BOUND)


@dataclass(frozen=True)
class ActiveRowBound:
    """A column of cells all at G_on measures the sum of the digits; no column exceeds that.

    `guard_rows` are added to the sum, as in `nvlib.hardware.SenseColumn`, for cells that vary.
    """

    guard_rows: int = 0
    senses = True

    def __post_init__(self) -> None:
        settle_fields(self, "guard_rows", require_integer, 0, MAX_LINES)

    def bound(self, access: Access) -> np.ndarray:
        return (access.digit_sums + self.guard_rows) * access.level_max


@dataclass(frozen=True)
class ColumnBound:
    """No column exceeds the sum of its levels at full drive, known once it is written."""

    senses = False

    def bound(self, access: Access) -> np.ndarray:
        return access.column_levels[None, :] * access.digit_max


@dataclass(frozen=True)
class SignSkip:
    """A comparator on each differential pair: where the ReLU gives zero, neither is converted.

    Its threshold is the bias of the output, programmed beside the pair. It works only where one
    read decides the output: one tile, one plane, one slice, a ReLU behind; see
    `LayerEvents.zero_outputs`.
    """

    senses = False

    def bound(self, access: Access) -> np.ndarray:
        return np.full((1, 1), NO_BOUND)


def require_policies(policies: object) -> tuple[Policy, ...]:
    """The policies of a tuple or list; refuse what has no bound."""
    for policy in require_tuple("policies", policies, "write (ZeroSkip(),)"):
        known = callable(getattr(policy, "bound", None)) and not isinstance(policy, type)
        require(known, "policies", "sparsity policies", policy, "write (ZeroSkip(),)")
    return tuple(policies)  # type: ignore[arg-type]


ALL_POLICIES: tuple[Policy, ...] = (ZeroSkip(), ActiveRowBound(), ColumnBound())


def resolved_bits(bound: np.ndarray, lsb: float | np.ndarray, adc_bits: int) -> np.ndarray:
    """Bits a conversion must resolve, `adc_bits` at most, when its input cannot exceed `bound`.

    Bound and LSB are in level x digit units; codes round to the nearest.

    >>> resolved_bits(np.array([0, 1, 3, 4, 900]), 1.0, 8)
    array([0, 1, 2, 3, 8])
    >>> resolved_bits(np.array([7, 8]), 16.0, 4)
    array([0, 1])
    """
    largest = np.floor(np.minimum(np.asarray(bound, float) / lsb + 0.5, 2**adc_bits - 1))
    return np.ceil(np.log2(largest + 1)).astype(np.int64)


def conversions(event: LayerEvents, policies: tuple[Policy, ...], adc_bits: int) -> np.ndarray:
    """Conversions of a layer by resolved bits alone, shape (adc_bits + 1,).

    >>> event = chip.events(images[:1])[-1]
    >>> int(conversions(event, (), 8)[8]) == event.accesses * event.columns
    True
    """
    return conversions_by_column(event, policies, adc_bits).sum(axis=(0, 1))


def conversions_by_column(
    event: LayerEvents, policies: tuple[Policy, ...], adc_bits: int
) -> np.ndarray:
    """Conversions of a layer by input plane, column of an output, and resolved bits.

    An int64 array (planes, B, adc_bits + 1). Columns are slices x polarities as in
    `MappedLayer.coefficients`, and last the reference column where there is one. Entry b counts
    the conversions of b bits; entry 0 those spared. No policies: every bit is resolved. With
    policies, `adc_bits` are those of the chip's converters, or ValueError: they decide its LSB.

    >>> event = chip.events(images[:1])[-1]
    >>> conversions_by_column(event, ALL_POLICIES, 8).shape  # 3 planes; 3 slices of 2 polarities
    (3, 6, 9)
    """
    policies = require_policies(policies)
    adc_bits = require_integer("adc_bits", adc_bits, 1, MAX_ADC_BITS)
    if (policies, adc_bits) in event.known:
        return event.known[policies, adc_bits]
    arrays, mapping = event.arrays, event.arrays.mapping
    own, mend = arrays.code_max.bit_length(), "count on a chip with converters of these bits"
    require(adc_bits == own or not policies, "adc_bits", f"the chip's {own}", adc_bits, mend)
    per_output, outputs = arrays.mapped.levels.shape[1:]
    offset = arrays.mapped.offset > 0
    kinds, references = per_output + offset, offset * event.column_tiles
    kind = np.repeat(np.arange(kinds), [outputs] * per_output + [references] * offset)
    scales = np.append(arrays.scales, 1)[kind]
    counts = np.zeros((arrays.planes, kinds, adc_bits + 1), np.int64)
    for number, tile in enumerate(mapping.tiles(len(arrays.mapped.levels))):
        levels = arrays.mapped.levels[tile].astype(np.int64).sum(axis=0).ravel()
        # The reference column of every array holds level 1.
        levels = np.append(levels, np.full(references, tile.stop - tile.start))
        # Only what occurs, once: sums that were met, and columns with equal levels and LSB.
        sums = np.flatnonzero(event.digit_sums[number].any(axis=0))
        pairs, column = np.unique((scales << 32) + levels, return_inverse=True)
        values = pairs & (2**32 - 1)
        columns = np.zeros((len(values), kinds), np.int64)
        np.add.at(columns, (column, kind), 1)
        access = Access(sums[:, None], values, mapping.level_max, mapping.digit_max)
        bound = np.full((len(sums), len(values)), NO_BOUND)
        for policy in policies:
            bound = np.minimum(bound, policy.bound(access))
        bits = resolved_bits(bound, arrays.lsb * (pairs >> 32), adc_bits)  # (sums, values)
        met = event.digit_sums[number][:, sums]  # (planes, sums)
        for b in range(adc_bits + 1):
            counts[:, :, b] += met @ (bits == b).astype(np.int64) @ columns
        if event.zero_outputs is not None and SignSkip() in policies:
            skipped = np.tile(event.zero_outputs[sums], per_output)  # (sums, columns)
            for b in range(1, adc_bits + 1):
                spared = (skipped * (bits == b)[:, column]).sum(axis=0)  # by column
                spared = np.bincount(kind, spared, kinds).astype(np.int64)
                counts[0, :, b] -= spared
                counts[0, :, 0] += spared
    counts.flags.writeable = False  # for it is kept
    event.known[policies, adc_bits] = counts
    return counts
