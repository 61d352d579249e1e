"""The hot read: input codes of one layer to its products, array read by array read."""

from __future__ import annotations

import numpy as np

from nvlib.arrays import LayerArrays
from nvlib.compiled import LANES, add_lines, aligned, compiled, pasted
from nvlib.layout import lay_out
from nvlib.noise import hash64, normal


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
        arrays = self.arrays
        layout, converter, curves, noise, variances, extra, group = self.tables
        blocks, groups, _, columns = layout.tables.shape
        shape, kind = (images, arrays.planes, length), converter.half.dtype
        factors = squares = None
        if arrays.serial:
            inputs = np.empty(shape, np.uint8)
            pattern_bytes(padded, group, inputs)
        else:
            inputs, factors = np.empty(shape, kind), np.empty(groups, kind)
            squares = np.empty(groups)
            drives(padded, arrays.mapping.dac_bits, arrays.drive, inputs)
        current = aligned((columns,), kind)
        filled = -(-layout.width // LANES) * LANES
        out = np.empty((images, len(layout.bases), blocks, filled), np.int32)
        read_arrays(
            inputs, keys, layout, converter, curves, noise, variances, extra, factors, squares,
            current, out,
        )  # fmt: skip
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
def _choose_groups(patterns, base, sources, lines, first, last, columns, chosen):
    """Offsets of the table lines of the groups with an active row; how many there are."""
    count = np.uint64(0)  # unsigned indices spare the check for negative ones
    for g in range(np.uint64(first), np.uint64(last)):
        pattern = np.int64(patterns[sources[g] + np.uint64(base)])
        chosen[count] = lines[g] + pattern * columns
        count += np.uint64(pattern != 0)
    return np.int64(count)


@pasted
def _choose_rows(drives, base, sources, first, last, columns, chosen, factors):
    """Offsets of the lines of the driven rows, and their drives; how many there are."""
    count = np.uint64(0)
    offset = first * columns
    for g in range(np.uint64(first), np.uint64(last)):
        drive = drives[sources[g] + np.uint64(base)]
        chosen[count] = offset
        factors[count] = drive
        count += np.uint64(drive != 0)
        offset += columns
    return np.int64(count)


@pasted
def _convert(current, half, reciprocal, top, weights, plane, totals, position):
    """Add the weighted codes of ideal converters to `totals`, a whole vector at a time."""
    zero = np.float32(0)
    for j in range(len(current)):
        code = (current[j] + half) * reciprocal
        code = code if code > zero else zero
        code = code if code < top else top
        totals[position, j] += np.int32(code) * weights[plane, j]


@pasted
def _look_up(current, codes, starts, curves, weights, plane, entries, totals, position):
    """Add the weighted codes of nonlinear converters to `totals`."""
    zero = np.float32(0)
    scale, origin, highest = curves.scale, curves.origin, curves.highest
    for j in range(len(current)):
        entry = np.floor(current[j] * scale) - origin
        entry = entry if entry > zero else zero
        entry = entry if entry < highest else highest
        entries[j] = np.int32(entry) + starts[j]
    for j in range(len(current)):
        totals[position, j] += np.int32(codes[entries[j]]) * weights[plane, j]


@pasted
def _add_noise(current, spread, low, high, columns):
    """Add whole steps of normal noise, of standard deviation `spread`, to each current."""
    for j in range(len(current)):
        current[j] += np.rint(spread * normal(low, high, columns[j]))


@compiled
def _read_tile(
    inputs, key, block, tile, layout, converter, curves, noise, variances, extra, factors, squares,
    chosen, current, spreads, entries, totals,
):  # fmt: skip
    """Add the weighted codes of one tile for one image to totals (positions, columns).

    Called, not pasted: within the loops around it, its variables would not stay in registers.
    """
    planes, length = inputs.shape
    columns = len(current)
    tiles, positions = len(layout.tile_starts) - 1, len(layout.bases)
    # Members of tuples are taken out of the loops: each look at one counts its references.
    bases, sources, lines, weights = layout.bases, layout.sources, layout.lines, layout.weights
    half, reciprocal, highest_code = converter.half, converter.reciprocal, converter.top
    sense, driven = extra.sense, extra.driven
    limits, sense_lsb = extra.limits, extra.sense_lsb
    first, last = layout.tile_starts[tile], layout.tile_starts[tile + 1]
    silent = extra.silent[tile]
    if curves is not None:
        codes, starts = curves.codes[tile], curves.starts[block]
    if noise is not None:
        cell_variance, adc_variance = noise.cell**2, noise.adc**2
        sense_variance = noise.sense**2
        numbers = noise.columns[block]
    if variances is not None:
        weights_of_variance = variances[block].reshape(-1)
    flat, table = inputs.reshape(-1), layout.tables[block].reshape(-1)
    for plane in range(planes):
        for position in range(positions):
            base = plane * length + bases[position]
            if factors is None:
                count = _choose_groups(flat, base, sources, lines, first, last, columns, chosen)
            else:
                count = _choose_rows(flat, base, sources, first, last, columns, chosen, factors)
            if count == 0 and silent:
                continue
            add_lines(table, chosen, factors, count, current)  # type: ignore[call-arg]
            if noise is not None:
                read = (position * planes + plane) * tiles + tile
                bits = hash64(key, np.uint64(read))
                low, high = np.uint32(bits), np.uint32(bits >> np.uint64(32))
            if variances is not None:
                if factors is not None:
                    for i in range(count):
                        squares[i] = np.float64(factors[i]) ** 2
                add_lines(weights_of_variance, chosen, squares, count, spreads)  # type: ignore[call-arg]
                for j in range(columns):
                    own = sense_variance if j == sense else adc_variance
                    spread = np.float32(np.sqrt(cell_variance * spreads[j] + own))
                    current[j] += np.rint(spread * normal(low, high, numbers[j]))
            elif noise is not None:
                squared = np.float64(0)
                if factors is None:
                    squared = np.float64(current[driven])
                else:
                    for i in range(count):
                        squared += np.float64(factors[i]) ** 2
                variance = cell_variance * squared
                if sense >= 0:
                    sensed = current[sense]
                    spread = np.float32(np.sqrt(variance + sense_variance))
                    sensed += np.rint(spread * normal(low, high, numbers[sense]))
                spread = np.float32(np.sqrt(variance + adc_variance))
                _add_noise(current, spread, low, high, numbers)
                if sense >= 0:
                    current[sense] = sensed
            top = highest_code
            if sense >= 0:
                counted = (np.int64(current[sense]) + sense_lsb // 2) // sense_lsb
                top = limits[min(max(counted, 0), len(limits) - 1)]
            if curves is None:
                _convert(current, half, reciprocal, top, weights, plane, totals, position)
            else:
                _look_up(
                    current, codes, starts, curves, weights, plane, entries, totals,
                    position,
                )  # fmt: skip


@compiled
def read_arrays(
    inputs, keys, layout, converter, curves, noise, variances, extra, factors, squares, current, out
):  # fmt: skip
    """Read every array for a block of images; see `nvlib.layout` for the tables.

    inputs (N, planes, F), patterns or drives, and keys (N,) -> out (N, positions, blocks, width):
    products. What is None is compiled away: `curves` for ideal converters,
    `noise` for none, `variances` where cells fluctuate alike, `factors` and `squares` (groups,)
    where inputs enter bit by bit.
    """
    _, positions, blocks, width = out.shape
    columns, groups, reference = len(current), len(layout.sources), extra.reference
    totals, sums = np.empty((positions, columns), np.int32), np.empty(width, np.int32)
    entries, chosen = np.empty(columns, np.uint32), np.empty(groups, np.int64)
    spreads = np.empty(columns)
    slices = layout.slices
    for block in range(blocks):
        for tile in range(len(layout.tile_starts) - 1):
            for n in range(len(inputs)):
                totals[:] = 0
                _read_tile(
                    inputs[n], keys[n], block, tile, layout, converter, curves, noise, variances,
                    extra, factors, squares, chosen, current, spreads, entries, totals,
                )  # fmt: skip
                for position in range(positions):
                    add_lines(totals[position], slices, None, len(slices), sums)  # type: ignore[call-arg]
                    beside = totals[position, reference] if reference >= 0 else 0
                    if tile > 0:
                        for m in range(width):
                            out[n, position, block, m] += sums[m] + beside
                    else:
                        for m in range(width):
                            out[n, position, block, m] = sums[m] + beside


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
