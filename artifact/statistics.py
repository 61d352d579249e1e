"""Intervals, decisions that are looked at more than once, and corrections for many of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import optimize, stats

#: Rate of errors of a decision.
LEVEL = 0.05


def wilson_interval(hits: int, trials: int) -> tuple[float, float]:
    """95 % interval of a share that was counted, after Wilson (1927).

    Examples
    --------
    >>> tuple(round(x, 4) for x in wilson_interval(9900, 10000))
    (0.9879, 0.9918)
    """
    found = stats.binomtest(hits, trials).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def paired_interval(lost: int, gained: int, images: int) -> tuple[float, float, float]:
    """Points that one reader loses to another on the same images, and their 95 % interval.

    Half an image is added to each of the four kinds, so that no images lost and none gained
    give an interval too (Agresti and Min 2005, Statistics in Medicine 24, 729).

    Parameters
    ----------
    lost, gained : int
        Images that only the other, and only this one, has right.
    images : int

    Examples
    --------
    >>> [round(x, 2) for x in paired_interval(0, 0, 300)]
    [0.0, -0.65, 0.65]
    """
    more, less, whole = lost + 0.5, gained + 0.5, images + 2
    half = 1.96 * np.sqrt(more + less - (more - less) ** 2 / whole)
    middle = more - less
    low, high = (100 * float(middle + sign * half) / whole for sign in (-1, 1))
    return 100 * (lost - gained) / images, low, high


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean of few values, by Student's t.

    Raises
    ------
    ValueError
        If there are fewer than two values.

    Examples
    --------
    >>> tuple(round(x, 2) for x in mean_interval(np.array([1.0, 2.0, 3.0])))
    (-0.48, 4.48)
    """
    values = np.asarray(values, float)
    if values.size < 2:
        raise ValueError(
            f"expected at least 2 values for an interval, received {values.size}; use more trials"
        )
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return float(values.mean() - half), float(values.mean() + half)


def redrawn(position: np.ndarray, among: int) -> np.ndarray:
    """Bootstrap draws of n - 1 of n things with replacement, at least one.

    Of n, the variance of a mean would come out too small by (n - 1) / n, a half for two things;
    of n - 1 it does not (Rao and Wu 1988).

    Parameters
    ----------
    position : ndarray, shape (draws, at least n - 1)
        Even in [0, 1); things as many in number are drawn alike by the same positions.
    among : int
        n

    Examples
    --------
    >>> redrawn(np.array([[0.1, 0.5, 0.9], [0.0, 0.3, 0.7]]), 3).tolist()
    [[0, 1], [0, 0]]
    """
    return (position[:, : max(among - 1, 1)] * among).astype(int)


@dataclass(frozen=True, eq=False)
class Estimate:
    """A number, and how much each of the trials it was estimated from pulls at it.

    Estimates from the same trials are added and weighted trial by trial, so what trials share
    drops out of a difference.

    Attributes
    ----------
    value : float
    influence : ndarray, shape (trials,)
        Its sum of squares is the variance if trials are independent.
    groups : ndarray, shape (trials,)
        Training seed of each trial.
    """

    value: float
    influence: np.ndarray
    groups: np.ndarray

    @classmethod
    def jackknife(cls, value: float, without: np.ndarray, groups: np.ndarray) -> Estimate:
        """From the values without each of n trials in turn (Tukey 1958).

        The sum of squares is (n - 1) / n  sum (x_k - mean)^2.

        Examples
        --------
        >>> x = np.array([1.0, 2.0, 3.0])  # of a mean it gives the ordinary t interval
        >>> without = np.array([x[np.arange(3) != k].mean() for k in range(3)])
        >>> found = Estimate.jackknife(2.0, without, np.arange(3))
        >>> tuple(round(bound, 2) for bound in found.interval())
        (-0.48, 4.48)
        """
        n = len(without)
        return cls(value, np.sqrt((n - 1) / n) * (without.mean() - without), np.asarray(groups))

    @staticmethod
    def weighted(parts: Sequence[tuple[float, Estimate]]) -> Estimate:
        """Sum of weights times estimates; trial k of each is the same trial."""
        most = max((part for _, part in parts), key=lambda part: len(part.influence))
        influence = np.zeros(len(most.influence))
        for weight, part in parts:
            influence[: len(part.influence)] += weight * part.influence
        total = sum(weight * part.value for weight, part in parts)
        return Estimate(float(total), influence, most.groups)

    def error(self) -> tuple[float, int]:
        """Standard error and its degrees of freedom.

        Trials of one training seed have a network in common. Where the means of seeds stray
        further than their trials explain, the seeds alone are counted, G - 1 degrees of freedom;
        else the trials are, n - 1.
        """
        n, seeds = len(self.influence), np.unique(self.groups)
        single, between = (self.influence**2).sum(), 0.0
        if 1 < len(seeds) < n:
            total = np.array([self.influence[self.groups == seed].sum() for seed in seeds])
            squares = ((total - total.mean()) ** 2).sum() * (n - 1) / n
            between = len(seeds) / (len(seeds) - 1) * squares
        if between > single:
            return float(np.sqrt(between)), len(seeds) - 1
        return float(np.sqrt(single)), n - 1

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Interval by Student's t."""
        error, freedom = self.error()
        half = float(stats.t.ppf(0.5 + confidence / 2, freedom)) * error
        return self.value - half, self.value + half

    def p_value(self) -> float:
        """Two-sided, of the value being 0; a value without any spread is certain."""
        error, freedom = self.error()
        if error <= 1e-12:
            return float(abs(self.value) <= 1e-9)
        return float(2 * stats.t.sf(abs(self.value) / error, freedom))


@lru_cache(maxsize=4096)
def sequential_p(nominal: float, looks: tuple[int, ...]) -> float:
    """Chance that any of several looks at growing data has so small a p-value (Pocock 1977).

    Parameters
    ----------
    nominal : float
        p-value of one look.
    looks : tuple of int
        Trials at each; later ones hold the earlier.

    Examples
    --------
    >>> round(sequential_p(0.0294, (1, 2)), 3)  # Pocock's table: two looks, 5 % over all
    0.05
    """
    n = np.array(looks, float)
    if nominal >= 1 or len(n) == 1:
        return float(min(nominal, 1.0))
    correlation = np.sqrt(np.minimum.outer(n, n) / np.maximum.outer(n, n))
    z = np.full(len(n), stats.norm.isf(nominal / 2))
    normal = stats.multivariate_normal(np.zeros(len(n)), correlation, seed=0)
    inside = normal.cdf(z, lower_limit=-z)
    # Numerical integration is no better than 1e-5; the sum of the looks bounds the chance.
    return float(np.clip(1 - inside, nominal, min(len(n) * nominal, 1.0)))


@lru_cache(maxsize=16)
def nominal_level(looks: tuple[int, ...]) -> float:
    """p-value that every look must reach for an error rate of `LEVEL` over all of them.

    Examples
    --------
    >>> round(nominal_level((1, 2, 3)), 4)  # Pocock (1977), three looks
    0.0221
    """
    if len(looks) == 1:
        return LEVEL
    found = optimize.brentq(
        lambda p: sequential_p(p, looks) - LEVEL, LEVEL / len(looks), LEVEL, xtol=1e-6
    )
    return float(found)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """p-values corrected for how many were looked at (Holm 1979).

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, float)
    order, n = np.argsort(p), len(p)
    stepped = np.maximum.accumulate((n - np.arange(n)) * p[order])
    corrected = np.empty(n)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected
