"""Tables that the fast kernel reads, made once from the arrays of a layer.

A read adds, over the rows of a tile, what each driven row sends into every
column. Rows are taken in groups of a few neighbours: for each group, the
column currents of all its bit patterns are tabled once, when the chip is
laid out, and a read adds one table line per group that has an active row. The
neighbours are neighbouring pixels of a kernel row (or features), so one byte per
pixel and bit, made once per image, serves every position that the kernel passes:
there is no im2col copy. Column currents are exact integers (`nvlib.arrays`), so
this order of adding gives what any other would.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nvlib.arrays import LayerArrays
from nvlib.compiled import LINE_STEP
from nvlib.noise import NORMAL_QUANTILES

GROUP_ROWS = 4  # rows per group of a linear layer; a convolution groups a kernel row
LARGEST_GROUP = 5
BLOCK_COLUMNS = 128  # columns read together, so that their tables stay in the L2 cache


class Layout(NamedTuple):
    """Where inputs and cells are."""

    bases: np.ndarray  # int64 (positions,): flat padded-input offset of each output position
    #: uint64 (groups,): flat padded-input offset of each group from an output position
    sources: np.ndarray
    lengths: np.ndarray  # int64 (groups,): rows in each group
    tile_starts: np.ndarray  # int64 (tiles + 1,): first group of each tile
    #: int32 (blocks, groups, 2^group, B x width): column currents of each bit pattern; `width`
    #: outputs to a block
    tables: np.ndarray
    width: int
    coefficients: np.ndarray  # int64 (B,): weight of each column in its output
    drive: np.ndarray  # int64 (planes, 2^d): steps that each digit drives its row with
    dac_bits: int


class Converter(NamedTuple):
    """Ideal conversion: floor((current + half) x reciprocal), from 0 to top."""

    half: float
    reciprocal: float
    top: int


class Curves(NamedTuple):
    """Codes of nonlinear converters, tabled."""

    #: int32 (row tiles, column tiles x entries): by input shifted by `shift` and counted from
    #: `origin`
    codes: np.ndarray
    starts: np.ndarray  # int32 (blocks, B x width): first entry of each column's converter
    origin: np.int32  # `highest` is the last entry of a converter
    shift: np.int32
    highest: np.int32
    #: bool (row tiles,): whether no current gives code 0 in every converter of the tile
    silent: np.ndarray


class Noise(NamedTuple):
    """Noise of a read, keyed by image and by counter."""

    cell: float  # Standard deviations in steps, of one cell for each drive step and of a conversion
    adc: float
    quantiles: np.ndarray
    counters: np.ndarray  # uint64 (blocks, B x width): of each column within a read
    per_read: int  # Counters that a read takes; the last one is the reference column's
    #: int64 (groups, 2^group): sum of the squared drives of each bit pattern; empty where that
    #: takes the digits
    squares: np.ndarray


class Side(NamedTuple):
    """Extra columns of every array; a table is empty where the chip has none."""

    reference: np.ndarray  # int64 (groups, 2^group): currents of each bit pattern
    sense: np.ndarray  # int64 (groups, 2^group): currents of each bit pattern
    offset: int  # What every stored weight is too large by
    sense_lsb: int  # Steps of one active row at full drive
    limits: np.ndarray  # int64: highest code by count of the sense column


class Tables(NamedTuple):
    """Everything that reads of one layer share."""

    layout: Layout
    converter: Converter
    curves: Curves | None
    noise: Noise | None
    side: Side
    group: int


def lay_out(arrays: LayerArrays) -> Tables:
    """Tables of one layer.

    Examples
    --------
    >>> tables = lay_out(chip.arrays[0])
    >>> tables.layout.tables.shape  # one block, 5 kernel rows of 5 pixels, 6 columns of 8 outputs
    (1, 5, 32, 48)
    """
    spec = arrays.layer.spec
    rows, per_output, outputs = arrays.conductance.shape
    if spec.kernel:
        _, height, breadth = arrays.layer.input_shape
        # Dilated pixels of a kernel row are no neighbours in the image.
        row_length = spec.kernel[1] if spec.dilation[1] == 1 else 1
        group = min(row_length, LARGEST_GROUP)
        padded_h, padded_w = height + 2 * spec.padding[0], breadth + 2 * spec.padding[1]
        channel, y, x = np.unravel_index(np.arange(rows), (spec.inputs, *spec.kernel))
        offset = (channel * padded_h + y * spec.dilation[0]) * padded_w + x * spec.dilation[1]
        out_h, out_w = spec.output_sides(height, breadth)
        down, across = np.arange(out_h) * spec.stride[0], np.arange(out_w) * spec.stride[1]
        bases = (down[:, None] * padded_w + across).ravel()
    else:
        row_length, group = rows, min(GROUP_ROWS, rows)
        offset, bases = np.arange(rows), np.zeros(1, int)
    groups = _groups(arrays, row_length, group)
    width = max(LINE_STEP, BLOCK_COLUMNS // per_output // LINE_STEP * LINE_STEP)
    width = min(width, -(-outputs // LINE_STEP) * LINE_STEP)
    steps = _in_blocks(arrays.conductance, width)  # (blocks, K, B x width)
    tile_of_group = np.array([tile for _, _, tile in groups])
    layout = Layout(
        bases=bases,
        sources=np.array([offset[row] for row, _, _ in groups], np.uint64),
        lengths=np.array([count for _, count, _ in groups]),
        tile_starts=np.searchsorted(tile_of_group, np.arange(tile_of_group[-1] + 2)),
        tables=np.stack([_pattern_sums(block, groups, group) for block in steps]),
        width=width,
        coefficients=arrays.mapped.coefficients,
        drive=arrays.drive,
        dac_bits=arrays.mapping.dac_bits,
    )
    # Half a step more keeps exact ties exact.
    converter = Converter(
        arrays.lsb_steps // 2 + 0.5, 1.0 / arrays.lsb_steps, arrays.code_max
    )  # fmt: skip
    noise = None
    if arrays.noisy:
        counters = np.arange(per_output * outputs).reshape(1, per_output, outputs)
        serial = arrays.drive.shape[1] == 2 and arrays.drive_bits == 0
        noise = Noise(
            cell=float(arrays.cell_noise_steps),
            adc=float(arrays.adc_noise_steps),
            quantiles=NORMAL_QUANTILES,
            counters=_in_blocks(counters, width)[:, 0].astype(np.uint64),
            per_read=per_output * outputs + 1,
            squares=_side_table(np.ones(rows, np.int64) if serial else None, groups, group),
        )
    side = Side(
        reference=_side_table(arrays.reference, groups, group),
        sense=_side_table(arrays.sense, groups, group),
        offset=arrays.mapped.offset,
        sense_lsb=arrays.mapping.level_max << (arrays.grid_bits + arrays.drive_bits),
        limits=np.zeros(0, np.int64) if arrays.limits is None else arrays.limits,
    )
    return Tables(layout, converter, _curves(arrays, width), noise, side, group)


def _groups(arrays: LayerArrays, row_length: int, group: int) -> list[tuple[int, int, int]]:
    """(first row, rows, tile) of each group: within a kernel row and within a tile."""
    groups = []
    for number, tile in enumerate(arrays.mapping.tiles(len(arrays.conductance))):
        row = tile.start
        while row < tile.stop:
            end = min(row + group, tile.stop, (row // row_length + 1) * row_length)
            groups.append((row, end - row, number))
            row = end
    return groups


def _pattern_sums(steps: np.ndarray, groups: list[tuple[int, int, int]], group: int) -> np.ndarray:
    """Sums of each group's rows of (K, columns) over every bit pattern: (groups, 2^group, ...)."""
    rows = np.zeros((len(groups), group, steps.shape[1]), np.int32)
    for i, (row, count, _) in enumerate(groups):
        rows[i, :count] = steps[row : row + count]
    sums = np.zeros((len(groups), 2**group, steps.shape[1]), np.int32)
    for bit in range(group):  # patterns with this bit are those below it, and this row
        sums[:, 2**bit : 2 ** (bit + 1)] = sums[:, : 2**bit] + rows[:, None, bit]
    return sums


