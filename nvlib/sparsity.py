"""Which conversions a sparsity-aware controller spares, and how short it makes the rest.

Reconstruction; the abstract names no mechanism. All policies act per access
(one tile, one input plane) before the ADC converts, and answer one question:
how many bits must this conversion resolve (0: none)? They see what the
hardware has in situ, and nothing else: `Access` holds the sum that the sense
column measures and the levels that were once written. The bounds are those of
ideal devices, for which no code changes.

A SAR converter that knows its code to be below 2^b starts at bit b - 1 and so
resolves b of its B bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from nvlib.arrays import LayerArrays
from nvlib.chip import Chip
from nvlib.reference import unfold


@dataclass(frozen=True, eq=False)
class Access:
    """What a controller knows when one tile is read.

    Attributes
    ----------
    digit_sums : ndarray of int, shape (sums, 1)
        Sum of the tile's input digits, as the sense column gives it; the active rows where
        inputs are bit-serial.
    column_levels : ndarray of int, shape (columns,)
        Sum of the levels written to each column of the tile.
    level_max, digit_max : int
    """

    digit_sums: np.ndarray
    column_levels: np.ndarray
    level_max: int
    digit_max: int


class Policy(Protocol):
    """One mechanism."""

    senses: bool

    def bound(self, access: Access) -> np.ndarray:
        """Largest column sum that is possible: broadcasts to (sums, columns); 0 needs none."""
        ...


@dataclass(frozen=True)
class ZeroSkip:
    """No active row, so no current in the sense column: nothing is converted."""

    senses = True

    def bound(self, access: Access) -> np.ndarray:
        return np.where(access.digit_sums == 0, 0, np.iinfo(np.int64).max)


@dataclass(frozen=True)
class ActiveRowBound:
    """A column of cells all at G_on measures the sum of the digits; no column exceeds that."""

    senses = True

    def bound(self, access: Access) -> np.ndarray:
        return access.digit_sums * access.level_max


@dataclass(frozen=True)
class ColumnBound:
    """No column exceeds the sum of its levels at full drive, known once it is written."""

    senses = False

    def bound(self, access: Access) -> np.ndarray:
        return access.column_levels[None, :] * access.digit_max


ALL_POLICIES: tuple[Policy, ...] = (ZeroSkip(), ActiveRowBound(), ColumnBound())


def resolved_bits(bound: np.ndarray, lsb: float, adc_bits: int) -> np.ndarray:
    """Bits a conversion must resolve when its input cannot exceed `bound`.

    Parameters
    ----------
    bound : ndarray
        In level x digit units.
    lsb : float
        Of the converter, in the same units; codes round to the nearest.
    adc_bits : int
        Resolution, an upper limit.

    Examples
    --------
    >>> resolved_bits(np.array([0, 1, 3, 4, 900]), 1.0, 8)
    array([0, 1, 2, 3, 8])
    >>> resolved_bits(np.array([7, 8]), 16.0, 4)
    array([0, 1])
    """
    largest = np.floor(np.minimum(np.asarray(bound, float) / lsb + 0.5, 2**adc_bits - 1))
    return np.ceil(np.log2(largest + 1)).astype(np.int64)


@dataclass(frozen=True, eq=False)
class LayerEvents:
    """What one layer did while a number of images passed; counts are exact integers.

    Attributes
    ----------
    arrays : LayerArrays
    images : int
    positions : int
        Output positions of one image.
    digit_sums : ndarray of int64, shape (tiles, planes, rows x digit_max + 1)
        How many accesses met each sum of digits.
    drive_events : ndarray of int64, shape (K,)
        Times that a row was driven.
    squared_digits : ndarray of int64, shape (K,)
        Sum of the squares of the digits that a row was driven with.
    """

    arrays: LayerArrays
    images: int
    positions: int
    digit_sums: np.ndarray
    drive_events: np.ndarray
    squared_digits: np.ndarray

    def __add__(self, other: LayerEvents) -> LayerEvents:
        return LayerEvents(
            self.arrays,
            self.images + other.images,
            self.positions,
            self.digit_sums + other.digit_sums,
            self.drive_events + other.drive_events,
            self.squared_digits + other.squared_digits,
        )

    @property
    def accesses(self) -> int:
        """Reads of a tile, active or not."""
        return int(self.digit_sums.sum())

    @property
    def active_accesses(self) -> int:
        """Reads of a tile in which some row is driven."""
        return int(self.digit_sums[..., 1:].sum())

    @cached_property
    def column_tiles(self) -> int:
        """Arrays side by side."""
        return int(self.arrays.column_tile.max()) + 1

    @property
    def columns(self) -> int:
        """Columns that are converted in each access."""
        per_output, outputs = self.arrays.mapped.levels.shape[1:]
        return per_output * outputs + (self.arrays.mapped.offset > 0) * self.column_tiles

    def conversions(self, policies: tuple[Policy, ...], adc_bits: int) -> np.ndarray:
        """Conversions by resolved bits.

        Parameters
        ----------
        policies : tuple of Policy
            None resolves every bit of every conversion.
        adc_bits : int

        Returns
        -------
        ndarray of int64, shape (adc_bits + 1,)
            Entry b counts the conversions of b bits; entry 0 those spared.
        """
        counts = np.zeros(adc_bits + 1, np.int64)
        mapped, mapping = self.arrays.mapped, self.arrays.mapping
        sums = np.arange(self.digit_sums.shape[-1])[:, None]
        for number, tile in enumerate(mapping.tiles(len(mapped.levels))):
            levels = mapped.levels[tile].astype(np.int64).sum(axis=0).ravel()
            if mapped.offset:  # the reference column of every array holds level 1
                rows = tile.stop - tile.start
                levels = np.append(levels, [rows] * self.column_tiles)
            access = Access(sums, levels, mapping.level_max, mapping.digit_max)
            bound = np.full((len(sums), len(levels)), np.iinfo(np.int64).max)
            for policy in policies:
                bound = np.minimum(bound, policy.bound(access))
            bits = resolved_bits(bound, self.arrays.lsb, adc_bits)
            met = self.digit_sums[number].sum(axis=0)  # over planes
            for b in range(adc_bits + 1):
                counts[b] += int((met * (bits == b).sum(axis=1)).sum())
        return counts

    @property
    def squared_read(self) -> float:
        """Sum over accesses and cells of digit^2 x conductance, in level steps."""
        return float(self.squared_digits @ self.arrays.on_conductance)


def count_events(chip: Chip, images: np.ndarray) -> list[LayerEvents]:
    """Pass images through a chip and count what every layer does.

    Parameters
    ----------
    chip : Chip
    images : ndarray of uint8, shape (N, 28, 28)
    """
    total: list[LayerEvents] = []
    for start in range(0, len(images), 100):
        block = images[start : start + 100]
        events = [
            _layer_events(arrays, codes)
            for arrays, codes in zip(chip.layers, chip.layer_codes(block), strict=True)
        ]
        total = [a + b for a, b in zip(total, events, strict=True)] if total else events
    return total


def _layer_events(arrays: LayerArrays, codes: np.ndarray) -> LayerEvents:
    inputs = unfold(codes, arrays)  # (N, P, K)
    mapping = arrays.mapping
    tiles = mapping.tiles(inputs.shape[-1])
    sums = np.zeros((len(tiles), arrays.planes, mapping.rows * mapping.digit_max + 1), np.int64)
    driven = np.zeros(inputs.shape[-1], np.int64)
    squared = np.zeros(inputs.shape[-1], np.int64)
    for plane in range(arrays.planes):
        digits = (inputs >> (plane * mapping.dac_bits)) & mapping.digit_max
        driven += np.count_nonzero(digits, axis=(0, 1))
        if mapping.dac_bits == 1:
            squared = driven
        else:
            squared = squared + (digits.astype(np.int64) ** 2).sum(axis=(0, 1))
        for number, tile in enumerate(tiles):
            met = digits[..., tile].sum(axis=-1, dtype=np.int64).ravel()
            sums[number, plane] += np.bincount(met, minlength=sums.shape[-1])
    images, positions = inputs.shape[:2]
    return LayerEvents(arrays, images, positions, sums, driven, squared)
