"""The hot kernel: input codes of one layer to its products, array read by array read.

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

from dataclasses import dataclass

import numpy as np

from nvlib.arrays import LayerArrays
from nvlib.compiled import LINE_STEP, add_lines, compiled, pasted
from nvlib.noise import normal

GROUP_ROWS = 4  # rows per group of a linear layer; a convolution groups a kernel row
LARGEST_GROUP = 5
BLOCK_COLUMNS = 128  # columns read together, so that their tables stay in the L2 cache


@dataclass(frozen=True, eq=False)
class Layout:
    """Tables that the kernel reads, made once from a layer's arrays.

    Attributes
    ----------
    group : int
        Rows per group.
    sources : ndarray of int64, shape (groups,)
        Flat padded-input offset of each group from an output position.
    lengths : ndarray of int64, shape (groups,)
        Rows in each group.
    tile_starts : ndarray of int64, shape (tiles + 1,)
        First group of each tile.
    bases : ndarray of int64, shape (positions,)
        Flat padded-input offset of each output position.
    tables : ndarray of int32, shape (blocks, groups, 2^group, B x width)
        Column currents of each bit pattern; `width` outputs to a block.
    reference_table, sense_table : ndarray of int64, shape (groups, 2^group)
    curve_tables : ndarray of int32, shape (row tiles, column tiles, entries)
        Codes of nonlinear converters, by input shifted by `curve_shift` and counted from
        `curve_origin`.
    curve_of_column : ndarray of int64, shape (blocks, B x width)
        First entry of each column's converter.
    height, breadth : int
        Of the output map.
    """

    group: int
    sources: np.ndarray
    lengths: np.ndarray
    tile_starts: np.ndarray
    bases: np.ndarray
    tables: np.ndarray
    width: int
    reference_table: np.ndarray
    sense_table: np.ndarray
    curve_tables: np.ndarray
    curve_origin: int
    curve_shift: int
    curve_of_column: np.ndarray
    drive_planes: int
    height: int
    breadth: int


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


def lay_out(arrays: LayerArrays, height: int, breadth: int) -> Layout:
    """Tables for inputs of `height` x `breadth` pixels (1 x features for a linear layer)."""
    spec = arrays.layer.spec
    out_h, out_w = spec.output_sides(height, breadth)
    if spec.kernel:
        # Dilated pixels of a kernel row are no neighbours in the image.
        row_length = spec.kernel[1] if spec.dilation[1] == 1 else 1
        group = min(row_length, LARGEST_GROUP)
        padded_h, padded_w = height + 2 * spec.padding[0], breadth + 2 * spec.padding[1]
        channel, y, x = np.unravel_index(np.arange(spec.rows), (spec.inputs, *spec.kernel))
        offset = (channel * padded_h + y * spec.dilation[0]) * padded_w + x * spec.dilation[1]
        down, across = np.arange(out_h) * spec.stride[0], np.arange(out_w) * spec.stride[1]
        bases = (down[:, None] * padded_w + across).ravel()
    else:
        row_length, group = spec.rows, min(GROUP_ROWS, spec.rows)
        offset, bases = np.arange(spec.rows), np.zeros(1, int)
    groups = _groups(arrays, row_length, group)
    outputs, per_output = spec.outputs, arrays.conductance.shape[1]
    width = max(LINE_STEP, BLOCK_COLUMNS // per_output // LINE_STEP * LINE_STEP)
    width = min(width, -(-outputs // LINE_STEP) * LINE_STEP)
    blocks = -(-outputs // width)
    steps = np.zeros((spec.rows, per_output, blocks * width), np.int64)
    steps[:, :, :outputs] = arrays.conductance
    curve = np.zeros((per_output, blocks * width), np.int64)
    curve[:, :outputs] = arrays.column_tile
    steps = steps.reshape(spec.rows, per_output, blocks, width).transpose(2, 0, 1, 3)
    steps = steps.reshape(blocks, spec.rows, per_output * width)
    curve = curve.reshape(per_output, blocks, width).transpose(1, 0, 2).reshape(blocks, -1)
    tables = np.stack([_pattern_sums(block, groups, group) for block in steps])
    tile_of_group = np.array([tile for _, _, tile in groups])
    starts = np.searchsorted(tile_of_group, np.arange(tile_of_group[-1] + 2))
    curve_tables, curve_origin, curve_shift = _curve_tables(arrays)
    bits = int(arrays.drive.max()).bit_length()
    return Layout(
        group=group,
        sources=np.array([offset[row] for row, _, _ in groups], np.uint64),
        lengths=np.array([count for _, count, _ in groups]),
        tile_starts=starts,
        bases=bases,
        tables=tables,
        width=width,
        reference_table=_side_table(arrays.reference, groups, group),
        sense_table=_side_table(arrays.sense, groups, group),
        curve_tables=curve_tables,
        curve_origin=curve_origin,
        curve_shift=curve_shift,
        curve_of_column=curve * curve_tables.shape[2],
        drive_planes=bits,
        height=out_h,
        breadth=out_w,
    )


def _side_table(
    cells: np.ndarray | None, groups: list[tuple[int, int, int]], group: int
) -> np.ndarray:
    """Pattern sums of one extra column; empty where the chip has none."""
    if cells is None:
        return np.zeros((0, 0), np.int64)
    return _pattern_sums(cells[:, None], groups, group)[..., 0].astype(np.int64)


def _curve_tables(arrays: LayerArrays) -> tuple[np.ndarray, int, int]:
    """Codes of nonlinear converters; the first input tabled; its shift."""
    if arrays.curves is None:
        return np.zeros((1, 1, 0), np.int32), 0, 0
    shift = arrays.curve_shift
    if not arrays.noisy:  # inputs of ideal cells are coarse, and a small table stays in the cache
        shift = max(shift, _trailing_zeros(arrays.conductance, arrays.reference))
    first = int(arrays.curves.min() >> shift) - 1
    inputs = np.arange(first, int(arrays.curves.max() >> shift) + 2) << shift
    tables = np.empty((*arrays.curves.shape[:2], len(inputs)), np.int32)
    for place in np.ndindex(arrays.curves.shape[:2]):
        tables[place] = np.searchsorted(arrays.curves[place], inputs, side="right")
    return tables, first, shift


def _trailing_zeros(*cells: np.ndarray | None) -> int:
    """Low bits that no cell uses."""
    used = 0
    for array in cells:
        used |= 0 if array is None else int(np.bitwise_or.reduce(np.abs(array), axis=None))
    return (used & -used).bit_length() - 1 if used else 0


@compiled
def pattern_bytes(codes, dac_bits, drive, drive_planes, group, out):
    """Bit patterns of `group` neighbours: codes (N, F) -> out (N, planes, drive bits, F).

    Eight codes are handled at a time, as the bytes of a 64-bit word; F is a multiple of 8.
    """
    images, length = codes.shape
    mask = drive.shape[1] - 1
    serial = drive.shape[1] == 2 and drive[0, 1] == 1  # a digit is its own drive
    ones = np.uint64(0x0101010101010101)
    steps = np.empty(length, np.int64)
    bits = np.empty(length, np.uint8)
    words = bits.view(np.uint64)
    for n in range(images):
        eight = codes[n].view(np.uint64)
        for plane in range(drive.shape[0]):
            if not serial:
                for f in range(length):
                    steps[f] = drive[plane, (codes[n, f] >> (plane * dac_bits)) & mask]
            for b in range(drive_planes):
                if serial:
                    for w in range(len(words)):
                        words[w] = (eight[w] >> np.uint64(plane)) & ones
                else:
                    for f in range(length):
                        bits[f] = (steps[f] >> b) & 1
                line = out[n, plane, b].view(np.uint64)
                for w in range(len(words) - 1):
                    here, ahead = words[w], words[w + 1]
                    pattern = here
                    for i in range(1, group):  # neighbour i moves to this byte, and to bit i
                        byte = np.uint64(8 * i)
                        moved = (here >> byte) | (ahead << (np.uint64(64) - byte))
                        pattern |= moved << np.uint64(i)
                    line[w] = pattern
                line[len(words) - 1] = 0


@pasted
def _choose(patterns, base, sources, line_step, columns, chosen):
    """Offsets of the table lines of the groups with an active row; how many there are."""
    count = np.uint64(0)  # unsigned indices spare the check for negative ones
    offset = 0
    for g in range(np.uint64(len(sources))):
        pattern = np.int64(patterns[sources[g] + np.uint64(base)])
        chosen[count] = offset + pattern * columns
        count += np.uint64(pattern != 0)
        offset += line_step
    return np.int64(count)


@pasted
def _convert(current, kind, half, reciprocal, top, weights, totals, position):
    """Add the weighted codes of ideal converters to `totals`; `kind` is the float type to use."""
    half, reciprocal, zero, top = kind(half), kind(reciprocal), kind(0), kind(top)
    for j in range(len(current)):
        code = (kind(current[j]) + half) * reciprocal
        code = code if code > zero else zero
        code = code if code < top else top
        totals[position, j] += np.int32(code) * weights[j]


@pasted
def _look_up(current, bent, weights, totals, position):
    """Add the weighted codes of nonlinear converters to `totals`."""
    table, starts, origin, shift, highest = bent
    for j in range(len(current)):
        entry = (current[j] >> shift) - origin
        entry = entry if entry > 0 else 0
        entry = entry if entry < highest else highest
        totals[position, j] += table[starts[j] + entry] * weights[j]


@compiled
def _read_serial(
    patterns, bases, sources, table, lines, half, reciprocal, top, weights, bent,
    chosen, sums, totals,
):  # fmt: skip
    """Add to `totals` (positions, columns) the weighted codes of one tile and bit plane."""
    columns = len(sums)
    for position in range(len(bases)):
        base = bases[position]
        count = _choose(patterns, base, sources, lines * columns, columns, chosen)
        if bent is not None:
            add_lines(table, chosen, count, sums)  # type: ignore[call-arg]
            _look_up(sums, bent, weights, totals, position)
        elif count:  # no current gives code 0
            add_lines(table, chosen, count, sums)  # type: ignore[call-arg]
            # Sums stay below 2^24, so float32 is exact.
            _convert(sums, np.float32, half, reciprocal, top, weights, totals, position)


@compiled
def _read_multibit(
    patterns, bases, sources, table, lines, half, reciprocal, top, weights, bent,
    chosen, sums, totals,
):  # fmt: skip
    """The same for drivers of several bits: patterns (drive bits, F), converted together."""
    columns = len(sums)
    drive_planes, length = patterns.shape
    flat = patterns.reshape(-1)
    wide = np.empty(columns, np.int32)
    for position in range(len(bases)):
        active = False
        if bent is not None:
            wide[:] = 0
        for b in range(drive_planes):
            base = bases[position] + b * length
            count = _choose(flat, base, sources, lines * columns, columns, chosen)
            if count:
                add_lines(table, chosen, count, sums)  # type: ignore[call-arg]
                weight = np.int32(1 << b)
                if active:
                    for j in range(columns):
                        wide[j] += sums[j] * weight
                else:
                    for j in range(columns):
                        wide[j] = sums[j] * weight
                active = True
        if bent is not None:
            _look_up(wide, bent, weights, totals, position)
        elif active:
            _convert(wide, np.float64, half, reciprocal, top, weights, totals, position)


@compiled
def read_plain(
    patterns, bases, sources, tile_starts, tables, width, coefficients, dac_bits,
    half, reciprocal, code_max, curves, out,
):  # fmt: skip
    """Read every array for a block of images; noiseless, ideal drivers, no side columns.

    patterns (N, planes, drive bits, F) -> out (N, positions, blocks x width). This is the common
    case and the fast one: small enough for its variables to stay in registers. `curves` is None
    for ideal converters, which compiles their part away.
    """
    images, planes, drive_planes, _ = patterns.shape
    blocks, groups, lines, columns = tables.shape
    chosen = np.empty(groups, np.int64)
    sums = np.empty(columns, np.int32)
    weights = np.empty(columns, np.int32)
    totals = np.empty((len(bases), columns), np.int32)
    first_columns = np.arange(0, columns, width)
    for block in range(blocks):
        for n in range(images):
            totals[:] = 0
            for plane in range(planes):
                _weigh(coefficients, plane * dac_bits, width, weights)
                for tile in range(len(tile_starts) - 1):
                    first, last = tile_starts[tile], tile_starts[tile + 1]
                    used, table = sources[first:last], tables[block, first:last].reshape(-1)
                    bent = None
                    if curves is not None:
                        codes, starts, origin, shift, highest = curves
                        bent = (codes[tile], starts[block], origin, shift, highest)
                    if drive_planes == 1:
                        _read_serial(
                            patterns[n, plane, 0], bases, used, table, lines, half, reciprocal,
                            code_max, weights, bent, chosen, sums, totals,
                        )  # fmt: skip
                    else:
                        _read_multibit(
                            patterns[n, plane], bases, used, table, lines, half, reciprocal,
                            code_max, weights, bent, chosen, sums, totals,
                        )  # fmt: skip
            for position in range(len(bases)):
                result = out[n, position, block * width : (block + 1) * width]
                add_lines(totals[position], first_columns, len(first_columns), result)  # type: ignore[call-arg]


@compiled
def _weigh(coefficients, shift, width, weights):
    """Weight of each column's code in its output: its coefficient in this plane."""
    for k in range(len(coefficients)):
        weights[k * width : (k + 1) * width] = coefficients[k] << shift


