"""The largest tolerated size of a nonideality, with its interval, from the losses of trials."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import isotonic_regression

from artifact.statistics import Estimate, mean_interval, nominal_level
from artifact.studies.common import PRECISIONS
from artifact.studies.nonidealities import NONIDEALITIES, Nonideality

#: Tolerated losses that searches bracket, in points.
DELTAS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
DELTA = 1.0
#: Numbers of trials at which a comparison of two precisions is looked at.
LOOKS = (10, 20, 40)
#: Of every interval here: those of all looks hold at once in 95 % of runs, so they hold whenever
#: a search stops.
CONFIDENCE = 1 - nominal_level(LOOKS)

#: What tells the curves of a table apart.
KEYS = ["nonideality", "scheme", "training", "precision"]
Key = tuple[str, str, str, str]


@dataclass(frozen=True, eq=False)
class Curve:
    """Loss against the rung of one nonideality at one precision.

    Attributes
    ----------
    kind : Nonideality
    rungs : ndarray, shape (S,)
    losses : ndarray, shape (S, trials)
        In points of accuracy.
    groups : ndarray, shape (trials,)
        Training seed of each trial.
    """

    kind: Nonideality
    rungs: np.ndarray
    losses: np.ndarray
    groups: np.ndarray

    @classmethod
    def of(cls, rows: pd.DataFrame) -> Curve:
        """From the tidy rows of one nonideality, scheme, training and precision."""
        wide = rows.pivot(index="rung", columns="trial", values="loss").sort_index()
        groups = rows.drop_duplicates("trial").set_index("trial")["training_seed"]
        kind = NONIDEALITIES[rows["nonideality"].iloc[0]]
        return cls(kind, wide.index.to_numpy(float), wide.to_numpy(), groups[wide.columns].values)

    def crossing(self, delta: float, without: int | None = None) -> float:
        """Rung at which the mean loss exceeds `delta`; the last one where it never does.

        A nonideality that grows can only do more harm, so the means are first made monotone
        (isotonic regression). Between two rungs loss grows with a power of the size, about the
        third, so its cube root is interpolated. `without` leaves out one trial.
        """
        losses = self.losses if without is None else np.delete(self.losses, without, axis=1)
        mean = np.cbrt(isotonic_regression(losses.mean(axis=1)).x)
        beyond = int(np.searchsorted(mean, np.cbrt(delta), side="right"))
        if beyond in (0, len(mean)):
            return float(self.rungs[min(beyond, len(mean) - 1)])
        share = (np.cbrt(delta) - mean[beyond - 1]) / (mean[beyond] - mean[beyond - 1])
        return float(self.rungs[beyond - 1] + share * np.diff(self.rungs)[beyond - 1])

    def estimate(self, delta: float) -> Estimate:
        """The logarithm of the limit's severity."""
        grows = abs(np.log(self.kind.step))
        without = [self.crossing(delta, k) for k in range(self.losses.shape[1])]
        value = grows * self.crossing(delta)
        return Estimate.jackknife(value, grows * np.array(without), self.groups)

    def bound(self, delta: float) -> str:
        """Equal sign where the limit was found, ">" or "<" where it lies beyond what was tested."""
        mean = isotonic_regression(self.losses.mean(axis=1)).x
        return "<" if mean[0] > delta else ">" if mean[-1] <= delta else "="

    def size(self, severity: float) -> float:
        """Size of a severity (see `estimate`), of those that exist."""
        rung = float(np.clip(severity / abs(np.log(self.kind.step)), *self.kind.span))
        return self.kind.size(np.floor(rung + 1e-9) if self.kind.rungs else rung)


def curves(table: pd.DataFrame) -> dict[Key, Curve]:
    """Curves of a tidy table by nonideality, scheme, training and precision."""
    groups = table.groupby(KEYS, sort=False)
    return {key: Curve.of(rows) for key, rows in groups}  # type: ignore[misc]


