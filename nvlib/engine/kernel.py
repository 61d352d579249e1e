"""The hot read: input codes of one layer to its products, array read by array read."""

from __future__ import annotations

import numpy as np

from nvlib.arrays import LayerArrays
from nvlib.engine.compiled import (
    OUTPUT_LANES,
    add_reads,
    add_slices,
    compiled,
    convert,
    look_up,
    most_reads,
    pasted,
    word_at,
)
from nvlib.engine.layout import lay_out
from nvlib.engine.noise import hash64, normal

WORTH_CHOOSING = 64  # columns: adding fewer takes no longer than finding out which rows are driven


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
        self.output_sides = spec.output_sides(*sides)
        self.products_per_image = spec.outputs * int(np.prod(self.output_sides))

    def __call__(self, codes: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Products (N, outputs[, H, W]) of codes (N, inputs[, H, W]), in LSB."""
        spec = self.arrays.layer.spec
        self.arrays.require_codes(codes, keys)
        found = self.read(self.pad(codes), keys)[:, :, : spec.outputs].transpose(0, 2, 1)
        return found.reshape(len(codes), spec.outputs, *self.output_sides).astype(np.int64)

    def pad(self, codes: np.ndarray) -> np.ndarray:
        """Codes (N, inputs[, H, W]) with zero padding and slack, flat: (N, F)."""
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
        arrays, (images, length) = self.arrays, padded.shape
        layout, variances = self.tables.layout, self.tables.variances
        blocks, _, _, columns = layout.tables.shape
        shape, kind = (images, arrays.planes, length), self.tables.converter.half.dtype
        widest, summed = kind, np.dtype(np.float64)
        if variances is not None:
            summed = np.result_type(variances, np.float32)
            widest = np.promote_types(kind, summed)
        if arrays.serial:
            inputs = np.empty(shape, np.uint8)
            pattern_bytes(padded, layout.group, inputs)
        else:
            inputs = np.empty(shape, kind)
            drives(padded, arrays.mapping.dac_bits, arrays.drive, inputs)
        bitwise = arrays.serial or not arrays.noisy
        terms = inputs if bitwise else inputs.astype(summed) ** 2  # of the variance
        most = most_reads(columns, widest)
        if arrays.serial and layout.tables.shape[2] == 1:  # no line of zeros for an idle row
            most = 1
        currents = np.empty(most * columns, kind)
        sums = None if variances is None else np.empty(most * columns, summed)
        filled = -(-layout.width // OUTPUT_LANES) * OUTPUT_LANES
        out = np.empty((images, len(layout.bases), blocks, filled), np.int32)
        read_arrays(inputs, keys, *self.tables, terms, most, currents, sums, out)
        if blocks == 1:  # what lies beyond the outputs harms none
            return out[:, :, 0]
        return out[..., : layout.width].reshape(*out.shape[:2], -1)


@compiled
def pattern_bytes(codes, group, out):
    """Bit patterns of `group` neighbours: codes (N, F) -> out (N, planes, F).

    Eight codes are handled at a time, as the bytes of a 64-bit word; F is a multiple of 8.
    """
    images, planes, length = out.shape
    ones, last = np.uint64(0x0101010101010101), length // 8 - 1
    bits = np.empty(last + 1, np.uint64)
    for n in range(images):
        eight = codes[n].view(np.uint64)
        for plane in range(planes):
            line = out[n, plane].view(np.uint64)
            for w in range(last + 1):
                line[w] = bits[w] = (eight[w] >> np.uint64(plane)) & ones
            for i in range(1, group):  # neighbour i moves to this byte, and to bit i
                byte, place = np.uint64(8 * i), np.uint64(i)
                for w in range(last):
                    moved = (bits[w] >> byte) | (bits[w + 1] << (np.uint64(64) - byte))
                    line[w] |= moved << place
            line[last] = 0


@compiled
def drives(codes, dac_bits, drive, out):
    """Steps that each code drives its row with: codes (N, F), drive (planes, 2^d) -> out."""
    images, planes, length = out.shape
    mask = drive.shape[1] - 1
    for n in range(images):
        for plane in range(planes):
            for f in range(length):
                out[n, plane, f] = drive[plane, (codes[n, f] >> (plane * dac_bits)) & mask]


@pasted
def _choose(flat, place, sources, first, last, mask, chosen):
    """Groups with an active row in any of the reads side by side, and how many there are.

    And eight bytes of which those of reads with an active row are not zero.
    """
    count, active = np.uint64(0), np.uint64(0)  # unsigned indices spare the check for negative ones
    for g in range(first, last):
        word = word_at(flat, place + sources[g]) & mask  # type: ignore[call-arg]
        chosen[count] = g
        count += np.uint64(word != 0)
        active |= word
    return np.int64(count), active


@compiled
def _choose_apart(flat, place, stride, count, sources, first, last, chosen):
    """The same of reads whose inputs lie `stride` apart, or are drives."""
    number, active = np.uint64(0), np.uint64(0)
    for g in range(first, last):
        word, start = np.uint64(0), place + sources[g]
        for i in range(count):
            word |= np.uint64(flat[start + i * stride] != 0) << np.uint64(8 * i)
        chosen[number] = g
        number += np.uint64(word != 0)
        active |= word
    return np.int64(number), active


@compiled
def read_arrays(
    inputs, keys, layout, converter, curves, noise, variances, extra, limits, terms, most,
    currents, sums, out,
):  # fmt: skip
    """Read every array for a block of images; see `nvlib.engine.layout` for the tables.

    inputs (N, planes, F), patterns or drives, and keys (N,) -> out (N, positions, blocks, width):
    products. Up to `most` reads that stand side by side in a row are taken together: neighbouring
    positions, or images where there is one position. Variances are sums of `terms` (N, planes, F),
    the patterns or the squares of the drives. What is None is compiled away: `curves` for ideal
    converters, `noise` for none, `variances` where cells fluctuate alike, `limits` without a sense
    column.
    """
    _, _, blocks, width = out.shape
    images, planes, length = inputs.shape
    tiles, positions = len(layout.tile_starts) - 1, len(layout.bases)
    columns = layout.tables.shape[3]
    # Members of tuples are taken out of the loops: each look at one counts its references.
    bases, sources, lines = layout.bases, layout.sources, layout.lines
    slices, coefficients, dac_bits = layout.slices, layout.coefficients, layout.dac_bits
    reference, beside = extra.reference, extra.beside
    breadth, stride = layout.breadth, layout.stride
    if positions == 1:
        breadth, stride = images, planes * length
    parts = -(-breadth // most)
    flat, terms, products = inputs.reshape(-1), terms.reshape(-1), out.reshape(-1)
    chosen, entries = np.empty(len(sources), np.uint64), np.zeros(columns, np.uint32)
    spreads, used = np.empty(columns, np.float32), np.uint64(extra.used)
    zero = np.float32(0)
    if curves is not None:
        scale, origin, highest = curves.scale, curves.origin, curves.highest
    sense, driven, sense_lsb = extra.sense, extra.driven, extra.sense_lsb
    if noise is not None:
        cell, own = noise.cell**2, np.full(columns, noise.adc**2)  # variances
        if sense >= 0:
            own[sense] = noise.sense**2
    totals = np.empty(most * columns + width, np.int32)  # sums of a slice look into what follows
    for block in range(blocks):
        table = layout.tables[block].reshape(-1)
        if variances is not None:
            weights_of_variance = variances[block].reshape(-1)
        if noise is not None:
            numbers = noise.columns[block]
        if curves is not None:
            starts = curves.starts[block]
        for tile in range(tiles):
            first, last = layout.tile_starts[tile], layout.tile_starts[tile + 1]
            silent = extra.silent[tile]
            if curves is not None:
                codes = curves.codes[tile]
            for row in range(0, images * positions, breadth):
                for part in range(parts):  # of nearly one size
                    read, end = row + breadth * part // parts, row + breadth * (part + 1) // parts
                    count, image = end - read, read // positions
                    side_by_side = layout.serial and (stride == 1 or count == 1)
                    mask = ~np.uint64(0) >> np.uint64(64 - 8 * count)
                    totals[:] = 0
                    for plane in range(planes):
                        place = (image * planes + plane) * length + bases[read % positions]
                        shift = plane * dac_bits
                        if side_by_side:
                            number, active = _choose(
                                flat, place, sources, first, last, mask, chosen
                            )
                        elif columns >= WORTH_CHOOSING:
                            number, active = _choose_apart(
                                flat, place, stride, count, sources, first, last, chosen
                            )
                        else:
                            number, active = last - first, ~np.uint64(0)
                            for g in range(number):
                                chosen[g] = first + g
                        if number == 0 and silent:
                            continue
                        if curves is None and noise is None and limits is None:
                            add_reads(
                                table, chosen, number, sources, lines, flat, place, stride, count,
                                columns, converter, shift, totals,
                            )  # type: ignore[call-arg]  # fmt: skip
                            continue
                        add_reads(
                            table, chosen, number, sources, lines, flat, place, stride, count,
                            columns, None, shift, currents,
                        )  # type: ignore[call-arg]  # fmt: skip
                        if variances is not None:
                            add_reads(
                                weights_of_variance, chosen, number, sources, lines, terms, place,
                                stride, count, columns, None, shift, sums,
                            )  # type: ignore[call-arg]  # fmt: skip
                        for i in range(count):
                            if silent and (active >> np.uint64(8 * i)) & np.uint64(255) == 0:
                                continue  # no current flows, and all codes are 0
                            start, top = np.uint64(i * columns), converter.top
                            if noise is not None:
                                n, position = image, read - image * positions + i
                                if positions == 1:
                                    n, position = image + i, 0
                                counter = (position * planes + plane) * tiles + tile
                                bits = hash64(keys[n], np.uint64(counter))
                                low, high = np.uint32(bits), np.uint32(bits >> np.uint64(32))
                                if variances is None:
                                    squared = 0.0
                                    if driven >= 0:
                                        squared = np.float64(currents[start + np.uint64(driven)])
                                    else:
                                        for g in range(first, last):
                                            squared += terms[place + i * stride + sources[g]]
                                    spreads[:] = np.sqrt(cell * squared + own[0])
                                    if sense >= 0:
                                        spreads[sense] = np.sqrt(cell * squared + own[sense])
                                else:
                                    for j in range(used):
                                        squared = cell * sums[start + j] + own[j]
                                        spreads[j] = np.sqrt(squared)
                                for j in range(used):
                                    draw = normal(low, high, numbers[j])
                                    currents[start + j] += np.rint(spreads[j] * draw)
                            if limits is not None:
                                sensed = (
                                    np.int64(currents[start + np.uint64(sense)]) + sense_lsb // 2
                                )
                                top = limits[min(max(sensed // sense_lsb, 0), len(limits) - 1)]
                            if curves is None:
                                convert(
                                    currents, i * columns, columns, converter, top, shift, totals
                                )  # type: ignore[call-arg]
                                continue
                            for j in range(used):
                                entry = np.floor(currents[start + j] * scale) - origin
                                entry = entry if entry > zero else zero
                                entry = entry if entry < highest else highest
                                entries[j] = np.int32(entry) + starts[j]
                            look_up(codes, entries, columns, shift, totals, i * columns)  # type: ignore[call-arg]
                    add_slices(
                        totals, count, columns, slices, coefficients, reference, beside, products,
                        (read * blocks + block) * width, blocks * width, width, tile > 0,
                    )  # type: ignore[call-arg]  # fmt: skip


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
    best = np.empty((width, products.shape[2]), np.int32)
    for n in range(images):
        for y in range(height):
            for x in range(width):
                best[x] = products[n, y * pool * breadth + x * pool]
                for dy in range(pool):
                    for dx in range(pool):
                        line = products[n, (y * pool + dy) * breadth + x * pool + dx]
                        for m in range(len(line)):
                            best[x, m] = max(best[x, m], line[m])
            for m in range(outputs):
                place = m * plane + (y + pads[0]) * stride + pads[1]
                for x in range(width):  # side by side, so that divisions go several at a time
                    value = (best[x, m] * gain[m] + bias[m]) / scale
                    value = value if value > 0 else 0.0
                    value = value if value < most else most
                    out[n, place + x] = np.uint8(np.rint(value))
