"""How a chip reads its layers one after the other: compiled, or by the reference.

Both readers take padded input codes in a form of their own, give products,
and hand the next layer its codes. They agree to the last bit.
"""

from __future__ import annotations

import numpy as np

from nvlib import crossbar, reference
from nvlib.arrays import LayerArrays
from nvlib.network import requantization, requantize
from nvlib.noise import NORMAL_QUANTILES


class ReferenceReader:
    """Reads a layer with `nvlib.reference`; codes keep their natural shape."""

    def __init__(self, arrays: LayerArrays, height: int, breadth: int, device: str = "cpu") -> None:
        spec = arrays.layer.spec
        self.arrays = arrays
        self.device = device
        self.input_shape = (spec.inputs, height, breadth) if spec.kernel else (spec.inputs,)
        self.output_sides = spec.output_sides(height, breadth)

    def pad(self, codes: np.ndarray) -> np.ndarray:
        """Codes as they are."""
        return codes

    def unpad(self, codes: np.ndarray) -> np.ndarray:
        """Codes as they are."""
        return codes

    def read(self, codes: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Products of codes (N, ...): int64, (N, positions, outputs)."""
        return reference.read_layer(self.arrays, codes, keys, self.device)

    def hand_over(self, products: np.ndarray, following: ReferenceReader, most: int) -> np.ndarray:
        """Input codes of the following layer."""
        spec = self.arrays.layer.spec
        shaped = products.transpose(0, 2, 1)
        shape = (*shaped.shape[:2], *self.output_sides) if spec.kernel else shaped.shape[:2]
        layer, after = self.arrays.layer, following.arrays.layer
        return requantize(shaped.reshape(shape), layer, after, most, self.arrays.lsb)


class CompiledReader:
    """Reads a layer with the fast kernel; its tables are for inputs of one size."""

    def __init__(self, arrays: LayerArrays, height: int, breadth: int) -> None:
        spec = arrays.layer.spec
        self.arrays = arrays
        self.layout = crossbar.lay_out(arrays, height, breadth)
        self.input_shape = (spec.inputs, height, breadth) if spec.kernel else (spec.inputs,)
        self.output_sides = (self.layout.height, self.layout.breadth)
        self.padding = spec.padding if spec.kernel else ()
        self._half = arrays.lsb_steps // 2 + 0.5  # half a step more keeps exact ties exact
        self._coefficients = arrays.mapped.coefficients
        self._curves = None
        if arrays.curves is not None:
            tables = self.layout.curve_tables
            self._curves = (
                tables.reshape(len(tables), -1), self.layout.curve_of_column.astype(np.int32),
                np.int32(self.layout.curve_origin), np.int32(self.layout.curve_shift),
                np.int32(tables.shape[2] - 1),
            )  # fmt: skip
        self._plain = (
            not arrays.noisy
            and arrays.drive_bits == 0
            and arrays.reference is None
            and arrays.sense is None
        )

    @property
    def padded_shape(self) -> tuple[int, ...]:
        """Channels, height and width with padding; features alone for a linear layer."""
        channels, *sides = self.input_shape
        return (channels, *(side + 2 * pad for side, pad in zip(sides, self.padding)))

    @property
    def padded_size(self) -> int:
        """Codes of one image, in whole 64-bit words, with slack that patterns may look into."""
        return (int(np.prod(self.padded_shape)) // 8 + 2) * 8

    def pad(self, codes: np.ndarray) -> np.ndarray:
        """Codes (N, ...) with zero padding and slack, flat: (N, F)."""
        flat = np.zeros((len(codes), self.padded_size), np.uint8)
        self._inside(flat)[...] = codes
        return flat

    def unpad(self, flat: np.ndarray) -> np.ndarray:
        """Inverse of `pad`."""
        return self._inside(flat)

    def _inside(self, flat: np.ndarray) -> np.ndarray:
        shape = self.padded_shape
        whole = flat[:, : int(np.prod(shape))].reshape(len(flat), *shape)
        inside = (slice(pad, side - pad) for side, pad in zip(shape[1:], self.padding))
        return whole[:, :, *inside]

    def read(self, padded: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Products of padded codes (N, F): int32, (N, positions, outputs and more)."""
        arrays, layout = self.arrays, self.layout
        images, length = padded.shape
        patterns = np.zeros((images, arrays.planes, layout.drive_planes, length), np.uint8)
        dac_bits = arrays.mapping.dac_bits
        crossbar.pattern_bytes(
            padded, dac_bits, arrays.drive, layout.drive_planes, layout.group, patterns
        )
        blocks = len(layout.tables)
        out = np.empty((images, len(layout.bases), blocks * layout.width), np.int32)
        if self._plain:
            crossbar.read_plain(
                patterns, layout.bases, layout.sources, layout.tile_starts, layout.tables,
                layout.width, self._coefficients, dac_bits, self._half, 1.0 / arrays.lsb_steps,
                arrays.code_max, self._curves, out,
            )  # fmt: skip
            return out
        no_limits = np.zeros(0, np.int64)
        crossbar.read_arrays(
            patterns, layout.bases, layout.sources, layout.tile_starts, layout.tables,
            layout.width, self._coefficients, dac_bits, self._half, 1.0 / arrays.lsb_steps,
            arrays.code_max, layout.curve_tables, layout.curve_origin, layout.curve_of_column,
            layout.curve_shift, layout.reference_table, arrays.mapped.offset, layout.sense_table,
            arrays.mapping.level_max << (arrays.grid_bits + arrays.drive_bits),
            no_limits if arrays.limits is None else arrays.limits,
            padded, arrays.drive, layout.lengths, arrays.cell_noise_steps, arrays.adc_noise_steps,
            NORMAL_QUANTILES, keys, arrays.layer.spec.outputs, out,
        )  # fmt: skip
        return out

    def hand_over(self, products: np.ndarray, following: CompiledReader, most: int) -> np.ndarray:
        """Padded input codes of the following layer: pool, scale, ReLU, quantize."""
        layer = self.arrays.layer
        gain, offset = requantization(layer, following.arrays.layer.input_scale)
        out = np.zeros((len(products), following.padded_size), np.uint8)
        shape = following.padded_shape
        stride = shape[-1] if len(shape) == 3 else self.layout.breadth // layer.spec.pool
        crossbar.pool_and_quantize(
            products, self.layout.breadth, layer.spec.pool, gain * self.arrays.lsb, offset,
            float(most), *(following.padding or (0, 0)), stride, out,
        )  # fmt: skip
        return out
