"""Is a higher precision stricter? Ratios and slopes of limits, and what is decided about them.

A ratio is the limit of one precision over that of another, in severity: below 1 the first is
stricter. Trials are shared by precisions and nonidealities, and each estimate knows how much
every trial pulls at it, so ratios, slopes and pooled ratios have intervals in which what trials
share drops out.

**Error rates.** Data are looked at `LOOKS` times, and a search stops when its order is decided.
Each look is held to the nominal level that keeps 5 % over all of them (Pocock 1977, for the
normal distribution, applied to Student's p-values). A p-value here is the chance that any of the
looks would give so small a nominal one. Within one family, scheme, training and tolerated loss,
p-values are corrected for how many nonidealities are looked at (Holm 1979).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from artifact.statistics import LEVEL, Estimate, holm, sequential_p
from artifact.studies.common import PAIR
from artifact.studies.limits import CONFIDENCE, DELTA, DELTAS, LOOKS, Curve, curves
from artifact.studies.nonidealities import NONIDEALITIES
from nvlib.quantizers import Precision

#: The ratio of two limits, as weights of their logarithms.
RATIO = dict(zip(PAIR, (1.0, -1.0), strict=True))
#: Level at which a search is content, so that Holm's correction over five leaves it decided.
CONTENT = LEVEL / 5

STRICTER, LOOSER, CONTRADICTORY, UNDECIDED = "stricter", "looser", "contradictory", "undecided"


def decided(table: pd.DataFrame) -> bool:
    """Whether the order of the two precisions of a table needs no more trials."""
    found = list(curves(table).values())
    names = list(dict.fromkeys(table["precision"]))
    ratio = _contrast(dict(zip(names, found, strict=True)), {names[0]: 1, names[1]: -1}, DELTA)
    return sequential_p(ratio.p_value(), LOOKS) <= CONTENT


def _contrast(found: dict[str, Curve], weights: dict[str, float], delta: float) -> Estimate:
    return Estimate.weighted([(w, found[name].estimate(delta)) for name, w in weights.items()])


def slope_weights(precisions: list[str]) -> dict[str, float]:
    """The factor for each weight bit over several precisions, as weights of logarithms.

    Examples
    --------
    >>> slope_weights(["W2A2", "W4A3"])
    {'W2A2': -0.5, 'W4A3': 0.5}
    """
    bits = np.array([Precision.parse(name).weight_bits for name in precisions], float)
    centred = bits - bits.mean()
    return dict(zip(precisions, (centred / (centred**2).sum()).tolist(), strict=True))


def contrasts(
    table: pd.DataFrame, weights: dict[str, float], deltas: tuple[float, ...] = (DELTA,)
) -> pd.DataFrame:
    """A weighted sum of ln(limit) over precisions, for every nonideality C3 rests on, and pooled.

    Parameters
    ----------
    table : DataFrame
        Tidy; precisions, or nonidealities, that it lacks are left out.
    weights : dict of precision to float
        See `RATIO`, `slope_weights`.

    Returns
    -------
    DataFrame
        Columns family, scheme, training, delta_points, nonideality ("pooled" is the geometric
        mean of the family), factor, lower, upper (95 %), p (over all looks), p_holm and order:
        "stricter" where p_holm is at most 5 % and the factor below 1, "looser" above it.
    """
    found, rows = curves(table), []
    for (scheme, training), part in table.groupby(["scheme", "training"], sort=False):
        complete = part.groupby("nonideality", sort=False)["precision"].agg(set)
        names = [name for name, has in complete.items() if set(weights) <= has]
        for family in dict.fromkeys(NONIDEALITIES[name].family for name in names):
            counted = [
                name for name in names
                if NONIDEALITIES[name].family == family and NONIDEALITIES[name].counted
            ]  # fmt: skip
            for delta in deltas if counted else ():
                ratios = {
                    name: _contrast(
                        {p: found[name, scheme, training, p] for p in weights}, weights, delta
                    )
                    for name in counted
                }  # fmt: skip
                first = {"family": family, "scheme": scheme, "training": training,
                         "delta_points": delta}  # fmt: skip
                rows += _judged(first, ratios)
    return pd.DataFrame(rows)


def _judged(first: dict[str, object], ratios: dict[str, Estimate]) -> list[dict[str, object]]:
    p = [sequential_p(ratio.p_value(), LOOKS) for ratio in ratios.values()]
    pooled = Estimate.weighted([(1 / len(ratios), ratio) for ratio in ratios.values()])
    p_pooled = sequential_p(pooled.p_value(), LOOKS)
    named = [*ratios.items(), ("pooled", pooled)]
    rows = []
    for (name, ratio), single, corrected in zip(
        named, [*p, p_pooled], [*holm(p), p_pooled], strict=True
    ):
        lower, upper = ratio.interval(CONFIDENCE)
        order = UNDECIDED if corrected > LEVEL else STRICTER if ratio.value < 0 else LOOSER
        rows.append(
            {**first, "nonideality": name, "factor": np.exp(ratio.value), "lower": np.exp(lower),
             "upper": np.exp(upper), "p": single, "p_holm": corrected, "order": order}
        )  # fmt: skip
    return rows


def ratios(table: pd.DataFrame, deltas: tuple[float, ...] = (DELTA,)) -> pd.DataFrame:
    """Limits of the first of `PAIR` over those of the second; see `contrasts`."""
    return contrasts(table, RATIO, deltas)


def slopes(table: pd.DataFrame, deltas: tuple[float, ...] = (DELTA,)) -> pd.DataFrame:
    """Factor that limits change by for each weight bit, over all precisions; see `contrasts`."""
    return contrasts(table, slope_weights(list(dict.fromkeys(table["precision"]))), deltas)


def verdict(orders: list[str], pooled: str) -> str:
    """What a family says: its pooled order, unless single orders contradict each other or it.

    Examples
    --------
    >>> verdict(["stricter", "undecided"], "stricter"), verdict(["stricter", "looser"], "stricter")
    ('stricter', 'contradictory')
    """
    found = {*orders, pooled} - {UNDECIDED}
    return CONTRADICTORY if len(found) > 1 else pooled


def verdicts(contrasted: pd.DataFrame) -> pd.DataFrame:
    """One row for each family, scheme, training and tolerated loss: pooled factor and verdict."""
    rows = []
    keys = ["family", "scheme", "training", "delta_points"]
    for key, part in contrasted.groupby(keys, sort=False):
        single = part[part["nonideality"] != "pooled"]
        pooled = part[part["nonideality"] == "pooled"].iloc[0]
        counts = {order: int((single["order"] == order).sum())
                  for order in (STRICTER, LOOSER, UNDECIDED)}  # fmt: skip
        rows.append(
            {**dict(zip(keys, key, strict=True)), "pooled": pooled["factor"],
             "lower": pooled["lower"], "upper": pooled["upper"], **counts,
             "verdict": verdict(list(single["order"]), pooled["order"])}
        )  # fmt: skip
    return pd.DataFrame(rows)


def by_tolerance(table: pd.DataFrame) -> pd.DataFrame:
    """Verdicts at every tolerated loss of `DELTAS`."""
    return verdicts(ratios(table, DELTAS))
