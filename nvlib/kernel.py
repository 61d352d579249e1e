"""The hot read: input codes of one layer to its products, array read by array read."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nvlib.arrays import LayerArrays
from nvlib.compiled import add_lines, compiled, pasted
from nvlib.layout import lay_out
from nvlib.noise import normal


class Scratch(NamedTuple):
    """Room for one thread, made once per block of images."""

    chosen: np.ndarray  # int64 (groups,): offsets of the table lines that are added
    sums: np.ndarray  # int32 (columns,): column currents of one drive bit
    current: np.ndarray  # int (columns,): of all drive bits; `sums` itself where there is one
    weights: np.ndarray  # int32 (columns,): weight of each column's code in its output
    totals: np.ndarray  # int32 (positions, columns)
    reference: np.ndarray  # int64 (positions,): codes of the reference column, weighted


class CompiledReader:
    """Reads the arrays of one layer with compiled code.

    Parameters
    ----------
    arrays : LayerArrays
    """

    def __init__(self, arrays: LayerArrays) -> None:
        spec = arrays.layer.spec
        self.arrays = arrays
        self.tables = lay_out(arrays)
        self.padding = spec.padding if spec.kernel else ()
        channels, *sides = arrays.layer.input_shape
        self.padded_shape = (channels, *(s + 2 * p for s, p in zip(sides, self.padding)))
        #: Codes of one image, in whole 64-bit words, with slack that patterns may look into.
        self.padded_size = (int(np.prod(self.padded_shape)) // 8 + 2) * 8
        self.output_sides = spec.output_sides(*sides) if spec.kernel else ()
        self._drive_planes = int(arrays.drive.max()).bit_length()

    def __call__(self, codes: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Products (N, outputs[, H, W]) of codes (N, inputs[, H, W]), in LSB."""
        spec = self.arrays.layer.spec
        found = self.read(self.pad(codes), keys)[:, :, : spec.outputs].transpose(0, 2, 1)
        return found.reshape(len(codes), spec.outputs, *self.output_sides).astype(np.int64)

    def pad(self, codes: np.ndarray) -> np.ndarray:
        """Codes (N, inputs[, H, W]) with zero padding and slack, flat: (N, F)."""
        layer = self.arrays.layer
        if codes.dtype != np.uint8 or codes.shape[1:] != layer.input_shape:
            raise ValueError(
                f"{layer.spec.name}: expected uint8 codes of shape "
                f"(N, {', '.join(map(str, layer.input_shape))}), received {codes.dtype} of shape "
                f"{codes.shape}; quantize the layer's input first"
            )
        flat = np.zeros((len(codes), self.padded_size), np.uint8)
        self.inside(flat)[...] = codes
        return flat

    def inside(self, flat: np.ndarray) -> np.ndarray:
        """The codes (N, inputs[, H, W]) of padded ones, as a view."""
        shape = self.padded_shape
        whole = flat[:, : int(np.prod(shape))].reshape(len(flat), *shape)
        inside = (slice(pad, side - pad) for side, pad in zip(shape[1:], self.padding))
        return whole[:, :, *inside]

    def read(self, padded: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Products of padded codes (N, F): int32, (N, positions, outputs and more)."""
        images, length = padded.shape
        if length != self.padded_size or padded.dtype != np.uint8 or keys.shape != (images,):
            raise ValueError(
                f"{self.arrays.layer.spec.name}: expected uint8 codes of shape "
                f"(N, {self.padded_size}) and N keys, received {padded.dtype} {padded.shape} and "
                f"{keys.shape}; pad the codes, and make a key for each row"
            )
        layout, converter, curves, noise, side, group = self.tables
        patterns = np.zeros((images, self.arrays.planes, self._drive_planes, length), np.uint8)
        pattern_bytes(padded, layout.dac_bits, layout.drive, self._drive_planes, group, patterns)
        blocks, _, _, columns = layout.tables.shape
        # One drive bit needs no second sum; nonlinear drivers of many bits outgrow 32 bits.
        size = np.int64 if self.arrays.drive_bits else np.int32
        sums = np.empty(columns, np.int32)
        wide = np.empty(columns, size) if self._drive_planes > 1 else None
        current = sums if wide is None else wide
        out = np.empty((images, len(layout.bases), blocks * layout.width), np.int32)
        read_arrays(
            patterns, padded, keys, layout, converter, curves, noise, side, wide, sums, current, out
        )
        return out


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
def _look_up(current, codes, starts, origin, shift, highest, weights, totals, position):
    """Add the weighted codes of nonlinear converters to `totals`."""
    for j in range(len(current)):
        entry = (current[j] >> shift) - origin
        entry = entry if entry > 0 else 0
        entry = entry if entry < highest else highest
        totals[position, j] += codes[starts[j] + entry] * weights[j]


@compiled
def _side_current(patterns, base, sources, table):
    """Current of one extra column: patterns (drive bits, F), table (groups, 2^group)."""
    total = 0
    for b in range(len(patterns)):
        for g in range(len(sources)):
            total += table[g, patterns[b, sources[g] + np.uint64(base)]] << b
    return total


@compiled
def _squared_drive(codes, base, sources, lengths, drive, shift):
    """Sum of the squared drives of a tile's rows."""
    total = 0
    for g in range(len(sources)):
        for i in range(lengths[g]):
            digit = codes[sources[g] + np.uint64(base + i)] >> shift
            total += drive[digit & (len(drive) - 1)] ** 2
    return total


@compiled
def _read_tile(
    patterns, codes, key, place, layout, converter, curves, noise, side, wide, scratch
):  # fmt: skip
    """Add to the totals the weighted codes of one tile, in one plane, at every position.

    patterns (drive bits, F) and codes (F,) are those of one image; `place` is block, plane, tile.
    """
    block, plane, tile = place
    chosen, sums, current, weights, totals, reference_totals = scratch
    first, last = layout.tile_starts[tile], layout.tile_starts[tile + 1]
    # Members of tuples are taken out of the loop: each look at one counts its references.
    bases, sources = layout.bases, layout.sources[first:last]
    table = layout.tables[block, first:last].reshape(-1)
    columns, highest_code = len(sums), converter.top
    line_step = layout.tables.shape[2] * columns
    drive_planes, length = patterns.shape
    flat = patterns.reshape(-1)
    shift = plane * layout.dac_bits
    half, reciprocal = converter.half, converter.reciprocal
    sense_lsb, limits = side.sense_lsb, side.limits
    reference_table, sense_table = side.reference[first:last], side.sense[first:last]
    has_reference, has_sense = len(reference_table) > 0, len(sense_table) > 0
    silent = True  # no current gives code 0
    if curves is not None:
        silent = curves.silent[tile]
        curve, starts = curves.codes[tile], curves.starts[block]
        origin, curve_shift, highest = curves.origin, curves.shift, curves.highest
    if noise is not None:
        silent = silent and noise.adc == 0
        tiles, planes = len(layout.tile_starts) - 1, len(layout.drive)
        counters, quantiles, per_read = noise.counters[block], noise.quantiles, noise.per_read
        cell, adc, squares = noise.cell, noise.adc, noise.squares[first:last]
        lengths, drive = layout.lengths[first:last], layout.drive[plane]
    for position in range(len(bases)):
        base = bases[position]
        if wide is None:
            count = _choose(flat, base, sources, line_step, columns, chosen)
            active = count > 0
            if active:
                add_lines(table, chosen, count, sums)  # type: ignore[call-arg]
        else:
            active = False
            for b in range(drive_planes):
                count = _choose(flat, base + b * length, sources, line_step, columns, chosen)
                if count:
                    add_lines(table, chosen, count, sums)  # type: ignore[call-arg]
                    weight = np.int32(1 << b)
                    if active:
                        for j in range(columns):
                            current[j] += sums[j] * weight
                    else:
                        for j in range(columns):
                            current[j] = sums[j] * weight
                    active = True
        if not active:
            if silent:
                continue
            current[:] = 0
        top = highest_code
        if has_sense:
            sensed = _side_current(patterns, base, sources, sense_table)
            count = (sensed + sense_lsb // 2) // sense_lsb
            top = limits[min(max(count, 0), len(limits) - 1)]
        reference = np.int64(0)
        if has_reference:
            reference = _side_current(patterns, base, sources, reference_table)
        if noise is not None:
            if len(squares):
                squared = _side_current(patterns, base, sources, squares)
            else:
                squared = _squared_drive(codes, base, sources, lengths, drive, shift)
            spread = np.sqrt(cell**2 * squared + adc**2)
            counter = np.uint64(((position * planes + plane) * tiles + tile) * per_read)
            for j in range(columns):
                draw = normal(key, counter + counters[j], quantiles)
                current[j] += np.int64(np.rint(spread * draw))
            if has_reference:
                draw = normal(key, counter + np.uint64(per_read - 1), quantiles)
                reference += np.int64(np.rint(spread * draw))
        if curves is None:
            if has_reference:
                code = min(max((reference + half) * reciprocal, 0.0), float(top))
                reference_totals[position] += np.int64(code) << shift
            if wide is None:
                if noise is None:  # sums stay below 2^24, so float32 is exact
                    _convert(current, np.float32, half, reciprocal, top, weights, totals, position)
                else:
                    _convert(current, np.float64, half, reciprocal, top, weights, totals, position)
            else:
                _convert(current, np.float64, half, reciprocal, top, weights, totals, position)
        else:
            _look_up(current, curve, starts, origin, curve_shift, highest, weights, totals,
                     position)  # fmt: skip
            if has_reference:  # is read by the first array's converter
                entry = (reference >> curve_shift) - origin
                reference_totals[position] += curve[min(max(entry, 0), highest)] << shift


@compiled
def read_arrays(
    patterns, codes, keys, layout, converter, curves, noise, side, wide, sums, current, out
):  # fmt: skip
    """Read every array for a block of images; see `nvlib.layout` for the tables.

    patterns (N, planes, drive bits, F), codes (N, F), keys (N,) -> out (N, positions, blocks x
    width). What is None is compiled away: `curves` for ideal converters, `noise` for none, and
    `wide`, room for currents of several drive bits.
    """
    images, planes, _, _ = patterns.shape
    blocks, groups, _, columns = layout.tables.shape
    width, positions = layout.width, len(layout.bases)
    weights = np.empty(columns, np.int32)
    totals = np.empty((positions, columns), np.int32)
    reference = np.zeros(positions, np.int64)
    chosen = np.empty(groups, np.int64)
    scratch = Scratch(chosen, sums, current, weights, totals, reference)
    first_columns = np.arange(0, columns, width)
    for block in range(blocks):
        for n in range(images):
            totals[:] = 0
            reference[:] = 0
            for plane in range(planes):
                for k in range(len(layout.coefficients)):
                    weight = layout.coefficients[k] << (plane * layout.dac_bits)
                    weights[k * width : (k + 1) * width] = weight
                for tile in range(len(layout.tile_starts) - 1):
                    place = (block, plane, tile)
                    _read_tile(patterns[n, plane], codes[n], keys[n], place, layout, converter,
                               curves, noise, side, wide, scratch)  # fmt: skip
            for position in range(positions):
                result = out[n, position, block * width : (block + 1) * width]
                add_lines(totals[position], first_columns, len(first_columns), result)  # type: ignore[call-arg]
                if side.offset:
                    for m in range(width):
                        result[m] -= side.offset * reference[position]


@compiled
def pool_and_quantize(products, breadth, pool, gain, bias, scale, most, pads, stride, out):
    """Products (N, positions, outputs) to padded codes (N, F) of the following layer.

    Max-pooling, bias, ReLU and quantization, in the order of roundings of
    `QuantizedLayer.real` and `quantizers.to_codes`; the maximum may come first, for all that
    follows is monotone.
    """
    images, positions, _ = products.shape
    outputs = len(bias)
    height, width = positions // breadth // pool, breadth // pool
    plane = (height + 2 * pads[0]) * stride
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
                place = (y + pads[0]) * stride + x + pads[1]
                for m in range(outputs):
                    value = (best[m] * gain + bias[m]) / scale
                    value = value if value > 0 else 0.0
                    value = value if value < most else most
                    out[n, m * plane + place] = np.uint8(np.rint(value))
