"""Voltage lost along the lines of an array.

Word lines run along the rows, from a driver before the first column; bit lines run along the
columns, to a sense amplifier (a virtual ground) behind the last row. Rows that are not driven are
held at 0 V. Such a network of resistances is linear: whatever the inputs, column j gives
``I_j = sum_i V_i T_ij``. So an array with wires reads like one without, of *effective* conductances
T, and no reader needs to know.

`effective` finds T some hundred times as fast as nodal analysis, by which it is tested: each word
line alone loses voltage on the way to a cell, each bit line alone loses current on the way back,
and their product with G is T but for what flows from row to row. That is put right for each column
in the mean over inputs: relaxation from line to line solves the array with all rows driven, and T
is scaled to give that current. On 128 x 128 cells, a quarter of them at G_on and a quarter of the
rows driven, what is left is 0.2 % of the loss where that is 3 % (10 uS, 1 ohm), and 2 % of it where
that is 40 % (100 uS, 2.5 ohm).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solveh_banded

from nvlib.checks import require, require_flag, require_number, settle_fields

#: Relaxation ends when no column current changes by more than this share.
TOLERANCE = 1e-5
MOST_PASSES = 300


@dataclass(frozen=True)
class Wires:
    """Resistance of the lines of every array.

    Parameters
    ----------
    ohm_per_segment : float
        Of a line from one cell to the next. In NeuroSim's copper (DNN+NeuroSim V1.2, Param.cpp) a
        passive cell, two line widths, has 0.7, 1.1, 2.0 and 3.5 ohm at 32, 22, 14 and 7 nm; a 1T1R
        cell, four widths by twelve, has twice that one way and six times that the other.
    driver_ohm, sense_ohm : float
        Of a row's driver and of a column's sense amplifier, in series with a first segment.
    two_sided : bool
        Whether word lines are driven from both ends.
    """

    ohm_per_segment: float = 1.0
    driver_ohm: float = 0.0
    sense_ohm: float = 0.0
    two_sided: bool = False

    def __post_init__(self) -> None:
        settle_fields(self, "ohm_per_segment", require_number, 1e-3, 1e3)
        settle_fields(self, "driver_ohm sense_ohm", require_number, 0, 1e6)
        settle_fields(self, "two_sided", require_flag)

    @property
    def _ends(self) -> tuple[float, float, float, float]:
        """Conductances at the ends of a word line, near and far, and of a bit line."""
        driver = 1 / (self.driver_ohm + self.ohm_per_segment)
        return driver, driver * self.two_sided, 0.0, 1 / (self.sense_ohm + self.ohm_per_segment)


def effective(cells_s: np.ndarray, wires: Wires) -> np.ndarray:
    """Conductances (rows, columns), in S, that read without wires as these do with them.

    Examples
    --------
    >>> cells = np.full((128, 128), 10e-6)
    >>> read = effective(cells, Wires(ohm_per_segment=1.0))
    >>> round(float(1 - read.sum() / cells.sum()), 3)  # share of the current that is lost
    0.099
    """
    segment, (near, far, top, bottom) = 1 / wires.ohm_per_segment, wires._ends
    columns_s = np.ascontiguousarray(cells_s.T)
    words, bits = _lines(cells_s, segment, near, far), _lines(columns_s, segment, top, bottom)
    driven, sensed = np.zeros_like(cells_s), np.zeros_like(columns_s)
    driven[:, 0] += near
    driven[:, -1] += far
    sensed[:, -1] += bottom
    volts = _relax(words, driven)  # (rows, columns), with the bit lines at 0 V
    product = volts * cells_s * _relax(bits, sensed).T
    current = np.zeros(len(columns_s))
    for _ in range(MOST_PASSES):
        levels = _relax(bits, columns_s * volts.T).T
        last, current = current, bottom * levels[-1]
        if np.abs(current - last).max() <= TOLERANCE * current.max():
            break
        volts = _relax(words, driven + cells_s * levels)
    else:
        require(False, "wires", "lines that leave the cells some voltage", wires,
                "lower the resistances or the conductance of the cells")  # fmt: skip
    total = product.sum(axis=0)
    return product * np.divide(current, total, out=np.ones_like(total), where=total > 0)


def effective_layer(
    cells_s: np.ndarray, extra_s: np.ndarray, tiles: Sequence[slice], per_array: int, wires: Wires
) -> tuple[np.ndarray, np.ndarray]:
    """Effective conductances of a layer's columns (K, P), and of what every array has besides.

    Extra columns (K, E), for reference and sensing, stand nearest to the drivers, and what the
    first array across makes of them is that of all. Cells that hold nothing are not formed.

    Examples
    --------
    >>> cells, sense = np.full((200, 60), 10e-6), np.full((200, 1), 10e-6)
    >>> tiles = [slice(0, 128), slice(128, 200)]
    >>> found, _ = effective_layer(cells, sense, tiles, per_array=30, wires=Wires(1.0))
    >>> found.shape, bool((found < cells).all())
    ((200, 60), True)
    """
    cells, extra = np.empty_like(cells_s), np.empty_like(extra_s)
    several = extra.shape[1]
    for rows in tiles:
        for first in reversed(range(0, cells.shape[1], per_array)):
            here = rows, slice(first, first + per_array)
            found = effective(np.hstack([extra_s[rows], cells_s[here]]), wires)
            extra[rows], cells[here] = found[:, :several], found[:, several:]
    return cells, extra


def _lines(shunts: np.ndarray, segment: float, first: float, last: float) -> np.ndarray:
    """Kirchhoff's law on lines (lines, nodes), as one banded matrix of all their nodes."""
    diagonal, beside = shunts.copy(), np.full(shunts.shape, -segment)
    diagonal[:, 1:] += segment
    diagonal[:, :-1] += segment
    diagonal[:, 0] += first
    diagonal[:, -1] += last
    beside[:, 0] = 0.0  # a line ends where the next begins
    return np.stack([beside.ravel(), diagonal.ravel()])


def _relax(lines: np.ndarray, injected: np.ndarray) -> np.ndarray:
    """Voltages of the nodes of lines that take the currents `injected`, of the same shape."""
    if injected.size == 1:  # which no banded matrix is
        return injected / lines[1].reshape(injected.shape)
    return solveh_banded(lines, injected.ravel(), check_finite=False).reshape(injected.shape)
