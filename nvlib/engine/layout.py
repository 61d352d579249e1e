"""Tables that the fast kernel reads, made once from the arrays of a layer.

A read adds, over the driven rows of a tile, what each sends into every column. Where inputs
enter bit by bit, rows are taken in groups of a few neighbours: the column currents of all bit
patterns of a group are tabled, and a read adds one line per group that has an active row. The
neighbours are neighbouring pixels of a kernel row (or features), so one byte per pixel and bit,
made once per image, serves every position that the kernel passes: there is no im2col copy.
Where several bits enter at once, a read adds the line of each driven row, times its drive.

Such tables hold each cell in several sums. Where they would be large, a group is one row, its line
holds the cells themselves, and a block is wide: a read adds more lines, and looks less often which.

Columns of a block stand side by side without gaps, and extra ones behind them: the reference
column of the offset scheme, the sense column, and one that counts driven rows for the noise.
Currents are whole numbers (`nvlib.arrays`) that their floating type holds exactly, so this order
of adding gives what any other would.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nvlib.arrays import LayerArrays
from nvlib.engine.compiled import LANES, aligned

GROUP_ROWS = 4  # rows per group of a linear layer; a convolution groups a kernel row
LARGEST_GROUP = 5
BLOCK_COLUMNS = 128  # columns read together, so that their tables stay in the L2 cache
#: Bytes that the tables of a layer may take; beyond, a group is one row.
LARGEST_TABLES = 2**24
ROW_COLUMNS = 1024  # columns of a block then: 128 rows of them fit the L2 cache too
#: Noise of more standard deviations does not occur; see `nvlib.engine.noise`.
MOST_NOISE = 6
EXACT_FLOAT32 = 2**24  # whole numbers below this
#: Sums below this convert exactly in float32, half a step and the rounding of 1/LSB included.
EXACT_CODES = 2**22


class Layout(NamedTuple):
    """Where inputs and cells are."""

    serial: bool  # whether inputs are bit patterns
    group: int  # rows that a pattern tells of
    bases: np.ndarray  # int64 (positions,): flat padded-input offset of each output position
    breadth: int  # positions in a row, and the distance of two
    stride: int
    #: uint64 (groups,): flat padded-input offset of each group from an output position
    sources: np.ndarray
    #: int64 (groups,): offset in the table of a block of each group's pattern 0, which is not
    #: read, and has no line where a group is one row
    lines: np.ndarray
    tile_starts: np.ndarray  # int64 (tiles + 1,): first group of each tile
    #: (blocks, groups, patterns, columns): currents of each bit pattern of a group, or of a row;
    #: float32 where that is exact, or as `LayerArrays` has the cells where those are tabled
    tables: np.ndarray
    width: int  # outputs of a block
    slices: np.ndarray  # int64 (B,): first column of each
    coefficients: np.ndarray  # int32 (B,): weight of a code of each slice in its output
    dac_bits: int  # by which codes of each plane count more than those of the one before


class Converter(NamedTuple):
    """Ideal conversion: floor((current + half) x reciprocal), from 0 to top."""

    half: Any
    reciprocal: Any
    top: Any


class Curves(NamedTuple):
    """Codes of nonlinear converters, tabled by floor(current x scale) - origin, up to `highest`."""

    codes: np.ndarray  # uint16 (row tiles, column tiles x entries)
    starts: np.ndarray  # uint32 (blocks, columns): first entry of each column's converter
    scale: Any
    origin: Any
    highest: Any


class Noise(NamedTuple):
    """Noise of a read, keyed by image, read and column."""

    cell: float  # standard deviation in steps, of one cell of weight 1 for each drive step
    adc: float  # of a conversion
    sense: float  # of the sense column's conversion
    columns: np.ndarray  # uint32 (blocks, columns): number of each column in its layer


class Extra(NamedTuple):
    """Columns beside the weights', by their place in a block; -1 where the chip has none."""

    reference: int
    beside: Any  # int32: weight of the reference column's code in an output
    sense: int
    driven: int
    sense_lsb: int  # steps of one active row at full drive
    used: int  # columns up to the last that is one, and what fills up vectors of eight
    silent: np.ndarray  # bool (row tiles,): whether a read without active row gives codes 0


class Tables(NamedTuple):
    """Everything that reads of one layer share."""

    layout: Layout
    converter: Converter
    curves: Curves | None
    noise: Noise | None
    #: float64, like the layout's tables: sums of the weights of variances, where cells differ
    variances: np.ndarray | None
    extra: Extra
    limits: np.ndarray | None  # float: highest code by count of the sense column


