"""Levels of one layer to cells that were programmed: errors drawn, conductances in whole steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from nvlib.checks import require
from nvlib.devices import Cells
from nvlib.hardware import Hardware
from nvlib.mapping import MappedLayer, count_arrays, map_weights
from nvlib.quantizers import Precision
from nvlib.wires import effective_layer

NOISE_BITS = 16  # variances of cells that differ are told apart to 2^-16 of the largest
#: A layer of more cells is programmed one tile of rows after the other, so that conductances in
#: double precision, of which there are several on the way, take the memory of one tile.
MOST_CELLS = 2**22

#: Of the cells, of the columns beside them, and of slow noise.
Generators = tuple[np.random.Generator, np.random.Generator, np.random.Generator]


class Programmed(NamedTuple):
    """The cells of one layer; its fields go into `nvlib.arrays.LayerArrays`, but for the sums."""

    conductance: np.ndarray  # int16, or int32 where that is too short (K, B, M): grid steps
    reference: np.ndarray | None  # int64 (K,)
    sense: np.ndarray | None  # int64 (K,)
    cell_noise: float  # standard deviation of a cell of weight 1, in level steps
    noise_weights: np.ndarray | None  # int32 (K, B x M and beside)
    of_rows: np.ndarray  # float64 (K,): sum over a row's cells, in level steps, G_off included
    of_reference: np.ndarray | float  # float64 (K,): its cell in the reference column; 0 without
    total: float  # of `of_rows`


def program_layer(
    mapped: MappedLayer, per_array: int, hardware: Hardware, scales: np.ndarray, grid_bits: int,
    drive: int, generators: Generators,
) -> Programmed:  # fmt: skip
    """Program the cells of a layer, `per_array` columns to an array.

    `scales` (B,) are those of the columns, and `drive` is the largest that a row is driven with.
    """
    devices, mapping = hardware.devices, hardware.mapping
    pedestal = devices.pedestal(mapping.level_max)
    step, largest = 2.0**grid_bits, 0.0
    steps, beside, sums, totals, spreads = [], [], [], [], []
    for piece in _pieces(mapped, hardware):
        written, extra = _program(piece, per_array, hardware, generators)
        sums.append(written.sum(axis=(1, 2)))
        totals.append(float(written.sum()))
        beside.append(extra)
        spreads.append(_spread(piece, hardware, written, extra, scales))
        written -= pedestal
        if (scales > 1).any():
            written /= scales[:, None]
        written *= step
        found = np.rint(written, out=written)
        size = np.abs(found)
        tiles = [tile.start for tile in mapping.tiles(len(found))]
        largest = max(largest, float(np.add.reduceat(size, tiles, axis=0).max(initial=0)))
        require(
            largest < 2**24, "conductances", "column sums below 2^24 steps", largest,
            "weaken the variation or use fewer rows",
        )  # fmt: skip
        steps.append(found.astype(np.int16 if size.max(initial=0) < 2**15 else np.int32))
    columns = np.concatenate(beside)  # (K, E)
    whole = np.rint((columns - pedestal) * step).astype(np.int64)
    referred = mapped.offset > 0
    cell_noise, weights = _noise_weights(spreads, mapping.rows, drive)
    return Programmed(
        conductance=np.concatenate(steps),
        reference=whole[:, 0] if referred else None,
        sense=whole[:, -1] if hardware.sense is not None else None,
        cell_noise=cell_noise,
        noise_weights=weights,
        of_rows=np.concatenate(sums),
        of_reference=columns[:, 0] if referred else 0.0,
        total=sum(totals),
    )


def held_codes(
    codes: np.ndarray, precision: Precision, hardware: Hardware, generator: np.random.Generator
) -> np.ndarray:
    """Weight codes as imperfect cells hold them: what an ideal converter would make of them.

    Parameters
    ----------
    codes : ndarray of int, shape (K, M)

    Returns
    -------
    ndarray of float64, shape (K, M)

    Examples
    --------
    >>> held_codes(np.array([[-5, 3]]), Precision(4, 3), Hardware(), np.random.default_rng(0))
    array([[-5.,  3.]])
    """
    mapping, devices = hardware.mapping, hardware.devices
    mapped = map_weights(codes, precision, mapping)
    rows, outputs = codes.shape
    grid = count_arrays(rows, outputs, precision, mapping, int(hardware.sense is not None))
    pedestal = devices.pedestal(mapping.level_max)
    columns = mapped.levels.shape[1] * mapped.levels.shape[2]
    per_array = -(-columns // grid.column_tiles)
    cells, beside = _program(mapped, per_array, hardware, (generator,) * 3)
    weights = mapped.coefficients / mapped.multiples
    held = np.einsum("kbm,b->km", cells - pedestal, weights)
    if mapped.offset:
        held -= mapped.offset * (beside[:, :1] - pedestal)
    return held


def _pieces(mapped: MappedLayer, hardware: Hardware) -> Iterator[MappedLayer]:
    """What is programmed together."""
    if mapped.levels.size <= MOST_CELLS:
        yield mapped
        return
    for rows in hardware.mapping.tiles(len(mapped.levels)):
        yield replace(mapped, levels=mapped.levels[rows])


def _program(
    mapped: MappedLayer, per_array: int, hardware: Hardware, generators: Generators
) -> tuple[np.ndarray, np.ndarray]:
    """Conductances of cells (K, B, M) and of columns beside them (K, E), as they read, in steps.

    With wires these are effective ones. Physical columns run output by output, `per_array` to an
    array; reference and sense column, which every array has, stand before them.
    """
    devices, mapping, wires = hardware.devices, hardware.mapping, hardware.wires
    (cells, extra, slow), level_max = generators, hardware.mapping.level_max
    rows, per_output, outputs = mapped.levels.shape
    written = devices.program(mapped.levels, level_max, cells, slow)
    asked = _asked_beside(mapped, hardware)
    beside = [devices.program(levels, level_max, extra, slow) for levels in asked]
    columns = np.array(beside).reshape(len(beside), rows).T
    if wires is not None:
        step_s = devices.on_conductance_s / (level_max + devices.pedestal(level_max))
        across = written.transpose(0, 2, 1).reshape(rows, -1)
        tiles = mapping.tiles(rows)
        across, columns = effective_layer(
            across * step_s, columns * step_s, tiles, per_array, wires
        )
        written = (across / step_s).reshape(rows, outputs, per_output).transpose(0, 2, 1)
        columns = columns / step_s
    return written, columns


def _asked_beside(mapped: MappedLayer, hardware: Hardware) -> list[np.ndarray]:
    """Levels (K,) of the cells of the reference column and of the sense column, where there are."""
    rows = len(mapped.levels)
    asked = [np.ones(rows, int)] * bool(mapped.offset)
    return asked + [np.full(rows, hardware.mapping.level_max)] * (hardware.sense is not None)


def _spread(
    mapped: MappedLayer, hardware: Hardware, written: np.ndarray, beside: np.ndarray,
    scales: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Standard deviation of what a cell's current reads, (K, B x M and beside), in level steps."""
    level_max, rows = hardware.mapping.level_max, len(written)
    levels = np.column_stack([mapped.levels.reshape(rows, -1), *_asked_beside(mapped, hardware)])
    cells = Cells(levels, level_max, hardware.devices.pedestal(level_max))
    conductance = np.hstack([written.reshape(rows, -1), beside])
    spread = hardware.devices.read_noise.spread(conductance, cells)
    if (scales > 1).any():
        spread = spread / np.append(np.repeat(scales, written.shape[2]), [1] * beside.shape[1])
    first = spread[:1, :1]  # where all are alike, one stands for all
    return np.broadcast_to(first.copy(), spread.shape) if (spread == first).all() else spread


def _noise_weights(
    spreads: list[np.ndarray], rows: int, drive: int
) -> tuple[float, np.ndarray | None]:
    """Standard deviation of a cell of weight 1, in level steps, and the weights of the variances.

    Weights are whole numbers, so that those of a column of `rows` cells, times the squares of
    drives up to `drive`, add up to the same in any order.
    """
    largest = max(float(spread.max(initial=0)) for spread in spreads)
    if all((spread == largest).all() for spread in spreads):
        return largest, None
    bits = min(NOISE_BITS, 53 - (rows * drive**2).bit_length())
    weights = [np.rint((spread / largest) ** 2 * 2.0**bits).astype(np.int32) for spread in spreads]
    return largest * 2.0 ** (-bits / 2), np.concatenate(weights)