@compiled
def read_arrays(
    patterns, bases, sources, tile_starts, tables, width, coefficients, dac_bits,
    half, reciprocal, code_max, curve_tables, curve_origin, curve_of_column, curve_shift,
    reference_table, offset, sense_table, sense_lsb, limits,
    codes, drive, lengths, cell_noise, adc_noise, quantiles, keys, outputs, out,
):  # fmt: skip
    """Read every array for a block of images; see `Layout` for the tables.

    patterns (N, planes, drive bits, F) -> out (N, positions, blocks x width).
    """
    images, planes, drive_planes, _ = patterns.shape
    blocks, groups, lines, columns = tables.shape
    per_output = columns // width
    tiles = len(tile_starts) - 1
    linear = curve_tables.shape[2] == 0
    noisy = cell_noise > 0 or adc_noise > 0
    has_reference = reference_table.shape[0] > 0
    has_sense = sense_table.shape[0] > 0
    chosen = np.empty(groups, np.int64)
    sums = np.empty(columns, np.int32)
    current = np.empty(columns, np.float64)
    weights = np.empty(columns, np.int32)
    total = np.empty((1, columns), np.int32)
    for block in range(blocks):
        for n in range(images):
            for position in range(len(bases)):
                base = bases[position]
                total[:] = 0
                reference_total = 0
                for plane in range(planes):
                    shift = plane * dac_bits
                    for tile in range(tiles):
                        first, last = tile_starts[tile], tile_starts[tile + 1]
                        reference = np.int64(0)
                        sense = 0
                        active = False
                        for b in range(drive_planes):
                            # Lines of the groups with an active row; the others add nothing.
                            seen = patterns[n, plane, b]
                            used = sources[first:last]
                            count = _choose(seen, base, used, lines * columns, columns, chosen)
                            if count == 0:
                                continue
                            if has_reference or has_sense:
                                for g in range(first, last):
                                    pattern = seen[base + sources[g]]
                                    if has_reference:
                                        reference += reference_table[g, pattern] << b
                                    if has_sense:
                                        sense += sense_table[g, pattern] << b
                            table = tables[block, first:last].reshape(-1)
                            add_lines(table, chosen, count, sums)  # type: ignore[call-arg]
                            if not active:
                                current[:] = 0.0
                            weight = float(1 << b)
                            for j in range(columns):
                                current[j] += weight * sums[j]
                            active = True
                        if not active:
                            if linear and not noisy:
                                continue  # no current gives code 0
                            current[:] = 0.0
                        top = code_max
                        if has_sense:
                            counted = (sense + sense_lsb // 2) // sense_lsb
                            top = limits[min(max(counted, 0), len(limits) - 1)]
                        if noisy:
                            squared = 0
                            for g in range(first, last):
                                for i in range(lengths[g]):
                                    digit = codes[n, base + np.int64(sources[g]) + i] >> shift
                                    squared += drive[plane, digit & (drive.shape[1] - 1)] ** 2
                            spread = np.sqrt(cell_noise**2 * squared + adc_noise**2)
                            read = (position * planes + plane) * tiles + tile
                            counter = read * (per_output * outputs + 1)
                            for k in range(per_output):
                                for m in range(min(width, outputs - block * width)):
                                    column = counter + k * outputs + block * width + m
                                    draw = normal(keys[n], np.uint64(column), quantiles)
                                    current[k * width + m] += np.rint(spread * draw)
                            if has_reference:
                                column = counter + per_output * outputs
                                draw = normal(keys[n], np.uint64(column), quantiles)
                                reference += np.int64(np.rint(spread * draw))
                        _weigh(coefficients, shift, width, weights)
                        if linear:
                            _convert(current, np.float64, half, reciprocal, top, weights, total, 0)
                            if has_reference:
                                scaled = min(max((reference + half) * reciprocal, 0.0), float(top))
                                reference_total += np.int64(scaled) << shift
                        else:
                            highest = curve_tables.shape[2] - 1
                            table = curve_tables[tile].reshape(-1)
                            for j in range(columns):
                                entry = (np.int64(current[j]) >> curve_shift) - curve_origin
                                entry = min(max(entry, 0), highest)
                                code = table[curve_of_column[block, j] + entry]
                                total[0, j] += code * weights[j]
                            if has_reference:
                                entry = (reference >> curve_shift) - curve_origin
                                entry = min(max(entry, 0), highest)
                                reference_total += table[entry] << shift
                result = out[n, position, block * width : (block + 1) * width]
                result[:] = -offset * reference_total
                for k in range(per_output):
                    for m in range(width):
                        result[m] += total[0, k * width + m]


@compiled
def pool_and_quantize(products, breadth, pool, gain, offset, most, pad_y, pad_x, stride, out):
    """`nvlib.network.requantize` on (N, positions, outputs), into padded flat codes (N, F)."""
    images, positions, _ = products.shape
    outputs = len(offset)
    height, width = positions // breadth // pool, breadth // pool
    plane = (height + 2 * pad_y) * stride
    best = np.empty(products.shape[2], np.int32)
    for n in range(images):
        for y in range(height):
            for x in range(width):
                best[:] = products[n, y * pool * breadth + x * pool]
                for dy in range(pool):
                    for dx in range(pool):
                        line = products[n, (y * pool + dy) * breadth + x * pool + dx]
                        for m in range(len(best)):
                            best[m] = max(best[m], line[m])
                place = (y + pad_y) * stride + x + pad_x
                for m in range(outputs):
                    value = best[m] * gain + offset[m]
                    value = value if value > 0 else 0.0
                    value = value if value < most else most
                    out[n, m * plane + place] = np.uint8(np.rint(value))
