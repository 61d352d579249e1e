"""What a read takes, counted exactly: one walk over input planes and row tiles for all who ask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from nvlib.arrays import LayerArrays


class Read(NamedTuple):
    """One read of the arrays of a row tile, in one input plane."""

    plane: int
    tile: int
    rows: slice  # of the layer's matrix
    digits: np.ndarray  # uint8 (N, positions, rows): what drives them


def unfold(codes: np.ndarray, arrays: LayerArrays) -> np.ndarray:
    """Input codes of every position: (N, inputs[, H, W]) -> (N, positions, K).

    >>> unfold(np.zeros((2, 1, 28, 28), np.uint8), chip.arrays[0]).shape  # 5 x 5 pixels of each
    (2, 784, 25)
    """
    spec = arrays.layer.spec
    if not spec.kernel:
        return codes[:, None, :]
    values = torch.from_numpy(codes.astype(np.float64))
    columns = F.unfold(values, spec.kernel, spec.dilation, spec.padding, spec.stride)
    return columns.numpy().astype(np.uint8).transpose(0, 2, 1)


def walk(arrays: LayerArrays, inputs: np.ndarray) -> Iterator[Read]:
    """Reads of input codes (N, positions, K): planes one after the other, tiles within.

    >>> reads = walk(chip.arrays[1], np.zeros((1, 100, 150), np.uint8))
    >>> [(read.plane, read.rows.stop) for read in reads]  # 3 bits; 150 rows are two tiles
    [(0, 128), (0, 150), (1, 128), (1, 150), (2, 128), (2, 150)]
    """
    mapping = arrays.mapping
    tiles = mapping.tiles(inputs.shape[-1])
    for plane in range(arrays.planes):
        digits = (inputs >> (plane * mapping.dac_bits)) & mapping.digit_max
        for number, rows in enumerate(tiles):
            yield Read(plane, number, rows, digits[..., rows])


@dataclass(frozen=True, eq=False)
class LayerEvents:
    """What one layer did while a number of images passed; counts are exact integers, int64."""

    arrays: LayerArrays
    images: int
    positions: int  # output positions of one image
    #: (tiles, planes, rows x digit_max + 1): how many accesses met each sum of digits
    digit_sums: np.ndarray
    squared_digits: np.ndarray  # (K,): sum of the squares of the digits that drove a row
    #: (rows x digit_max + 1, M): how often, at each sum of digits, an output's ReLU gives zero;
    #: None where one read does not decide that: several tiles, planes or slices, offset columns,
    #: signed inputs, no ReLU
    zero_outputs: np.ndarray | None = None
    #: (largest_sum + 1,): how often each ideal column sum occurs in accesses with an active row,
    #: where asked for
    column_sums: np.ndarray | None = None
    #: Counts of conversions that were made of it, by policies and bits.
    known: dict[Any, np.ndarray] = field(init=False, repr=False, default_factory=dict)

    def __add__(self, other: LayerEvents) -> LayerEvents:
        counted = {item.name for item in fields(self)} - {"arrays", "positions", "known"}
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in counted}
        sums: Any = {k: None if mine is None else mine + its for k, (mine, its) in pairs.items()}
        return replace(self, **sums)

    @property
    def accesses(self) -> int:
        """Reads of a tile, active or not."""
        return int(self.digit_sums.sum())

    @cached_property
    def column_tiles(self) -> int:
        """Arrays side by side."""
        return int(self.arrays.column_tile.max()) + 1

    @property
    def columns(self) -> int:
        """Columns that are converted in each access."""
        per_output, outputs = self.arrays.mapped.levels.shape[1:]
        return per_output * outputs + (self.arrays.mapped.offset > 0) * self.column_tiles


def count(
    arrays: LayerArrays, codes: np.ndarray, relu: bool = False, column_sums: bool = False
) -> LayerEvents:
    """What one layer does when it reads `codes` (N, inputs[, H, W]); `relu` tells if one follows.

    `column_sums` counts the ideal sums of the columns too.

    >>> count(chip.arrays[-1], np.ones((1, 84), np.uint8)).digit_sums.argmax(axis=-1)
    array([[84,  0,  0]])
    """
    inputs = unfold(codes, arrays)  # (N, P, K)
    mapping = arrays.mapping
    tiles, most = len(mapping.tiles(inputs.shape[-1])), mapping.rows * mapping.digit_max
    sums = np.zeros((tiles, arrays.planes, most + 1), np.int64)
    squared = np.zeros(inputs.shape[-1], np.int64)
    histogram = np.zeros(mapping.largest_sum + 1, np.int64) if column_sums else None
    levels = torch.from_numpy(arrays.mapped.levels.astype(np.float32)).flatten(1)
    for read in walk(arrays, inputs):
        squares = np.square(read.digits, dtype=np.uint16)  # of digits below 2^8
        squared[read.rows] += squares.sum(axis=(0, 1), dtype=np.int64)
        met = read.digits.sum(axis=-1, dtype=np.int64).ravel()
        sums[read.tile, read.plane] += np.bincount(met, minlength=most + 1)
        if histogram is not None:
            active = torch.from_numpy(read.digits.reshape(len(met), -1)[met > 0]).float()
            found = (active @ levels[read.rows]).flatten().to(torch.int64)
            histogram += torch.bincount(found, minlength=len(histogram)).numpy()
    one_pair = arrays.mapped.coefficients.tolist() == [1, -1]
    one_read = tiles == arrays.planes == 1 and not arrays.layer.signed  # which reads twice
    zeros = _zero_outputs(arrays, inputs) if relu and one_pair and one_read else None
    images, positions = inputs.shape[:2]
    return LayerEvents(arrays, images, positions, sums, squared, zeros, histogram)


def _zero_outputs(arrays: LayerArrays, inputs: np.ndarray) -> np.ndarray:
    """How often each output is not above zero, by the sum of the digits."""
    layer = arrays.layer
    flat = inputs.reshape(-1, inputs.shape[-1]).astype(np.float64)
    zero = flat @ layer.matrix.astype(np.float64) * layer.gain + layer.bias <= 0  # (reads, M)
    met = flat.sum(axis=1).astype(np.int64)
    counts = np.zeros((arrays.mapping.rows * arrays.mapping.digit_max + 1, zero.shape[1]), np.int64)
    np.add.at(counts, met, zero)
    return counts