def losses(table: pd.DataFrame) -> pd.DataFrame:
    """Mean loss and its 95 % interval at every visited size, for drawing."""
    rows = []
    for key, curve in curves(table).items():
        for rung, loss in zip(curve.rungs, curve.losses, strict=True):
            lower, upper = mean_interval(loss)
            rows.append(
                {**dict(zip(KEYS, key, strict=True)), "size": curve.kind.size(rung),
                 "loss": loss.mean(), "loss_lower": lower, "loss_upper": upper}
            )  # fmt: skip
    return pd.DataFrame(rows)


def _rows(table: pd.DataFrame, delta: float) -> Iterator[dict[str, object]]:
    for key, curve in curves(table).items():
        found = curve.estimate(delta)
        severities = (found.value, *found.interval(CONFIDENCE))
        limit, lower, upper = (float(f"{curve.size(s):.4g}") for s in severities)
        yield {
            **dict(zip(KEYS, key, strict=True)), "unit": curve.kind.unit, "limit": limit,
            "lower": lower, "upper": upper, "trials": curve.losses.shape[1],
            "images": int(table["images"].iloc[0]), "delta_points": delta,
            "bound": curve.bound(delta),
        }  # fmt: skip


def limits(table: pd.DataFrame, delta: float = DELTA) -> pd.DataFrame:
    """Largest tolerated size of every nonideality, scheme, training and precision.

    Returns
    -------
    DataFrame
        Columns nonideality, scheme, training, precision, unit, limit, lower, upper (95 %
        interval; lower is the milder size), trials, images (of each trial), delta_points, and
        bound: "=" for a limit that was found; ">" where even the severest size tested loses less,
        "<" where the mildest loses more, and the limit then is that size.

    Raises
    ------
    ValueError
        If `delta` is not within what the searches bracketed.
    """
    if not min(DELTAS) <= delta <= max(DELTAS):
        raise ValueError(
            f"delta: expected {min(DELTAS):g} to {max(DELTAS):g} points, received {delta!r}; "
            "choose one of those, or widen DELTAS and search again"
        )
    return pd.DataFrame(list(_rows(table, delta)))


def as_written(limits: pd.DataFrame) -> pd.DataFrame:
    """Limits as ``results/requirements.csv`` holds them.

    Of a limit beyond what was tested, which `bound` marks, the farther end is left empty.
    """
    table = limits.astype({"lower": object, "upper": object})
    for sign, unknown in ((">", "upper"), ("<", "lower")):
        table.loc[limits["bound"] == sign, unknown] = ""
    return table


def told(row: Any) -> str:
    """A limit as engineers read it: value, and its 95 % interval in brackets.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> told(SimpleNamespace(limit=0.2613, lower=0.236, upper=0.2893, bound="="))
    '0.26 [0.24, 0.29]'
    >>> told(SimpleNamespace(limit=512.0, lower=512.0, upper=512.0, bound=">"))
    '> 512'
    """
    if row.bound != "=":
        return f"{row.bound} {_two_digits(row.limit)}"
    low, high = sorted((row.lower, row.upper))
    return f"{_two_digits(row.limit)} [{_two_digits(low)}, {_two_digits(high)}]"


def _two_digits(value: float) -> str:
    """Two significant digits, as people write them; counts below a thousand have all of theirs."""
    rounded = value if float(value).is_integer() and value < 1000 else float(f"{value:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:g}"


def told_table(limits: pd.DataFrame) -> pd.DataFrame:
    """One row for each nonideality, one column for each precision, in words of `told`.

    On differential pairs, after quantization-aware training.
    """
    part = limits[(limits["scheme"] == "differential") & (limits["training"] == "qat")]
    words = part.assign(told=[told(row) for row in part.itertuples()])
    rows = list(dict.fromkeys(zip(part["nonideality"], part["unit"], strict=True)))
    wide = words.pivot(index=["nonideality", "unit"], columns="precision", values="told")
    order = [name for name in PRECISIONS if name in wide.columns]
    return wide.loc[rows, order].fillna("").reset_index().rename_axis(None, axis=1)
