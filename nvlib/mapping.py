"""Weight codes to the levels of cells: tiles, slices, polarities.

A layer is a K x M matrix of integer codes. Its K inputs are cut into tiles of `rows` rows. Each
weight is cut into slices of `cell_bits` bits, one cell each:

* differential pair: magnitude bits, a column for each polarity;
  ``q = sum_s 2^(c s) (level+_s - level-_s)``
* signed digits: the same columns, but the bits are those of the canonical signed-digit form
  (no two neighbours are set; Reitwiesner 1960), one more of them and fewer that are on
* offset column: ``q + o`` is stored unsigned, and one reference column of level-1 cells per array
  measures ``sum_i x_i``, whose o-fold is subtracted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nvlib.checks import require, require_choice, require_integer, settle
from nvlib.quantizers import MAX_BITS, Precision

SCHEMES = ("differential", "signed-digit", "offset")
MAX_LINES = 4096  # rows or columns of an array


@dataclass(frozen=True)
class ArrayMapping:
    """How a layer is laid onto arrays.

    Parameters
    ----------
    rows, columns : int
        Cells of one array; rows are inputs.
    cell_bits, dac_bits : int
        Bits c that one cell stores, and input bits d that enter at a time: 1 is bit-serial, A one
        shot.
    scheme : {"differential", "signed-digit", "offset"}
    """

    rows: int = 128
    columns: int = 128
    cell_bits: int = 1
    dac_bits: int = 1
    scheme: str = "differential"

    def __post_init__(self) -> None:
        for name in ("rows", "columns", "cell_bits", "dac_bits"):
            most = MAX_BITS if name.endswith("bits") else MAX_LINES
            settle(self, **{name: require_integer(name, getattr(self, name), 1, most)})
        settle(self, scheme=require_choice("scheme", self.scheme, SCHEMES))

    @property
    def level_max(self) -> int:
        """Highest level of a cell."""
        return 2**self.cell_bits - 1

    @property
    def digit_max(self) -> int:
        """Highest input digit of one plane."""
        return 2**self.dac_bits - 1

    @property
    def largest_sum(self) -> int:
        """Largest ideal column sum of one read, in level x digit units."""
        return self.rows * self.level_max * self.digit_max

    def planes(self, precision: Precision) -> int:
        """Planes that an activation enters in."""
        return -(-precision.activation_bits // self.dac_bits)

    def tiles(self, inputs: int) -> list[slice]:
        """Row ranges of the tiles of a layer with `inputs` rows.

        Examples
        --------
        >>> ArrayMapping(rows=128).tiles(150)
        [slice(0, 128, None), slice(128, 150, None)]
        """
        starts = range(0, inputs, self.rows)
        return [slice(start, min(start + self.rows, inputs)) for start in starts]


@dataclass(frozen=True, eq=False)
class MappedLayer:
    """Levels of one layer's cells, and how digital logic puts columns together."""

    levels: np.ndarray  # uint8 (K, B, M): B columns per output, slices x polarities
    coefficients: np.ndarray  # int64 (B,): signed weight of each column in the output
    offset: int  # what every stored weight is too large by; 0 for differential pairs


def slices_per_weight(precision: Precision, mapping: ArrayMapping) -> int:
    """Cells that one weight (of one polarity) is spread over.

    Examples
    --------
    >>> slices_per_weight(Precision(4, 3), ArrayMapping(cell_bits=2))  # 3 magnitude bits
    2
    """
    bits = precision.weight_bits - (mapping.scheme == "differential")
    return -(-max(bits, 1) // mapping.cell_bits)


def map_weights(codes: np.ndarray, precision: Precision, mapping: ArrayMapping) -> MappedLayer:
    """Cut weight codes (K, M) into levels; ValueError if one is beyond the precision.

    Examples
    --------
    >>> mapped = map_weights(np.array([[-5]]), Precision(4, 3), ArrayMapping(cell_bits=2))
    >>> mapped.levels[0, :, 0], mapped.coefficients
    (array([0, 1, 0, 1], dtype=uint8), array([ 1, -1,  4, -4]))
    """
    codes = np.asarray(codes).astype(np.int64)
    largest, limit = int(np.abs(codes).max(initial=0)), precision.weight_max
    mend = "map them at the precision they were quantized at"
    wanted = f"magnitudes up to {limit} at {precision}"
    require(largest <= limit, "weight codes", wanted, largest, mend)
    shifts = mapping.cell_bits * np.arange(slices_per_weight(precision, mapping))
    if mapping.scheme != "offset":
        plus, minus = np.abs(codes), np.zeros_like(codes)
        if mapping.scheme == "signed-digit":
            plus, minus = signed_digits(plus)
        pair = [np.where(codes < 0, minus, plus), np.where(codes < 0, plus, minus)]
        stored = np.stack(pair, axis=1)  # (K, 2, M)
        signs, step, offset = np.array([1, -1]), 1, 0
    else:
        step = 2 if precision.weight_bits == 1 else 1  # binary codes are 2 b - 1
        stored = ((codes + limit) // step)[:, None, :]  # (K, 1, M)
        signs, offset = np.array([1]), limit
    levels = (stored[:, None] >> shifts[:, None, None]) & mapping.level_max  # (K, S, P, M)
    coefficients = (step * signs * (1 << shifts)[:, None]).ravel()
    levels = levels.reshape(len(codes), len(coefficients), -1).astype(np.uint8)
    return MappedLayer(levels, coefficients, offset)


def signed_digits(magnitudes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Canonical signed-digit form: x = plus - minus, no two neighbouring digits set.

    Examples
    --------
    >>> signed_digits(np.array([7, 6, 5]))  # 8 - 1, 8 - 2, 4 + 1
    (array([8, 8, 5]), array([1, 2, 0]))
    """
    half = magnitudes >> 1
    threefold = magnitudes + half
    changed = half ^ threefold
    return threefold & changed, half & changed


@dataclass(frozen=True)
class ArrayCount:
    """Arrays that a layer occupies, and their cells that hold weights, no reference columns."""

    row_tiles: int
    column_tiles: int
    cells: int

    @property
    def arrays(self) -> int:
        """Arrays in all."""
        return self.row_tiles * self.column_tiles


def count_arrays(
    inputs: int, outputs: int, precision: Precision, mapping: ArrayMapping, sense_columns: int = 0
) -> ArrayCount:
    """Arrays of a layer; a reference column and `sense_columns` are reserved in each.

    Examples
    --------
    >>> count_arrays(150, 16, Precision(4, 3), ArrayMapping())  # 16 outputs x 3 slices x 2 signs
    ArrayCount(row_tiles=2, column_tiles=1, cells=14400)
    """
    offset = mapping.scheme == "offset"
    room = mapping.columns - sense_columns - offset
    wanted = "room for one weight column beside the reserved ones"
    require(room >= 1, "columns", wanted, mapping.columns, "widen the array")
    columns = outputs * slices_per_weight(precision, mapping) * (2 - offset)
    return ArrayCount(len(mapping.tiles(inputs)), -(-columns // room), inputs * columns)
