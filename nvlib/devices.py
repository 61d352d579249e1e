"""Levels to the conductances of one real, imperfect array.

Conductances are in units of one level step, ``(G_on - G_off) / (2^c - 1)``: an ideal cell at level
g holds g plus the pedestal of G_off. A `DeviceModel` applies its effects in order, each drawn once
from the generator of its chip.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from scipy.special import ndtr

from nvlib import checks
from nvlib.checks import require, require_number, require_one_or_each, settle, settle_fields

LARGEST_SIGMA = 2.0
#: Times after programming that a power law is asked for: a nanosecond to 30,000 years.
SECONDS = (1e-9, 1e12)
#: Mean exponent of drift and its spread: of a million cells they reach 0.1 and 0.045 (fits of
#: aihwkit, `nvlib.presets.pcm_moments`); more than twice that is no phase-change cell's.
NU, NU_SIGMA = 0.2, 0.1
#: Conductances of memory cells that are taken for siemens.
PLAUSIBLE_S = (1e-9, 1e-1)


@runtime_checkable
class Effect(Protocol):
    """One imperfection of the cells of an array."""

    def apply(
        self, conductance: np.ndarray, cells: Cells, generator: np.random.Generator
    ) -> np.ndarray:
        """Conductances after the effect, in level steps."""


@dataclass(frozen=True, eq=False)
class Cells:
    """What was asked of the cells."""

    levels: np.ndarray  # programmed, integers
    level_max: int  # G_on
    pedestal: float  # G_off in level steps

    def require_each(self, name: str, table: tuple) -> None:
        """Raise ValueError unless a table has one entry for each level."""
        count = self.level_max + 1
        require(len(table) == count, name, f"one for each of {count} levels", len(table),
                "measure every level, and use a mapping whose cells have as many")  # fmt: skip

    def of_level(self, name: str, table: float | tuple[float, ...]) -> float | np.ndarray:
        """What a table has for the level of each cell; a number is that of all levels."""
        if not isinstance(table, tuple):
            return table
        self.require_each(name, table)
        return np.array(table)[self.levels]


@dataclass(frozen=True)
class _Variation:
    """Programming error of one relative spread for all levels, or of one for each."""

    sigma: float | tuple[float, ...]

    def __post_init__(self) -> None:
        settle_fields(self, "sigma", require_one_or_each, 0, LARGEST_SIGMA)

    def draw(self, cells: Cells, generator: np.random.Generator, unit: float = 1) -> np.ndarray:
        """Sigma N(0, 1) of each cell, in `unit`."""
        spread = cells.of_level("sigma", self.sigma) * unit
        return spread * generator.standard_normal(cells.levels.shape)


class ProportionalVariation(_Variation):
    """Programming error whose spread grows with the conductance: G (1 + sigma N(0, 1))."""

    def apply(self, conductance, cells, generator):
        return conductance * (1 + self.draw(cells, generator))


class RangeVariation(_Variation):
    """Programming error as a share of the range: G + sigma (G_on - G_off) N(0, 1)."""

    def apply(self, conductance, cells, generator):
        return conductance + self.draw(cells, generator, cells.level_max)


class LognormalVariation(_Variation):
    """Programming error as in filamentary devices: G exp(sigma N(0, 1)); the median is kept."""

    def apply(self, conductance, cells, generator):
        return conductance * np.exp(self.draw(cells, generator))


@dataclass(frozen=True)
class EmpiricalVariation:
    """Programming error from a table that no distribution fits, drawn from its quantiles.

    They are, for each level, deviations at evenly spaced probabilities from 0 to 1, as shares of
    G_on - G_off; between them the distribution is uniform. An empty tuple is no error.
    """

    quantiles: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        levels: list[tuple[float, ...]] = []
        for values in checks.require_tuple("quantiles", self.quantiles, "list those of each level"):
            name = f"quantiles[{len(levels)}]"
            levels.append(checks.require_numbers(name, values, lowest=-2, highest=10))
            ascending = bool((np.diff(levels[-1]) >= 0).all())
            require(ascending, name, "an ascending tuple", values, "sort it")
        settle(self, quantiles=tuple(levels))

    def apply(self, conductance, cells, generator):
        cells.require_each("quantiles", self.quantiles)
        draw, deviation = generator.random(conductance.shape), np.zeros(conductance.shape)
        for level, values in enumerate(self.quantiles):
            if values:
                here = cells.levels == level
                deviation[here] = np.interp(draw[here], np.linspace(0, 1, len(values)), values)
        return conductance + deviation * cells.level_max


@dataclass(frozen=True)
class LevelMeans:
    """Levels off a straight line: each a share of the way from G_off (0) to G_on (1)."""

    means: tuple[float, ...]

    def __post_init__(self) -> None:
        settle_fields(self, "means", checks.require_numbers, -1, 2)

    def apply(self, conductance, cells, generator):
        return conductance + cells.of_level("means", self.means) * cells.level_max - cells.levels


@dataclass(frozen=True)
class StuckCells:
    """Shares of the cells that hold G_on or G_off whatever was written; together at most 1."""

    on_rate: float = 0.0
    off_rate: float = 0.0

    def __post_init__(self) -> None:
        settle_fields(self, "on_rate off_rate", require_number, 0, 1)
        total = self.on_rate + self.off_rate
        require(total <= 1, "on_rate + off_rate", "at most 1", total, "lower a rate")

    def apply(self, conductance, cells, generator):
        draw = generator.random(conductance.shape)
        stuck_off = draw > 1 - self.off_rate
        on = cells.level_max + cells.pedestal
        return np.where(draw < self.on_rate, on, np.where(stuck_off, cells.pedestal, conductance))


@dataclass(frozen=True)
class RetentionDrift:
    """Power-law drift, G(t) = G_0 (t / t_0)^(-nu), as in phase-change memory.

    Parameters
    ----------
    seconds, reference_seconds : float
        t since programming, and t_0, when the conductance was verified; t is at least t_0.
    nu, nu_sigma : float or tuple of float
        Mean and standard deviation of the cells' exponents, for all levels or for each, at most
        0.2 and 0.1; 0.031 is the median of a doped-GST mushroom cell (Joshi et al. 2020,
        doi:10.1038/s41467-020-16108-9).
    """

    seconds: float
    nu: float | tuple[float, ...] = 0.031
    nu_sigma: float | tuple[float, ...] = 0.0
    reference_seconds: float = 20.0

    def __post_init__(self) -> None:
        settle_fields(self, "reference_seconds", require_number, *SECONDS)
        settle_fields(self, "seconds", require_number, self.reference_seconds, SECONDS[1])
        settle_fields(self, "nu", require_one_or_each, 0, NU)
        settle_fields(self, "nu_sigma", require_one_or_each, 0, NU_SIGMA)

    def apply(self, conductance, cells, generator):
        spread = cells.of_level("nu_sigma", self.nu_sigma)
        nu = cells.of_level("nu", self.nu) + spread * generator.standard_normal(conductance.shape)
        return conductance * (self.seconds / self.reference_seconds) ** -np.maximum(nu, 0)


@dataclass(frozen=True)
class ReadNoise:
    """Fluctuation of every active cell at every access.

    `sigma` is that of one cell's current, as a share of the current of G_on - G_off: one for all
    cells, or one for each level that was asked for.
    """

    sigma: float | tuple[float, ...] = 0.0

    def __post_init__(self) -> None:
        settle_fields(self, "sigma", require_one_or_each, 0, LARGEST_SIGMA)

    def spread(self, conductance: np.ndarray, cells: Cells) -> np.ndarray:
        """Standard deviation of each cell in level steps, the shape of `conductance`."""
        sigma = cells.of_level("sigma", self.sigma) * cells.level_max
        return np.broadcast_to(sigma, conductance.shape)


class ProportionalReadNoise(ReadNoise):
    """Fluctuation whose spread grows with what the cell conducts, G_off and errors included.

    `sigma` is a share of that current. It stands for the factor exp(N(0, sigma)) of MemIntelli
    (arXiv:2511.17418) to first order, 1 + sigma N(0, 1), as the current of a column is a sum of
    many; at 0.05 the factor's mean is 0.13 % above 1, and its spread 0.2 % above sigma.

    >>> cells = Cells(np.array([0, 3]), level_max=3, pedestal=0.1)
    >>> ProportionalReadNoise(0.05).spread(np.array([0.1, 3.1]), cells).round(4)
    array([0.005, 0.155])
    """

    def spread(self, conductance: np.ndarray, cells: Cells) -> np.ndarray:
        return conductance * cells.of_level("sigma", self.sigma)


@dataclass(frozen=True)
class WriteVerify:
    """Writing in pulses, each of which leaves G + sigma (G_on - G_off) N(0, 1), until one is right.

    Parameters
    ----------
    sigma : float or tuple of float
        Spread of a pulse, as a share of G_on - G_off, for all levels or for each.
    tolerance : float
        Deviation that is accepted, as a share of G_on - G_off.
    most_pulses : int
        After so many the cell is left as it is: it failed.
    """

    sigma: float | tuple[float, ...]
    tolerance: float
    most_pulses: int = 100

    def __post_init__(self) -> None:
        settle_fields(self, "sigma", require_one_or_each, 0, LARGEST_SIGMA)
        settle_fields(self, "tolerance", require_number, 1e-6, 1)
        settle_fields(self, "most_pulses", checks.require_integer, 1, 10**4)

    def write(
        self, conductance: np.ndarray, cells: Cells, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Conductances, and pulses that each cell took: one more than `most_pulses` if it failed.

        >>> cells = Cells(np.ones(10_000, int), level_max=1, pedestal=0.0)
        >>> generator = np.random.default_rng(0)
        >>> held, pulses = WriteVerify(0.1, 0.05).write(np.ones(10_000), cells, generator)
        >>> bool(abs(held - 1).max() <= 0.05), round(float(pulses.mean()), 1)  # 1 / 0.383
        (True, 2.6)
        """
        spread = np.broadcast_to(cells.of_level("sigma", self.sigma), conductance.shape)
        held, pulses = conductance.copy(), np.zeros(conductance.shape, np.int64)
        left = np.ones(conductance.shape, bool)
        for _ in range(self.most_pulses):
            error = spread[left] * generator.standard_normal(np.count_nonzero(left))
            held[left] = conductance[left] + error * cells.level_max
            pulses[left] += 1
            left[left] = np.abs(error) > self.tolerance
        return held, pulses + left

    def apply(self, conductance, cells, generator):
        return self.write(conductance, cells, generator)[0]

    def expected(self, cells: Cells) -> tuple[np.ndarray, np.ndarray]:
        """Mean number of pulses of each cell, and the chance that it fails."""
        spread = np.broadcast_to(cells.of_level("sigma", self.sigma), cells.levels.shape)
        sigmas = self.tolerance / np.maximum(spread, 1e-12)
        right = 2 * ndtr(sigmas) - 1  # share of the pulses that are
        failed = (1 - right) ** self.most_pulses
        return (1 - failed) / right, failed


