"""Levels of one layer to cells that were programmed: errors drawn, conductances in whole steps."""

from __future__ import annotations

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


class Programmed(NamedTuple):
    """The cells of one layer, as `nvlib.arrays.LayerArrays` has them."""

    conductance: np.ndarray  # int16, or int32 where that is too short
    reference: np.ndarray | None
    sense: np.ndarray | None
    cell_noise_steps: float
    noise_weights: np.ndarray | None
    on_conductance: np.ndarray


def program_layer(
    mapped: MappedLayer, column_tiles: int, hardware: Hardware, scales: np.ndarray, grid_bits: int,
    drive: int, generators: tuple[np.random.Generator, ...],
) -> tuple[Programmed, float]:  # fmt: skip
    """Program the cells of a layer on so many arrays side by side; cells, and what they conduct.

    `scales` (B,) are those of the columns, and `drive` is the largest that a row is driven with;
    generators are of the cells, of the columns beside them, and of slow noise.
    """
    devices, mapping = hardware.devices, hardware.mapping
    pedestal = devices.pedestal(mapping.level_max)
    step, largest = 2.0**grid_bits, 0.0
    steps, beside, sums, totals, spreads = [], [], [], [], []
    tiles = mapping.tiles(len(mapped.levels))
    for rows in tiles if mapped.levels.size > MOST_CELLS else [slice(None)]:
        piece = replace(mapped, levels=mapped.levels[rows])
        written, extra = _program(piece, column_tiles, hardware, generators)
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
        starts = np.arange(0, len(found), mapping.rows)
        largest = max(largest, float(np.add.reduceat(size, starts, axis=0).max(initial=0)))
        require(
            largest < 2**24, "conductances", "column sums below 2^24 steps", largest,
            "weaken the variation or use fewer rows",
        )  # fmt: skip
        steps.append(found.astype(np.int16 if size.max(initial=0) < 2**15 else np.int32))
    columns = np.concatenate(beside)  # (K, E)
    whole = np.rint((columns - pedestal) * step).astype(np.int64)
    of_rows, reference = np.concatenate(sums), None
    if mapped.offset:
        reference = whole[:, 0]
        of_rows += column_tiles * columns[:, 0]  # every array across has one
    sense = whole[:, -1] if hardware.sense is not None else None
    cell_noise, weights = _noise_weights(spreads, mapping.rows, drive)
    found = np.concatenate(steps)
    return Programmed(found, reference, sense, cell_noise * step, weights, of_rows), sum(totals)


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
    grid = count_arrays(rows, outputs, precision, mapping, hardware.sense is not None)
    pedestal = devices.pedestal(mapping.level_max)
    cells, beside = _program(mapped, grid.column_tiles, hardware, (generator,) * 3)
    weights = mapped.coefficients / mapped.multiples
    held = np.einsum("kbm,b->km", cells - pedestal, weights)
    if mapped.offset:
        held -= mapped.offset * (beside[:, :1] - pedestal)
    return held


def _program(
    mapped: MappedLayer, column_tiles: int, hardware: Hardware,
    generators: tuple[np.random.Generator, ...],
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Conductances of cells (K, B, M) and of columns beside them (K, E), as they read, in steps.

    With wires these are effective ones. Physical columns run output by output, on `column_tiles`
    arrays side by side; reference and sense column, which every array has, stand before them.
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
        across = written.transpose(0, 2, 1).reshape(rows, -1) * step_s
        tiles, per_array = mapping.tiles(rows), mapped.per_array(column_tiles)
        across, columns = effective_layer(across, columns * step_s, tiles, per_array, wires)
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
