"""Weight codes to the levels of cells: tiles, slices, polarities.

A layer is a K x M matrix of integer codes. Its K inputs are cut into tiles of `rows` rows. Each
weight is cut into slices of `cell_bits` bits, one cell each:

* differential pair: magnitude bits, a column for each polarity;
  ``q = sum_s 2^(c s) (level+_s - level-_s)``
* signed digits: the same columns, but the bits are those of the canonical signed-digit form
  (no two neighbours are set; Reitwiesner 1960), one more of them and fewer that are on
* offset column: ``q + o`` is stored unsigned, and one reference column of level-1 cells per array
  measures ``sum_i x_i``, whose o-fold is subtracted
* two's complement: the low W - 1 bits of ``q mod 2^W`` in slices, and its sign bit in a column of
  level-1 cells that weighs -2^(W-1); neither a second polarity nor a reference column.

Slices may differ in width, as in MemIntelli (arXiv:2511.17418): the highest bits in narrow cells,
the lowest in wide ones. A narrow cell is a wide one of which few levels are used, up to G_on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nvlib import checks
from nvlib.checks import require, require_integer, require_tuple, settle_fields
from nvlib.quantizers import MAX_BITS, Precision

SCHEMES = ("differential", "signed-digit", "offset", "twos-complement")
MAX_LINES = 4096  # rows or columns of an array


@dataclass(frozen=True)
class ArrayMapping:
    """How a layer is laid onto arrays.

    Parameters
    ----------
    rows, columns : int
        Cells of one array; rows are inputs.
    cell_bits : int or tuple of int
        Bits c that one cell stores; or those of each slice, from the highest, which add up to the
        stored bits: W - 1 of differential pairs, else W. The first of two's complement, 1, is the
        sign.
    dac_bits : int
        Input bits d that enter at a time: 1 is bit-serial, A one shot.
    scheme : {"differential", "signed-digit", "offset", "twos-complement"}
    """

    rows: int = 128
    columns: int = 128
    cell_bits: int | tuple[int, ...] = 1
    dac_bits: int = 1
    scheme: str = "differential"

    def __post_init__(self) -> None:
        settle_fields(self, "rows columns", require_integer, 1, MAX_LINES)
        settle_fields(self, "dac_bits", require_integer, 1, MAX_BITS)
        several = isinstance(self.cell_bits, (tuple, list))
        given = require_tuple("cell_bits", self.cell_bits if several else (self.cell_bits,), "")
        widths = tuple(require_integer("cell_bits", bits, 1, MAX_BITS) for bits in given)
        fit = bool(widths) and all((2 ** max(widths) - 1) % (2**bits - 1) == 0 for bits in widths)
        wanted = "widths whose levels are among those of the widest, such as (1, 1, 2, 4)"
        require(fit, "cell_bits", wanted, given, "use 1, or divisors of the widest")
        checks.settle(self, cell_bits=widths if several else widths[0])
        settle_fields(self, "scheme", checks.require_choice, SCHEMES)

    @property
    def paired(self) -> bool:
        """Whether each polarity has a column of its own."""
        return self.scheme in ("differential", "signed-digit")

    @property
    def sliced(self) -> bool:
        """Whether slices have widths of their own."""
        return isinstance(self.cell_bits, tuple)

    @property
    def level_max(self) -> int:
        """Highest level of a cell."""
        widths = self.cell_bits
        return 2 ** (max(widths) if isinstance(widths, tuple) else widths) - 1

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
    #: int64 (B,): levels that are one of a column's own: 1 but in cells narrower than the widest
    multiples: np.ndarray
    coefficients: np.ndarray  # int64 (B,): signed weight of such a level in the output
    offset: int  # that every stored weight is too large by; 0 but in the offset scheme

    @property
    def columns(self) -> int:
        """Columns of the layer, which run output by output."""
        return self.levels[0].size

    def per_array(self, column_tiles: int) -> int:
        """Columns on each of so many arrays side by side."""
        return -(-self.columns // column_tiles)


def _slices(precision: Precision, mapping: ArrayMapping) -> tuple[np.ndarray, np.ndarray]:
    """Lowest bit of each slice of the stored number, without its sign, and its highest level."""
    signed = mapping.scheme in ("differential", "twos-complement")
    bits = max(precision.weight_bits - signed, 1)
    if not isinstance(mapping.cell_bits, tuple):
        shifts = np.arange(0, bits, mapping.cell_bits)
        return shifts, np.full(len(shifts), mapping.level_max)
    sign = (1,) * (mapping.scheme == "twos-complement")
    widths, own = mapping.cell_bits[len(sign) :], mapping.cell_bits[: len(sign)]
    wanted = f"slices of {bits} bits in all{', behind a sign of 1' * bool(sign)}, at {precision}"
    mend = f"choose them for {mapping.scheme} columns of that precision"
    require(own == sign and sum(widths) == bits, "cell_bits", wanted, mapping.cell_bits, mend)
    upward = np.array(widths[::-1])
    return np.cumsum(upward) - upward, 2**upward - 1


def map_weights(codes: np.ndarray, precision: Precision, mapping: ArrayMapping) -> MappedLayer:
    """Cut weight codes (K, M) into levels; ValueError if one is beyond the precision.

    Examples
    --------
    >>> mapped = map_weights(np.array([[-5]]), Precision(4, 3), ArrayMapping(cell_bits=2))
    >>> mapped.levels[0, :, 0], mapped.coefficients
    (array([0, 1, 0, 1], dtype=uint8), array([ 1, -1,  4, -4]))
    >>> signed = ArrayMapping(scheme="twos-complement")
    >>> mapped = map_weights(np.array([[-5]]), Precision(4, 3), signed)  # 0b1011
    >>> mapped.levels[0, :, 0], mapped.coefficients
    (array([1, 1, 0, 1], dtype=uint8), array([ 1,  2,  4, -8]))
    >>> slices = ArrayMapping(scheme="twos-complement", cell_bits=(1, 1, 2))  # narrow at the top
    >>> mapped = map_weights(np.array([[-5]]), Precision(4, 3), slices)
    >>> mapped.levels[0, :, 0], mapped.coefficients
    (array([3, 0, 3], dtype=uint8), array([ 1,  4, -8]))
    """
    codes = np.asarray(codes).astype(np.int16, order="C")
    largest, limit = int(np.abs(codes).max(initial=0)), precision.weight_max
    mend = "map them at the precision they were quantized at"
    wanted = f"magnitudes up to {limit} at {precision}"
    require(largest <= limit, "weight codes", wanted, largest, mend)
    (shifts, highest), offset, step = _slices(precision, mapping), 0, 1
    signs = np.array([1, -1])
    if mapping.scheme == "offset":
        step = 2 if precision.weight_bits == 1 else 1  # binary codes are 2 b - 1
        stored, signs, offset = [(codes + limit) // step], signs[:1], limit
    elif mapping.scheme == "twos-complement":
        top = 1 << max(precision.weight_bits - 1, 1)
        stored, signs = [codes % top], signs[:1]
    else:
        plus, minus = np.abs(codes), np.zeros_like(codes)
        if mapping.scheme == "signed-digit":
            plus, minus = signed_digits(plus)
        stored = [np.where(codes < 0, minus, plus), np.where(codes < 0, plus, minus)]
    stacked = np.stack(stored, axis=1)  # (K, P, M)
    levels = np.empty((len(codes), len(shifts), *stacked.shape[1:]), np.uint8)
    for place, (shift, most) in enumerate(zip(shifts.tolist(), highest.tolist())):
        levels[:, place] = (stacked >> shift) & most
    levels = levels.reshape(len(codes), len(shifts) * len(signs), -1)  # (K, S x P, M)
    multiples = np.repeat(mapping.level_max // highest, len(signs))
    coefficients = (step * signs * (1 << shifts)[:, None]).ravel()
    if mapping.scheme == "twos-complement":
        levels = np.concatenate([levels, codes[:, None] < 0], axis=1)
        coefficients = np.append(coefficients, -top)
        multiples = np.append(multiples, mapping.level_max if mapping.sliced else 1)
    levels = (levels * multiples[:, None].astype(np.uint8)).astype(np.uint8, copy=False)
    return MappedLayer(levels, multiples, coefficients, offset)


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
    slices = len(_slices(precision, mapping)[0]) + (mapping.scheme == "twos-complement")
    columns = outputs * slices * (1 + mapping.paired)
    return ArrayCount(len(mapping.tiles(inputs)), -(-columns // room), inputs * columns)