def lay_out(arrays: LayerArrays) -> Tables:
    """Tables of one layer.

    Examples
    --------
    >>> tables = lay_out(chip.arrays[0])
    >>> tables.layout.tables.shape[:3]  # one block, 5 kernel rows, the patterns of 5 pixels
    (1, 5, 32)
    >>> tables.layout.tables.shape[3] >= 6 * 6  # columns of 6 outputs, and what fills vectors up
    True
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
        bases, breadth, stride = (down[:, None] * padded_w + across).ravel(), out_w, spec.stride[1]
    else:
        row_length, group = rows, min(GROUP_ROWS, rows)
        offset, bases, breadth, stride = np.arange(rows), np.zeros(1, int), 1, 1
    float_type = _float_type(arrays)
    large = arrays.conductance.size * 2**group / group * float_type(0).nbytes > LARGEST_TABLES
    group = group if arrays.serial and not large else 1
    groups = _groups(arrays, row_length, group)
    tile_of_group = np.array([tile for _, _, tile in groups])
    last, ones, alike = per_output * outputs, np.ones(rows, int), arrays.noise_weights is None
    possible = {
        "reference": arrays.reference,
        "sense": arrays.sense,
        "driven": ones if arrays.noisy and arrays.serial and alike else None,
    }
    extra = {name: cells for name, cells in possible.items() if cells is not None}
    by_rows = arrays.serial and group == 1
    most = (ROW_COLUMNS if by_rows else BLOCK_COLUMNS) - len(extra)
    most = max(most // per_output, 1)
    width = -(-outputs // -(-outputs // most))  # blocks of one size
    behind = per_output * width
    columns = -(-(behind + len(extra)) // LANES) * LANES
    place = dict(zip(extra, range(behind, columns)))

    most_beside = max((int(np.abs(cells).max()) for cells in extra.values()), default=0)
    held = arrays.conductance.dtype if most_beside < 2**15 else np.dtype(np.int32)
    steps = _in_blocks(arrays.conductance, width, columns, held)
    numbers = _in_blocks(np.arange(last).reshape(1, per_output, outputs), width, columns)
    for number, (name, cells) in enumerate(extra.items(), last):
        steps[..., place[name]], numbers[..., place[name]] = cells, number

    def tabled(cells: np.ndarray, kind: type[np.floating]) -> np.ndarray:
        if by_rows:
            return cells[:, :, None]
        cells = cells.astype(kind)
        return _pattern_sums(cells, groups, group) if arrays.serial else cells[:, :, None]

    tables = tabled(steps, float_type)
    layout = Layout(
        serial=arrays.serial, group=group, bases=bases, breadth=breadth, stride=stride,
        sources=np.array([offset[row] for row, _, _ in groups], np.uint64),
        lines=(np.arange(len(groups)) - by_rows) * tables[0, 0].size,
        tile_starts=np.searchsorted(tile_of_group, np.arange(tile_of_group[-1] + 2)),
        tables=tables, width=width, slices=width * np.arange(per_output),
        coefficients=arrays.code_weights.astype(np.int32), dac_bits=arrays.mapping.dac_bits,
    )  # fmt: skip
    silent = np.full(len(layout.tile_starts) - 1, arrays.adc_noise_steps == 0)
    curves = noise = variances = None
    if arrays.curves is not None:
        across = _in_blocks(arrays.column_tile[None], width, columns)
        curves, zeros = _curves(arrays, across, float_type)
        silent &= zeros
    if arrays.noisy:
        noise = Noise(
            float(arrays.cell_noise_steps), float(arrays.adc_noise_steps),
            arrays.sense_noise_steps, numbers[:, 0].astype(np.uint32),
        )  # fmt: skip
    if arrays.noise_weights is not None:
        within = arrays.noise_weights[:, :last].reshape(arrays.conductance.shape)
        weights = _in_blocks(within, width, columns, np.int32)
        weights[..., behind : behind + len(extra)] = arrays.noise_weights[:, last:]
        drive, ends = int(arrays.drive.max()), arrays.mapping.tiles(rows)
        largest = max(int(weights[:, tile].sum(axis=1).max()) for tile in ends) * drive**2
        variances = tabled(weights, np.float32 if largest < EXACT_FLOAT32 else np.float64)
    # Half a step more keeps exact ties exact.
    half, reciprocal = arrays.lsb_steps // 2 + 0.5, 1.0 / arrays.lsb_steps
    limits = None if arrays.limits is None else arrays.limits.astype(float_type)
    at = [place.get(name, -1) for name in possible]
    beside = Extra(
        at[0], np.int32(-arrays.mapped.offset), at[1], at[2], arrays.sense_lsb_steps,
        -(-(behind + len(extra)) // 8) * 8, silent,
    )  # fmt: skip
    converter = Converter(float_type(half), float_type(reciprocal), float_type(arrays.code_max))
    return Tables(layout, converter, curves, noise, variances, beside, limits)


def _float_type(arrays: LayerArrays) -> type[np.floating]:
    """float32 where it holds every sum and converts it exactly, else float64."""
    drive = int(arrays.drive.max())
    largest = drive * max(
        int(np.abs(cells[tile]).sum(axis=0, dtype=np.int64).max(initial=0))
        for cells in (arrays.conductance, arrays.reference, arrays.sense)
        if cells is not None
        for tile in arrays.mapping.tiles(len(arrays.conductance))
    )
    weight = 1 if arrays.noise_weights is None else int(arrays.noise_weights.max())
    spread = np.hypot(
        arrays.cell_noise_steps * drive * np.sqrt(arrays.mapping.rows * weight),
        max(arrays.adc_noise_steps, arrays.sense_noise_steps),
    )
    reach, half = largest + MOST_NOISE * spread, arrays.lsb_steps / 2 + 1
    converted = min(reach, arrays.code_max * arrays.lsb_steps) + half
    exact = reach < EXACT_FLOAT32 and converted < EXACT_CODES
    return np.float32 if exact else np.float64


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
    """Sums of each group's rows of (blocks, K, columns) over every bit pattern of the group."""
    blocks, _, columns = steps.shape
    sums = aligned((blocks, len(groups), 2**group, columns), steps.dtype)
    first, count = np.array([(row, count) for row, count, _ in groups]).T
    for bit in range(group):  # patterns with this bit are those below it, and this row
        row = steps[:, np.minimum(first + bit, steps.shape[1] - 1)] * (bit < count)[:, None]
        np.add(sums[:, :, : 2**bit], row[:, :, None], out=sums[:, :, 2**bit : 2 ** (bit + 1)])
    return sums