def _in_blocks(columns: np.ndarray, width: int) -> np.ndarray:
    """(K, B, M) as (blocks, K, B x width): `width` outputs to a block, filled up with zeros."""
    rows, per_output, outputs = columns.shape
    blocks = -(-outputs // width)
    wide = np.zeros((rows, per_output, blocks * width), np.int64)
    wide[:, :, :outputs] = columns
    wide = wide.reshape(rows, per_output, blocks, width).transpose(2, 0, 1, 3)
    return wide.reshape(blocks, rows, per_output * width)


def _curves(arrays: LayerArrays, width: int) -> Curves | None:
    """Codes of nonlinear converters, for every input that a step apart can tell."""
    if arrays.curves is None:
        return None
    shift = arrays.curve_shift
    if not arrays.noisy:  # inputs of ideal cells are coarse, and a small table stays in the cache
        shift = max(shift, _trailing_zeros(arrays.conductance, arrays.reference))
    first = int(arrays.curves.min() >> shift) - 1
    inputs = np.arange(first, int(arrays.curves.max() >> shift) + 2) << shift
    tables = np.empty((*arrays.curves.shape[:2], len(inputs)), np.int32)
    for place in np.ndindex(arrays.curves.shape[:2]):
        tables[place] = np.searchsorted(arrays.curves[place], inputs, side="right")
    zero = int(np.clip(-first, 0, len(inputs) - 1))  # entry of no current
    starts = _in_blocks(arrays.column_tile[None], width)[:, 0] * len(inputs)
    return Curves(
        tables.reshape(len(tables), -1), starts.astype(np.int32), np.int32(first), np.int32(shift),
        np.int32(len(inputs) - 1), (tables[:, :, zero] == 0).all(axis=1),
    )  # fmt: skip


def _side_table(
    cells: np.ndarray | None, groups: list[tuple[int, int, int]], group: int
) -> np.ndarray:
    """Pattern sums of one extra column; empty where the chip has none."""
    if cells is None:
        return np.zeros((0, 0), np.int64)
    return _pattern_sums(cells[:, None], groups, group)[..., 0].astype(np.int64)


def _trailing_zeros(*cells: np.ndarray | None) -> int:
    """Low bits that no cell uses."""
    used = 0
    for array in cells:
        used |= 0 if array is None else int(np.bitwise_or.reduce(np.abs(array), axis=None))
    return (used & -used).bit_length() - 1 if used else 0
