"""How large an imperfection may be before a precision is no better than the next lower one.

A tolerance of one point for all ignores what is at stake: more bits are worth what they cost only
while they are more accurate than the next fewer on the same imperfect hardware. The advantage of a
precision, in points of accuracy, is that on ideal hardware, less what it loses more than the next
lower one. Trial k of both has the same random numbers and images, and networks of the same training
seed; so each trial has an advantage of its own: that of its seed on ideal hardware, less the
difference of its two losses.

Left out are nonidealities whose losses count from a chip that is not lossless (`against_size_0`),
for what precisions differ in there is not in the tables. Intervals cover training seeds, chips and
images; on ideal hardware, training seeds and blocks of the test images that all seeds share.
Whether an advantage is kept or gone is decided like the order of two limits: p-values hold over all
looks and, within a scheme, for how many advantages are looked at (Holm 1979).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from artifact.statistics import Estimate, holm, sequential_p
from artifact.studies import limits
from artifact.studies.common import PRECISIONS
from artifact.studies.compromise import ACCURACIES, LOSSLESS_BITS
from artifact.studies.limits import CONFIDENCE, LOOKS, Curve
from artifact.studies.nonidealities import NONIDEALITIES
from artifact.studies.requirements import TRAININGS
from artifact.studies.trends import LEVEL

TRAINING = TRAININGS[0]
#: Each precision and the next lower one.
PAIRS = tuple(pairwise(PRECISIONS))
#: What becomes of an advantage: it holds at the largest size that both visited; it turned into the
#: opposite there; these trials, or these training seeds on ideal hardware, do not tell; the lower
#: precision is the more accurate one on ideal hardware already.
KEPT, GONE, UNDECIDED, NONE = "kept", "gone", "undecided", "none on ideal hardware"
OUTCOMES = (KEPT, GONE, UNDECIDED, NONE)
#: Columns that name an advantage, and those of `advantages`, also where no pair has enough trials.
NAMED = ["scheme", "nonideality", "precision", "over", "unit"]
COLUMNS = [
    *NAMED, "images", "ideal_images", "trials", "ideal", "ideal_lower", "ideal_upper", "largest",
    "advantage", "advantage_lower", "advantage_upper", "p_holm", "outcome", "bound", "limit",
    "lower", "upper",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Advantage:
    """Of one precision over another, against the rung of one nonideality.

    Attributes
    ----------
    of_blocks : ndarray, shape (seeds, blocks)
        Points on ideal hardware, by training seed and block of test images.
    of_trials : ndarray, shape (trials,)
        The same of each trial's seed.
    lost : Curve
        Its losses, shape (sizes, trials), are the points that the first precision loses more than
        the second.
    """

    of_blocks: np.ndarray
    of_trials: np.ndarray
    lost: Curve

    def ideal(self) -> tuple[float, float, float]:
        """Points on ideal hardware and their 95 % interval, which a single seed does not have.

        Seeds share the images, so what these add to the error does not shrink with more seeds.
        """
        value, seeds = float(self.of_blocks.mean()), len(self.of_blocks)
        if seeds < 2:
            return value, np.nan, np.nan
        error = np.hypot(*(stats.sem(self.of_blocks.mean(axis=axis)) for axis in (0, 1)))
        half = float(stats.t.ppf(0.975, seeds - 1) * error)
        return value, value - half, value + half

    def at(self, place: int) -> Estimate:
        """Points at one of the sizes."""
        return _mean(self.of_trials - self.lost.losses[place], self.lost.groups)

    def outcome(self, p_value: float) -> str:
        """One of `OUTCOMES`, by the p-value of the points at the last size being 0."""
        _, lower, upper = self.ideal()
        if upper < 0:
            return NONE
        if lower > 0 and p_value <= LEVEL:
            return KEPT if self.at(-1).value > 0 else GONE
        return UNDECIDED

    def crossing(self) -> tuple[str, float, float, float]:
        """Where the mean advantage is gone: as a limit is found, the ideal advantage for delta.

        Returns
        -------
        tuple
            Bound ("<" where it is gone at the mildest size already, else "="), size, and the ends
            of its interval, the milder first.
        """
        delta = float(self.of_trials.mean())
        losses = self.lost.losses - self.of_trials + delta
        curve = Curve(self.lost.kind, self.lost.rungs, losses, self.lost.groups)
        found = curve.estimate(delta)
        size, lower, upper = (
            float(f"{curve.size(s):.4g}") for s in (found.value, *found.interval(CONFIDENCE))
        )
        return curve.bound(delta), size, lower, upper


def _mean(values: np.ndarray, groups: np.ndarray) -> Estimate:
    without = (values.sum() - values) / (len(values) - 1)
    return Estimate.jackknife(float(values.mean()), without, groups)


def _of_blocks(accuracies: pd.DataFrame, high: str, low: str) -> pd.DataFrame:
    """Points that one precision has over another on ideal hardware: seeds by blocks of images."""
    ideal = accuracies["bits"] == LOSSLESS_BITS
    mine = accuracies[ideal & (accuracies["training"] == TRAINING)].drop_duplicates(
        ["precision", "seed"]
    )
    known = list(dict.fromkeys(mine["precision"]))
    if not {high, low} <= set(known):
        raise ValueError(
            f"accuracies: expected {high} and {low} on ideal hardware, received "
            f"{', '.join(known) or 'none'}; run notebook 01 with the same networks"
        )
    wide = mine.set_index(["precision", "seed"])[ACCURACIES]
    return (wide.loc[high] - wide.loc[low]).dropna()


def _pairs(
    trials: pd.DataFrame, accuracies: pd.DataFrame
) -> Iterator[tuple[dict[str, Any], Advantage]]:
    """Every advantage, and the columns that name it."""
    counted = [n for n, kind in NONIDEALITIES.items() if kind.counted and not kind.against_size_0]
    mine = trials[(trials["training"] == TRAINING) & trials["nonideality"].isin(counted)]
    known = set(mine["precision"])
    pairs = [pair for pair in PAIRS if known.issuperset(pair)]
    if not pairs:
        raise ValueError(
            "trials: expected losses of a precision and of the next lower one among "
            f"{', '.join(PRECISIONS)}, received {', '.join(sorted(known)) or 'none'}; search both"
        )
    of_blocks = {pair: _of_blocks(accuracies, *pair) for pair in pairs}
    shared = ["nonideality", "rung", "trial", "training_seed"]
    for (scheme, name), part in mine.groupby(["scheme", "nonideality"], sort=False):
        for high, low in pairs:
            first, second = (part[part["precision"] == precision] for precision in (high, low))
            both = first.merge(second[[*shared, "loss"]], on=shared, suffixes=("", "_low"))
            ideal = of_blocks[high, low]
            both = both[both["training_seed"].isin(ideal.index)]
            if both["trial"].nunique() < 2:
                continue
            lost = Curve.of(both.assign(loss=both["loss"] - both["loss_low"]))
            yield (
                {"scheme": scheme, "nonideality": name, "precision": high, "over": low,
                 "unit": lost.kind.unit},
                Advantage(ideal.to_numpy(), ideal.mean(axis=1)[lost.groups].to_numpy(), lost),
            )  # fmt: skip


def by_size(trials: pd.DataFrame, accuracies: pd.DataFrame) -> pd.DataFrame:
    """Advantage over the next lower precision at every size that both visited, for drawing.

    Returns
    -------
    DataFrame
        Columns scheme, nonideality, precision, over, unit, size (0 is ideal hardware), advantage
        (points), lower, upper (95 %).
    """
    rows = []
    for keys, found in _pairs(trials, accuracies):
        at = {0.0: found.ideal()}
        for place, rung in enumerate(found.lost.rungs):
            points = found.at(place)
            at[found.lost.kind.size(rung)] = points.value, *points.interval(CONFIDENCE)
        for size, told in at.items():
            named = dict(zip(("advantage", "lower", "upper"), told, strict=True))
            rows.append(keys | {"size": size} | named)
    return pd.DataFrame(rows, columns=[*NAMED, "size", "advantage", "lower", "upper"])


def advantages(trials: pd.DataFrame, accuracies: pd.DataFrame) -> pd.DataFrame:
    """Of every precision over the next lower one: how large, and the size at which it is gone.

    Parameters
    ----------
    trials : DataFrame
        Tidy, of `artifact.studies.requirements`.
    accuracies : DataFrame
        Of `compromise`, whose lossless chips say what their networks say.

    Returns
    -------
    DataFrame
        For each scheme and nonideality, with quantization-aware training, of pairs with two trials
        or more in common: columns scheme, nonideality, precision, over, unit, images (of each
        trial), ideal_images, trials, ideal (points), ideal_lower, ideal_upper (95 % over training
        seeds and test images), largest (size that both visited), advantage (points there),
        advantage_lower, advantage_upper (95 %), p_holm (of its being 0), outcome (one of
        `OUTCOMES`), and, where it is gone, bound, limit (the size at which), lower, upper, as of
        `artifact.studies.limits.limits`.

    Raises
    ------
    ValueError
        If no precision was searched beside the next lower one, or the accuracies lack one that was.
    """
    rows, every = [], list(_pairs(trials, accuracies))
    for scheme in dict.fromkeys(keys["scheme"] for keys, _ in every):
        mine = [(keys, found) for keys, found in every if keys["scheme"] == scheme]
        p_values = holm([sequential_p(found.at(-1).p_value(), LOOKS) for _, found in mine])
        rows += [
            keys | {"images": int(trials["images"].iloc[0]),
                    "ideal_images": int(accuracies["images"].iloc[0])} | _row(found, p)
            for (keys, found), p in zip(mine, p_values, strict=True)
        ]  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(found: Advantage, p_value: float) -> dict[str, Any]:
    """What `advantages` says of one."""
    ideal, ideal_lower, ideal_upper = found.ideal()
    points, outcome = found.at(-1), found.outcome(p_value)
    least, most = points.interval(CONFIDENCE)
    bound, limit, lower, upper = found.crossing() if outcome == GONE else ("", *[np.nan] * 3)
    return {
        "trials": len(found.of_trials), "ideal": ideal, "ideal_lower": ideal_lower,
        "ideal_upper": ideal_upper, "largest": found.lost.kind.size(found.lost.rungs[-1]),
        "advantage": points.value, "advantage_lower": least, "advantage_upper": most,
        "p_holm": p_value, "outcome": outcome,
        "bound": bound, "limit": limit, "lower": lower, "upper": upper,
    }  # fmt: skip


def told_ideal(row: Any) -> str:
    """The advantage on ideal hardware in words: points, and their interval in brackets.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> told_ideal(SimpleNamespace(ideal=0.046, ideal_lower=0.008, ideal_upper=0.084))
    '+0.05 [+0.01, +0.08]'
    """
    if np.isnan(row.ideal_lower):
        return f"{row.ideal:+.2f} (one training seed)"
    return f"{row.ideal:+.2f} [{row.ideal_lower:+.2f}, {row.ideal_upper:+.2f}]"


def told_table(table: pd.DataFrame) -> pd.DataFrame:
    """One row for each nonideality, one column for each pair, in words; ideal hardware first.

    On differential pairs.
    """
    part = table[table["scheme"] == "differential"]
    lines: dict[str, dict[str, str]] = {}
    for row in part.itertuples():
        pair = f"{row.precision} over {row.over}"
        words = f"{GONE} at {limits.told(row)}" if row.outcome == GONE else row.outcome
        lines.setdefault("ideal hardware (points)", {})[pair] = told_ideal(row)
        lines.setdefault(row.nonideality, {})[pair] = words
    wide = pd.DataFrame.from_dict(lines, orient="index").fillna("")
    return wide.rename_axis("nonideality").reset_index()
