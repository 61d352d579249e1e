"""The read of an array, line by line: what the fast kernel computes, to the same bits.

Slow and obvious, in torch, on any device. `nvlib.engine.kernel` is tested against it,
notebooks show it, and chips are read by it where Numba is absent.
"""

from __future__ import annotations

import numpy as np
import torch

from nvlib.arrays import LayerArrays
from nvlib.engine.noise import hash64, normal
from nvlib.events import unfold, walk


class ReferenceReader:
    """Reads the arrays of one layer with torch, on any device, to the same bits."""

    def __init__(self, arrays: LayerArrays, device: str = "cpu") -> None:
        self.arrays, self.device = arrays, device

    def __call__(self, codes: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Products (N, outputs[, H, W]) of codes (N, inputs[, H, W]), in LSB."""
        self.arrays.require_codes(codes, keys)
        products = read_layer(self.arrays, codes, keys, self.device).transpose(0, 2, 1)
        spec, (_, *sides) = self.arrays.layer.spec, self.arrays.layer.input_shape
        return products.reshape(len(codes), spec.outputs, *spec.output_sides(*sides))


def read_layer(
    arrays: LayerArrays, codes: np.ndarray, keys: np.ndarray, device: str = "cpu"
) -> np.ndarray:
    """Products (N, positions, outputs) of codes (N, inputs[, H, W]) in one layer, int64, in LSB.

    Read noise hangs on the keys (N,) of images, chip, layer and access; it is drawn on the CPU.
    Column sums are exact integers in float64 on any device, which also converts them.

    Examples
    --------
    >>> last = chip.arrays[-1]
    >>> products = read_layer(last, np.ones((1, 84), np.uint8), np.zeros(1, np.uint64))[0, 0]
    >>> bool((products == last.layer.matrix.sum(axis=0)).all())  # ideal arrays are exact
    True
    """
    mapping = arrays.mapping
    inputs = unfold(codes, arrays)  # (N, P, K)
    rows, per_output, outputs = arrays.conductance.shape
    cells = [arrays.conductance.reshape(rows, -1)]  # (K, B M), and one more column for each of
    cells += [column[:, None] for column in (arrays.reference, arrays.sense) if column is not None]
    conductance = torch.from_numpy(np.hstack(cells)).to(device).double()
    drives = torch.from_numpy(arrays.drive).to(device).double()  # (planes, 2^d)
    columns = per_output * outputs + (arrays.reference is not None)  # that get a code
    tiles = len(mapping.tiles(rows))
    total = torch.zeros((*inputs.shape[:2], columns), dtype=torch.int64, device=device)
    for read in walk(arrays, inputs):
        volts = drives[read.plane][torch.from_numpy(read.digits).to(device).int()]  # (N, P, rows)
        current = volts @ conductance[read.rows]  # (N, P, columns)
        if arrays.noisy:
            squared = volts.cpu().numpy() ** 2
            if arrays.noise_weights is None:
                squared = squared.sum(-1, keepdims=True)
            else:
                squared = squared @ arrays.noise_weights[read.rows]  # (N, P, columns)
            place = (np.arange(inputs.shape[1]) * arrays.planes + read.plane) * tiles + read.tile
            noise = _noise(arrays, squared, keys, place, current.shape[-1])
            current += torch.from_numpy(noise).to(device)
        top = torch.tensor(arrays.code_max, device=device)
        if arrays.limits is not None:
            lsb = arrays.sense_lsb_steps
            count = (current[..., -1:].long() + lsb // 2) // lsb
            top = torch.from_numpy(arrays.limits).to(device)[count.clip(0, len(arrays.limits) - 1)]
            current = current[..., :-1]
        total += _convert(arrays, current, top, read.tile) << (read.plane * mapping.dac_bits)
    sums = total.cpu().numpy()
    products = np.zeros((*inputs.shape[:2], outputs), np.int64)
    for k, weight in enumerate(arrays.code_weights):
        products += weight * sums[..., k * outputs : (k + 1) * outputs]
    if arrays.reference is not None:
        products -= arrays.mapped.offset * sums[..., -1:]
    return products


def _noise(
    arrays: LayerArrays, squared: np.ndarray, keys: np.ndarray, reads: np.ndarray, columns: int
) -> np.ndarray:
    """Steps of noise (N, P, columns) of reads (P,).

    `squared` (N, P, 1 or columns) are sums of the drives' squares times the weights of the cells.
    """
    bits = hash64(keys[:, None], reads.astype(np.uint64))[..., None]
    low, high = (bits & np.uint64(0xFFFFFFFF)).astype(np.uint32), (bits >> np.uint64(32))
    draw = normal(low, high.astype(np.uint32), np.arange(columns, dtype=np.uint32))
    converter = np.full(columns, float(arrays.adc_noise_steps))
    if arrays.sense is not None:
        converter[-1] = arrays.sense_noise_steps
    variance = arrays.cell_noise_steps**2 * squared + converter**2
    return np.rint(np.sqrt(variance).astype(np.float32) * draw)


def _convert(
    arrays: LayerArrays, current: torch.Tensor, top: torch.Tensor, tile: int
) -> torch.Tensor:
    """Codes of column currents: how many transition levels each has reached."""
    if arrays.curves is None:
        codes = (current.long() + arrays.lsb_steps // 2) // arrays.lsb_steps
        return torch.minimum(codes.clip(0), top)
    curves = torch.from_numpy(arrays.curves[tile]).to(current)
    codes = torch.empty(current.shape, dtype=torch.int64, device=current.device)
    across = np.append(arrays.column_tile, 0)  # whose first array reads the reference column
    for column in range(current.shape[-1]):
        levels, own = curves[across[column]], current[..., column].contiguous()
        codes[..., column] = torch.searchsorted(levels, own, right=True)
    return torch.minimum(codes, top)
