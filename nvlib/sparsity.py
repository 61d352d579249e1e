"""Which conversions a sparsity-aware controller spares, and how short it makes the rest.

Reconstruction; the abstract names no mechanism. All policies act per access
(one tile, one input plane) before the ADC converts, and answer one question:
how many bits must this conversion resolve (0: none)? They see what the
hardware has in situ, and nothing else: `Access` holds the sum that the sense
column measures and the levels that were once written. The bounds are those of
ideal devices, for which no code changes.

A SAR converter that knows its code to be below 2^b starts at bit b - 1 and so
resolves b of its B bits.

`SignSkip` is the exception: it compares the two columns of a pair, and holds only where one
read decides the output: one tile, one plane, one slice, a ReLU behind.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Protocol

import numpy as np

from nvlib.arrays import Hardware, LayerArrays
from nvlib.chip import Chip
from nvlib.network import LayerSpec, requantization
from nvlib.quantizers import Precision
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
    """A column of cells all at G_on measures the sum of the digits; no column exceeds that.

    Parameters
    ----------
    guard_rows : int
        Added to the sum, as in `nvlib.arrays.SenseColumn`, for cells that vary.
    """

    guard_rows: int = 0
    senses = True

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

    Its threshold is the bias of the output, programmed beside the pair. It does nothing in
    layers whose output takes more than one read (see `LayerEvents.zero_outputs`).
    """

    senses = False

    def bound(self, access: Access) -> np.ndarray:
        return np.full((1, 1), np.iinfo(np.int64).max)


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
    zero_outputs : ndarray of int64, shape (rows x digit_max + 1, M), or None
        How often, at each sum of digits, an output's ReLU gives zero; None where one read does
        not decide that: several tiles, planes or slices, offset columns, no ReLU.
    """

    arrays: LayerArrays
    images: int
    positions: int
    digit_sums: np.ndarray
    drive_events: np.ndarray
    squared_digits: np.ndarray
    zero_outputs: np.ndarray | None = None

    def __add__(self, other: LayerEvents) -> LayerEvents:
        return LayerEvents(
            self.arrays,
            self.images + other.images,
            self.positions,
            self.digit_sums + other.digit_sums,
            self.drive_events + other.drive_events,
            self.squared_digits + other.squared_digits,
            None if self.zero_outputs is None else self.zero_outputs + other.zero_outputs,
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

    def conversions_by_column(self, policies: tuple[Policy, ...], adc_bits: int) -> np.ndarray:
        """Conversions by input plane, column of an output, and resolved bits.

        Parameters
        ----------
        policies : tuple of Policy
            None resolves every bit of every conversion.
        adc_bits : int

        Returns
        -------
        ndarray of int64, shape (planes, B, adc_bits + 1)
            Columns are slices x polarities as in `MappedLayer.coefficients`, and last the
            reference column where there is one. Entry b counts the conversions of b bits;
            entry 0 those spared.
        """
        return _conversions(self, policies, adc_bits)

    def conversions(self, policies: tuple[Policy, ...], adc_bits: int) -> np.ndarray:
        """Conversions by resolved bits alone, (adc_bits + 1,); see `conversions_by_column`."""
        return self.conversions_by_column(policies, adc_bits).sum(axis=(0, 1))

    @property
    def squared_read(self) -> float:
        """Sum over accesses and cells of digit^2 x conductance, in level steps."""
        return float(self.squared_digits @ self.arrays.on_conductance)


@lru_cache(maxsize=64)
def _conversions(event: LayerEvents, policies: tuple[Policy, ...], adc_bits: int) -> np.ndarray:
    arrays, mapping = event.arrays, event.arrays.mapping
    per_output, outputs = arrays.mapped.levels.shape[1:]
    offset = arrays.mapped.offset > 0
    kinds = per_output + offset
    kind = np.repeat(np.arange(per_output), outputs)
    if offset:
        kind = np.append(kind, [per_output] * event.column_tiles)
    counts = np.zeros((arrays.planes, kinds, adc_bits + 1), np.int64)
    for number, tile in enumerate(mapping.tiles(len(arrays.mapped.levels))):
        levels = arrays.mapped.levels[tile].astype(np.int64).sum(axis=0).ravel()
        if offset:  # the reference column of every array holds level 1
            levels = np.append(levels, [tile.stop - tile.start] * event.column_tiles)
        # Only what occurs, once: sums that were met, and columns with equal levels.
        sums = np.flatnonzero(event.digit_sums[number].any(axis=0))
        values, column = np.unique(levels, return_inverse=True)
        columns = np.zeros((len(values), kinds), np.int64)
        np.add.at(columns, (column, kind), 1)
        access = Access(sums[:, None], values, mapping.level_max, mapping.digit_max)
        bound = np.full((len(sums), len(values)), np.iinfo(np.int64).max)
        for policy in policies:
            bound = np.minimum(bound, policy.bound(access))
        bits = resolved_bits(bound, arrays.lsb, adc_bits)  # (sums, values)
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
    return counts


def count_events(
    chip: Chip, images: np.ndarray, orders: list[np.ndarray] | None = None
) -> list[LayerEvents]:
    """Pass images through a chip and count what every layer does.

    Parameters
    ----------
    chip : Chip
    images : ndarray of uint8, shape (N, 28, 28)
    orders : list of ndarray of int, shape (K,), optional
        Row order of each layer, as from `active_rows_first`, in place of the natural one.

    Examples
    --------
    >>> events = example_events()
    >>> events[0].accesses, events[0].images  # 784 positions x 3 planes x 1 tile, of 2 images
    (4704, 2)
    """
    total: list[LayerEvents] = []
    unordered: list[np.ndarray | None] = [None] * len(chip.layers)
    for start in range(0, len(images), 100):
        block = images[start : start + 100]
        events = [
            replace(layer_events(arrays, codes, relu, order), images=len(block))
            for arrays, codes, relu, order in zip(
                chip.layers,
                chip.layer_codes(block),
                chip.network.rectified,
                orders or unordered,
            )
        ]
        total = [a + b for a, b in zip(total, events, strict=True)] if total else events
    return total


def example_events() -> list[LayerEvents]:
    """Events of two digits on the shipped W4A3 network, for examples and first steps.

    Examples
    --------
    >>> len(example_events())
    5
    """
    from artifact.checkpoints import CheckpointName, load_quantized
    from artifact.data import load_embedded

    name = CheckpointName("embedded", "lenet5", Precision(4, 3), 0)
    return count_events(Chip(load_quantized(name), Hardware()), load_embedded().test_images[:2])


def active_rows_first(chip: Chip, images: np.ndarray) -> list[np.ndarray]:
    """Row orders that put rows which are often active into the same tiles.

    The other tiles then have fewer active rows, or none. Products do not change, since digital
    logic adds tiles up in any order.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, 28, 28)
        Training images.

    Examples
    --------
    >>> from artifact.checkpoints import CheckpointName, load_quantized
    >>> from nvlib.quantizers import Precision
    >>> network = load_quantized(CheckpointName("embedded", "lenet5", Precision(4, 3), 0))
    >>> from nvlib.arrays import Hardware
    >>> orders = active_rows_first(Chip(network, Hardware()), np.full((1, 28, 28), 255, np.uint8))
    >>> [len(order) for order in orders]
    [25, 150, 400, 120, 84]
    """
    events = count_events(chip, images)
    return [np.argsort(-event.drive_events, kind="stable") for event in events]


def layer_events(
    arrays: LayerArrays, codes: np.ndarray, relu: bool = True, order: np.ndarray | None = None
) -> LayerEvents:
    """What one layer does when it reads `codes` (N, inputs[, H, W]); `relu` follows it.

    Examples
    --------
    >>> from artifact.checkpoints import CheckpointName, load_quantized
    >>> from nvlib.quantizers import Precision
    >>> network = load_quantized(CheckpointName("embedded", "lenet5", Precision(4, 3), 0))
    >>> from nvlib.arrays import Hardware
    >>> last = Chip(network, Hardware()).layers[-1]
    >>> layer_events(last, np.ones((1, 84), np.uint8)).digit_sums.argmax(axis=-1)
    array([[84,  0,  0]])
    """
    inputs = unfold(codes, arrays)  # (N, P, K)
    if order is not None:
        inputs, arrays = inputs[..., order], reordered(arrays, order)
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
    one_pair = arrays.mapped.levels.shape[1] == 2 and not arrays.mapped.offset
    decides = relu and one_pair and len(tiles) == arrays.planes == 1
    zeros = _zero_outputs(arrays, inputs) if decides else None
    return LayerEvents(arrays, images, positions, sums, driven, squared, zeros)


def reordered(arrays: LayerArrays, order: np.ndarray) -> LayerArrays:
    """The same arrays with their rows in another order: row i holds what row order[i] held.

    Examples
    --------
    >>> from artifact.checkpoints import CheckpointName, load_quantized
    >>> from nvlib.quantizers import Precision
    >>> network = load_quantized(CheckpointName("embedded", "lenet5", Precision(4, 3), 0))
    >>> from nvlib.arrays import Hardware
    >>> last = Chip(network, Hardware()).layers[-1]
    >>> turned = reordered(last, np.arange(84)[::-1])
    >>> bool((turned.conductance[0] == last.conductance[83]).all())
    True
    """
    matrix = arrays.layer.matrix[order]
    spec = LayerSpec(arrays.layer.spec.name, *matrix.shape)
    return replace(
        arrays,
        layer=replace(arrays.layer, spec=spec, codes=np.ascontiguousarray(matrix.T)),
        mapped=replace(arrays.mapped, levels=arrays.mapped.levels[order]),
        conductance=arrays.conductance[order],
        reference=None if arrays.reference is None else arrays.reference[order],
        sense=None if arrays.sense is None else arrays.sense[order],
        on_conductance=arrays.on_conductance[order],
    )


def _zero_outputs(arrays: LayerArrays, inputs: np.ndarray) -> np.ndarray:
    """How often each output is not above zero, by the sum of the digits."""
    layer = arrays.layer
    gain, offset = requantization(layer, 1.0)
    flat = inputs.reshape(-1, inputs.shape[-1]).astype(np.float64)
    zero = flat @ layer.matrix.astype(np.float64) * gain + offset <= 0  # (reads, M)
    met = flat.sum(axis=1).astype(np.int64)
    counts = np.zeros((arrays.mapping.rows * arrays.mapping.digit_max + 1, zero.shape[1]), np.int64)
    np.add.at(counts, met, zero)
    return counts
