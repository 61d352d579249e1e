"""Intervals."""

from __future__ import annotations

import numpy as np
from scipy import stats


def wilson_interval(hits: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of a share that was counted, after Wilson (1927).

    Examples
    --------
    >>> tuple(round(x, 4) for x in wilson_interval(9900, 10000))
    (0.9879, 0.9918)
    """
    z = stats.norm.ppf(0.5 + confidence / 2)
    share = hits / trials
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z * np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2)) / (1 + z**2 / trials)
    return float(centre - half), float(centre + half)


def mean_interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of the mean of few values, by Student's t.

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
    half = stats.t.ppf(0.5 + confidence / 2, len(values) - 1) * stats.sem(values)
    return float(values.mean() - half), float(values.mean() + half)


def jackknife_half_width(without: np.ndarray, confidence: float = 0.95) -> float:
    """Half the interval of an estimate, from its values without each of n trials.

    The standard error is sqrt((n - 1) / n  sum (x_k - mean)^2) (Tukey 1958), the quantile
    Student's t with n - 1 degrees of freedom.

    Examples
    --------
    >>> values = np.array([1.0, 2.0, 3.0])  # of their mean it is the ordinary t interval
    >>> without = np.array([values[np.arange(3) != k].mean() for k in range(3)])
    >>> round(2.0 - jackknife_half_width(without), 2)
    -0.48
    """
    n = len(without)
    error = np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum())
    return float(stats.t.ppf(0.5 + confidence / 2, n - 1) * error)