@dataclass(frozen=True)
class DeviceModel:
    """Everything about the cells: window, imperfections, read noise.

    Parameters
    ----------
    on_off_ratio : float
        G_on / G_off; infinity is an ideal off state. The nominal G_off of every active row is
        subtracted before the converter.
    on_conductance_s : float
        G_on in siemens: what wires are measured by.
    slow_noise : Effect, optional
        Telegraph and 1/f noise, such as RangeVariation(0.02), which acts last: the same over an
        inference, and drawn anew for every access of `Chip.logits`.
    """

    on_off_ratio: float = math.inf
    effects: tuple[Effect, ...] = ()  # applied in this order
    read_noise: ReadNoise = ReadNoise()
    on_conductance_s: float = 10e-6
    slow_noise: Effect | None = None

    def __post_init__(self) -> None:
        ratio, mend = checks.as_number(self.on_off_ratio), "G_on must exceed G_off"
        above = ratio is not None and ratio > 1
        require(above, "on_off_ratio", "a number above 1", self.on_off_ratio, mend)
        mend = "list effects in the order in which they act, (RangeVariation(0.1),)"
        effects = checks.require_tuple("effects", self.effects, mend)
        settle(self, on_off_ratio=ratio, effects=effects)
        named: list[tuple[str, object]] = [(f"effects[{k}]", one) for k, one in enumerate(effects)]
        named += [("slow_noise", self.slow_noise)] * (self.slow_noise is not None)
        for name, effect in named:
            acts = isinstance(effect, Effect) and not isinstance(effect, type)
            require(acts, name, "an effect, with apply()", effect, mend)
        checks.require_instance("read_noise", self.read_noise, ReadNoise, "write ReadNoise(0.1)")
        settle_fields(self, "on_conductance_s", require_number, *PLAUSIBLE_S)

    def pedestal(self, level_max: int) -> float:
        """G_off in level steps: (2^c - 1) / (G_on / G_off - 1)."""
        return level_max / (self.on_off_ratio - 1)

    def program(
        self, levels: np.ndarray, level_max: int, generator: np.random.Generator,
        slow: np.random.Generator | None = None,
    ) -> np.ndarray:  # fmt: skip
        """Conductances (float64, the shape of `levels`) of freshly written cells, none negative.

        They are in level steps and hold G_off; levels are integers in [0, level_max], and the
        generator is that of this chip and layer. `slow` is that of an access, for slow noise.

        >>> worn = DeviceModel(on_off_ratio=8, effects=(RetentionDrift(200.0, nu=0.1),))
        >>> worn.program(np.array([0, 7]), 7, np.random.default_rng(0)).round(3)
        array([0.794, 6.355])
        """
        levels = np.asarray(levels)
        fit = levels.dtype.kind in "iu" and bool(((levels >= 0) & (levels <= level_max)).all())
        mend = "use a mapping whose cells have that many levels"
        require(fit, "levels", f"integers from 0 to {level_max}", levels, mend)
        cells = Cells(levels, level_max, self.pedestal(level_max))
        conductance = levels + cells.pedestal
        for effect in self.effects:
            conductance = effect.apply(conductance, cells, generator)
        if self.slow_noise is not None:
            conductance = self.slow_noise.apply(conductance, cells, slow or generator)
        finite = bool(np.isfinite(conductance).all())
        require(finite, "conductance", "finite values", "NaN or infinity", "check the effects")
        return np.maximum(conductance, 0.0)
