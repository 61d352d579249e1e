"""The slow, obvious crossbar, in plain loops over Python integers.

It shares nothing with `nvlib` but the frozen state of a layer (`LayerArrays`): no tables, no
vectors, no matrix product. One conversion at a time, one cell at a time.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

MASK = 2**64 - 1


def convert(arrays, current: int, tile: int, across: int, top: int) -> int:
    """Code of one column current: transition levels that it has reached, one by one."""
    if arrays.curves is None:
        levels = (k * arrays.lsb_steps - arrays.lsb_steps // 2 for k in range(1, top + 1))
    else:
        levels = (int(level) for level in arrays.curves[tile][across][:top])
    code = 0
    for level in levels:
        if current < level:
            break
        code += 1
    return code


def mixed(word: int) -> int:
    """A 32-bit hash of a 32-bit word."""
    word = ((word ^ (word >> 16)) * 0x7FEB352D) % 2**32
    word = ((word ^ (word >> 15)) * 0x846CA68B) % 2**32
    return word ^ (word >> 16)


def noise(arrays, key: int, read: int, column: int, squared: int, converter: float) -> int:
    """Noise of one conversion, in steps; `converter` is the part of the converter itself."""
    z = (key + read * 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    z ^= z >> 31
    step = (column * 0x9E3779B9) % 2**32
    words = mixed((z % 2**32 + step) % 2**32), mixed(z // 2**32 ^ step)
    uniform = sum(word % 2**16 + word // 2**16 for word in words)
    x = np.float32(uniform - 131070) / np.float32(2**16)
    stretch = np.float32(0.005338)
    for coefficient in (-0.016923, 0.027934, 0.04817, 1.666835):
        stretch = np.float32(coefficient) + x * x * stretch
    spread = np.float32(np.sqrt(arrays.cell_noise_steps**2 * squared + converter**2))
    return round(float(spread * (x * stretch)))


def read_position(arrays, inputs, key=0, position=0, events=None):
    """Products of one output position: `inputs` are its K codes.

    `events`, a Counter, is filled with what happened: ("access", tile, plane, digit sum) and
    ("squared", row).
    """
    rows, per_output, outputs = arrays.conductance.shape
    mapping, planes = arrays.mapping, arrays.planes
    size = mapping.rows
    tiles = -(-rows // size)
    products = [0] * outputs
    for plane in range(planes):
        digits = [
            (int(code) // (mapping.digit_max + 1) ** plane) % (mapping.digit_max + 1)
            for code in inputs
        ]
        steps = [int(arrays.drive[plane][digit]) for digit in digits]
        for tile in range(tiles):
            here = range(tile * size, min((tile + 1) * size, rows))
            read = (position * planes + plane) * tiles + tile
            columns, adc = per_output * outputs, arrays.adc_noise_steps

            def current_of(cells, column, converter=adc, *, at=(steps, here, read)):
                steps, here, read = at
                current = sum(steps[i] * int(cells[i]) for i in here)
                if arrays.noisy:
                    weights = arrays.noise_weights
                    squared = sum(
                        steps[i] ** 2 * (1 if weights is None else int(weights[i, column]))
                        for i in here
                    )
                    current += noise(arrays, key, read, column, squared, converter)
                return current

            if events is not None:
                events["access", tile, plane, sum(digits[i] for i in here)] += 1
                for i in here:
                    events["squared", i] += digits[i] ** 2
            top = arrays.code_max
            if arrays.sense is not None:
                lsb = mapping.level_max << (arrays.grid_bits + arrays.drive_bits)
                own = arrays.adc_noise_steps / arrays.lsb_steps * lsb  # as many of its own LSB
                place = columns + (arrays.reference is not None)
                current = current_of(arrays.sense, place, own)
                counted = min(max((current + lsb // 2) // lsb, 0), len(arrays.limits) - 1)
                top = int(arrays.limits[counted])
            weight = (mapping.digit_max + 1) ** plane
            for k in range(per_output):
                for m in range(outputs):
                    current = current_of(arrays.conductance[:, k, m], k * outputs + m)
                    code = convert(arrays, current, tile, int(arrays.column_tile[k, m]), top)
                    products[m] += int(arrays.code_weights[k]) * code * weight
            if arrays.reference is not None:
                code = convert(arrays, current_of(arrays.reference, columns), tile, 0, top)
                for m in range(outputs):
                    products[m] -= arrays.mapped.offset * code * weight
    return products


def patch(codes, spec, y, x):
    """The K input codes of output position (y, x), pixel by pixel."""
    if not spec.kernel:
        return list(codes)
    height, width = codes.shape[1:]
    values = []
    for channel in range(spec.inputs):
        for dy in range(spec.kernel[0]):
            for dx in range(spec.kernel[1]):
                row = y * spec.stride[0] + dy * spec.dilation[0] - spec.padding[0]
                column = x * spec.stride[1] + dx * spec.dilation[1] - spec.padding[1]
                inside = 0 <= row < height and 0 <= column < width
                values.append(int(codes[channel, row, column]) if inside else 0)
    return values


def integer_product(matrix, inputs):
    """Sum of weight code times input code for each output."""
    return [
        sum(int(q) * int(x) for q, x in zip(column, inputs, strict=True)) for column in matrix.T
    ]


def count_resolved(arrays, events: Counter, adc_bits: int, rows=True, columns=True, zero=True):
    """Conversions by (plane, column of an output, resolved bits), one at a time."""
    counts: Counter = Counter()
    levels, mapping = arrays.mapped.levels, arrays.mapping
    _, per_output, outputs = levels.shape
    for event, times in events.items():
        if event[0] != "access":
            continue
        _, tile, plane, digits = event
        here = slice(tile * mapping.rows, (tile + 1) * mapping.rows)
        kinds = [(k, levels[here, k, m], int(arrays.scales[k]))
                 for k in range(per_output) for m in range(outputs)]  # fmt: skip
        if arrays.reference is not None:  # a column of level 1 in each array across
            across = int(arrays.column_tile.max()) + 1
            kinds += [(per_output, np.ones(len(levels[here])), 1)] * across
        for k, column, scale in kinds:
            bound = mapping.rows * mapping.level_max * mapping.digit_max
            if zero and digits == 0:
                bound = 0
            if rows:
                bound = min(bound, digits * mapping.level_max)
            if columns:
                bound = min(bound, int(column.sum()) * mapping.digit_max)
            lsb = arrays.lsb * scale
            code = min(int(bound / lsb + 0.5), 2**adc_bits - 1)
            needed = 0
            while 2**needed - 1 < code:
                needed += 1
            bounded = rows or columns or (zero and digits == 0)
            counts[plane, k, needed if bounded else adc_bits] += times
    return counts