def _in_blocks(columns: np.ndarray, width: int, filled: int, kind: Any = np.int64) -> np.ndarray:
    """(K, B, M) as (blocks, K, filled): `width` outputs to a block, then zeros."""
    rows, per_output, outputs = columns.shape
    blocks = aligned((-(-outputs // width), rows, filled), np.dtype(kind))
    for block, k in np.ndindex(len(blocks), per_output):
        part = columns[:, k, block * width : (block + 1) * width]
        blocks[block, :, k * width : k * width + part.shape[1]] = part
    return blocks


def _curves(
    arrays: LayerArrays, column_tile: np.ndarray, float_type: type[np.floating]
) -> tuple[Curves, np.ndarray]:
    """Codes of nonlinear converters, for every input that a step apart can tell.

    And, for each tile (tiles,), whether no current gives code 0 in every converter.
    """
    assert arrays.curves is not None
    shift = arrays.curve_shift
    if not arrays.noisy:  # inputs of ideal cells are coarse, and a small table stays in the cache
        held = [cells for cells in (arrays.conductance, arrays.reference) if cells is not None]
        used = np.bitwise_or.reduce([int(np.bitwise_or.reduce(np.abs(c), axis=None)) for c in held])
        shift = max(shift, int(used & -used).bit_length() - 1)  # low bits that no cell uses
    first = int(arrays.curves.min() >> shift) - 1
    inputs = np.arange(first, int(arrays.curves.max() >> shift) + 2) << shift
    codes = np.empty((*arrays.curves.shape[:2], len(inputs)), np.uint16)
    for place in np.ndindex(arrays.curves.shape[:2]):
        codes[place] = np.searchsorted(arrays.curves[place], inputs, side="right")
    starts = column_tile[:, 0] * len(inputs)
    zero = codes[:, :, int(np.clip(-first, 0, len(inputs) - 1))] == 0
    curves = Curves(
        codes.reshape(len(codes), -1), starts.astype(np.uint32), float_type(2.0**-shift),
        float_type(first), float_type(len(inputs) - 1),
    )  # fmt: skip
    return curves, zero.all(axis=1)
