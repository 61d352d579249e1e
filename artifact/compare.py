"""A run beside the record: claim by claim, table by table, and whether they agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from artifact import claims
from artifact.record import AlteredError, Record
from artifact.statistics import mean_interval
from artifact.studies import reality

#: Columns that say how a row was computed, wherever they stand in a table.
SIZES = ("dataset", "seed", "images", "cost_images", "chips", "trials", "delta_points")
#: Relative difference that another processor may make where floating-point layers are involved.
ROUNDING = 1e-9
#: A run, or a record, whose data decide nothing contradicts nothing.
TOO_SMALL = "too small to say"
#: Limits whose ratio is not known to within this factor are too small to say.
VAGUE = 2.0
#: Of fewer trials the spread is hardly known.
FEWEST = 5


def beside(recorded: Record, mine: Record) -> pd.DataFrame:
    """Recorded, yours, agrees: a row for each claim and table that a run made.

    Parameters
    ----------
    recorded, mine : Record
        Of the same data set.

    Returns
    -------
    DataFrame
        Empty where the run made nothing that could be compared.

    Examples
    --------
    >>> from artifact.record import committed
    >>> found = beside(committed(), committed())
    >>> set(found["agrees?"])
    {'yes'}
    """
    try:
        known, unknown = {claim["id"]: claim for claim in claims.read(recorded)}, "not recorded"
    except AlteredError:
        known, unknown = {}, "not comparable: the recorded ones were altered"
    rows = [_claim_row(known.get(claim["id"]), claim, unknown) for claim in claims.read(mine)]
    rows += [_table_row(name, recorded, mine) for name in mine.tables()]
    return pd.DataFrame(rows, columns=["what", "recorded", "yours", "agrees?"])


def counted(table: pd.DataFrame) -> str:
    """How many rows of `beside` agree, do not, or cannot be compared.

    Examples
    --------
    >>> counted(pd.DataFrame({"agrees?": ["yes", "NO: the verdict differs", TOO_SMALL]}))
    '1 agrees, 1 does NOT, 1 too small to say, 0 not comparable'
    """
    answers = table["agrees?"]
    yes, no, small = (int(answers.str.startswith(word).sum()) for word in ("yes", "NO", TOO_SMALL))
    rest = len(answers) - yes - no - small
    return (
        f"{yes} agree{'s' if yes == 1 else ''}, {no} do{'es' if no == 1 else ''} NOT, "
        f"{small} {TOO_SMALL}, {rest} not comparable"
    )


def as_text(table: pd.DataFrame) -> str:
    """`beside` for a terminal.

    Examples
    --------
    >>> print(as_text(pd.DataFrame({"what": ["claim C1"], "agrees?": ["yes"]})))
    what      agrees?
    claim C1  yes
    """
    words = table.map(lambda cell: "" if pd.isna(cell) else str(cell))
    lines = [list(table), *words.to_numpy().tolist()]
    lines = [[cell if len(cell) <= 48 else f"{cell[:45]}..." for cell in line] for line in lines]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def agree(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Whether two measurements of a claim say the same.

    Examples
    --------
    >>> wide = {"measured": 0.98, "verdict": "reproduced", "lower": 0.97, "upper": 0.99}
    >>> narrow = {"measured": 0.985, "verdict": "reproduced", "lower": 0.984, "upper": 0.986}
    >>> agree(wide, wide), agree(wide, narrow)
    ('yes', 'yes: intervals overlap')
    >>> agree(wide, narrow | {"lower": 0.991, "upper": 0.993})
    'NO: intervals do not overlap'
    >>> agree(wide, narrow | {"verdict": "undecided"})
    'too small to say'
    """
    if before["verdict"] == now["verdict"] and before["measured"] == now["measured"]:
        return "yes"
    if claims.UNDECIDED in {before["verdict"], now["verdict"]}:
        return TOO_SMALL
    if before["verdict"] != now["verdict"]:
        return "NO: the verdict differs"
    if before["lower"] is None or now["lower"] is None:
        judged = now["verdict"] != claims.INCOMPARABLE
        return "yes: the same verdict" if judged else "not comparable: it has no verdict"
    overlap = max(before["lower"], now["lower"]) <= min(before["upper"], now["upper"])
    return "yes: intervals overlap" if overlap else "NO: intervals do not overlap"


def networks(
    shipped: Mapping[str, Mapping[str, str]], trained: Mapping[str, Mapping[str, str]]
) -> pd.DataFrame:
    """Test accuracy (%) of networks that were trained again, beside that of the shipped ones.

    Parameters
    ----------
    shipped, trained : mapping
        Manifests of their folders; those whose accuracy both know are compared.

    Returns
    -------
    DataFrame
        A row for each kind of which several seeds were trained, one for all others together, and
        one for all: their number, mean and standard deviation of both, and what training again
        gained (points), with the 95 % interval of its mean over seeds. Networks of a seed begin
        with the same float network, so of a single seed there is no interval.

    Examples
    --------
    >>> before = {f"mnist/lenet5-W4A3-seed{k}.safetensors": {"test_accuracy": f"0.99{k}"}
    ...           for k in range(3)}
    >>> print(networks(before, before)[["networks", "count", "shipped", "gained"]])
                networks  count  shipped  gained
    0  mnist/lenet5-W4A3      3     99.1     0.0
    1                all      3     99.1     0.0
    """
    accuracy = "test_accuracy"
    both = [n for n in trained if accuracy in trained[n] and accuracy in shipped.get(n, {})]
    named = pd.Series(both, dtype=str).str.extract(r"(?P<kind>.*)-seed(?P<seed>\d+)")
    kinds = named["kind"]
    kinds = kinds.where(kinds.duplicated(keep=False), "others, one seed each")
    pairs = pd.DataFrame(
        {"networks": kinds, "seed": named["seed"]} | {
            side: [100 * float(entries[name][accuracy]) for name in both]
            for side, entries in (("shipped", shipped), ("trained", trained))
        }
    )  # fmt: skip
    rows = []
    for kind, of in (*pairs.groupby("networks"), ("all", pairs)):
        gained = (of["trained"] - of["shipped"]).groupby(of["seed"]).mean()
        row = {"networks": kind, "count": len(of)}
        for side in ("shipped", "trained"):
            row |= {side: of[side].mean(), f"{side}_sd": of[side].std()}
        ends = mean_interval(gained.to_numpy()) if len(gained) > 1 else (np.nan, np.nan)
        rows.append(row | {"gained": gained.mean(), "lower": ends[0], "upper": ends[1]})
    return pd.DataFrame(rows).round(6)


def common_points(before: pd.DataFrame, now: pd.DataFrame) -> tuple[int, int, str]:
    """How many rows of both have equal parameters, how many are equal, the worst that is not.

    Parameters stand first in a table: they are the first columns that tell its rows apart, and
    those of `SIZES`. All others are results.

    Examples
    --------
    >>> before = pd.DataFrame({"x": [1, 2], "images": 10, "y": [0.5, 0.25]})
    >>> common_points(before, before)
    (2, 2, '')
    >>> common_points(before, before.assign(y=[0.5, 0.5]))
    (2, 1, 'y is 0.5 for 0.25')
    >>> common_points(before, before.assign(images=20))
    (0, 0, '')
    """
    keys = _keys(before, now)
    results = [name for name in before if name not in keys and name in now]
    text = [k for k in keys if (before[k].dtype == object) != (now[k].dtype == object)]
    before, now = (table.astype(dict.fromkeys(text, str)) for table in (before, now))
    both = before.merge(now, on=keys, suffixes=("", " now"))
    same, worst, words = np.ones(len(both), bool), 0.0, ""
    for name in results:
        old, new = both[name], both[f"{name} now"]
        equal = ((old == new) | (old.isna() & new.isna())).to_numpy()
        same &= equal
        for place in np.flatnonzero(~equal):
            distance = _distance(old[place], new[place])
            if distance > worst:
                worst, words = distance, f"{name} is {_short(new[place])} for {_short(old[place])}"
    if worst and worst <= ROUNDING:
        words = f"rounding ({worst:.0e})"
    return len(both), int(same.sum()), words


def limits_agree(before: pd.DataFrame, now: pd.DataFrame) -> str:
    """Whether limits of two runs lie within their joint intervals.

    The logarithms of two limits may differ by the root of the sum of squares of their half
    intervals, widened so that among all the limits that are compared one in twenty runs would
    stray (Bonferroni). Limits beyond what was tested are not compared.

    Examples
    --------
    >>> known = pd.DataFrame({"nonideality": ["x", "y"], "bound": "=", "limit": [1.0, 1.0],
    ...                       "lower": [0.9, 0.1], "upper": [1.1, 9.0]})
    >>> limits_agree(known, known.assign(limit=[1.1, 5.0]))
    'yes: 1 limits within joint intervals, 1 too small to say'
    >>> limits_agree(known, known.assign(limit=[2.0, 5.0]))
    'NO: x is 2 for 1'
    """
    names = [n for n in ("nonideality", "scheme", "training", "precision") if n in before]
    both = before.merge(now, on=names, suffixes=("", "_now"))
    both = both[(both["bound"] == "=") & (both["bound_now"] == "=")]
    if both.empty:
        return "not comparable: no limits in common"
    if "trials" in both:
        both = both[both[["trials", "trials_now"]].min(axis=1) >= FEWEST]
    if both.empty:
        return TOO_SMALL
    half = [
        np.log(both[f"upper{which}"].astype(float) / both[f"lower{which}"].astype(float)).abs() / 2
        for which in ("", "_now")
    ]
    joint = np.hypot(*half) * stats.norm.isf(0.025 / len(both)) / stats.norm.isf(0.025)
    apart = np.log(both["limit_now"] / both["limit"]).abs()
    wrong = both[apart > joint]
    if len(wrong):
        row = wrong.loc[(apart / joint)[wrong.index].idxmax()]
        what = ", ".join(row[names])
        return f"NO: {what} is {row['limit_now']:g} for {row['limit']:g}"
    vague = int((np.hypot(*half) > np.log(VAGUE)).sum())
    if vague == len(both):
        return TOO_SMALL
    words = f"yes: {len(both) - vague} limits within joint intervals"
    return f"{words}, {vague} {TOO_SMALL}" if vague else words


def _claim_row(before: dict[str, Any] | None, now: dict[str, Any], unknown: str) -> dict[str, str]:
    return {
        "what": f"claim {now['id']}", "recorded": _told(before) if before else "",
        "yours": _told(now), "agrees?": agree(before, now) if before else unknown,
    }  # fmt: skip


def _told(claim: dict[str, Any]) -> str:
    value = claims.show(claim["measured"], claim["id"])
    return value if claim["verdict"] == claims.INCOMPARABLE else f"{value}, {claim['verdict']}"


def _table_row(name: str, recorded: Record, mine: Record) -> dict[str, str]:
    row = {"what": f"table {name}", "recorded": "", "yours": "", "agrees?": "not recorded"}
    now = mine.read_table(name)
    row["yours"] = f"{len(now)} rows"
    if name not in recorded.tables():
        return row
    try:
        before = recorded.read_table(name)
    except AlteredError:
        return row | {"agrees?": "not comparable: the recorded one was altered"}
    row["recorded"] = f"{len(before)} rows"
    return row | {"agrees?": _table_answer(name, before, now, recorded, mine)}


def _table_answer(
    name: str, before: pd.DataFrame, now: pd.DataFrame, recorded: Record, mine: Record
) -> str:
    origins = [place.origins()[f"{name}.csv"] for place in (recorded, mine)]
    for fact, what in (("data", "images"), ("checkpoints", "networks")):
        if origins[0][fact] != origins[1][fact]:
            return f"not comparable: other {what}"
    other = origins[0]["profile"] != origins[1]["profile"]
    profiles = f"not comparable: {origins[1]['profile']} for {origins[0]['profile']} profile"
    if other and "images" not in before:  # its rows do not say from how many images they are
        return profiles
    if list(before) != list(now):
        return "NO: the columns differ"
    if name == "reality":  # floats of a training round otherwise on another processor
        before, now = (table[table["step"] != reality.TUNED] for table in (before, now))
    count, same, words = common_points(before, now)
    if {"limit", "lower", "upper", "bound"} <= set(before) and same < max(len(before), len(now)):
        return limits_agree(before, now)
    if not other and count < max(len(before), len(now)):
        return f"NO: {words if words and not words.startswith('rounding') else 'other rows'}"
    if not other and same < count:
        return f"{'yes, to' if words.startswith('rounding') else 'NO:'} {words}"
    if count == 0:
        return profiles
    if same < count and not words.startswith("rounding"):
        return f"NO: {same} of {count} common rows; {words}"
    return "yes" if not other else f"yes: all {count} common rows"


def _keys(*tables: pd.DataFrame) -> list[str]:
    columns = list(tables[0])
    for end in range(1, len(columns) + 1):
        first = columns[:end]
        if not any(table.duplicated(first).any() for table in tables):
            break
    return first + [name for name in columns[end:] if name in SIZES]


def _distance(old: Any, new: Any) -> float:
    """Relative; infinite where one of both is no number."""
    try:
        scale = max(abs(float(old)), abs(float(new)))
        distance = abs(float(old) - float(new)) / scale
    except (TypeError, ValueError):
        return np.inf
    return distance if np.isfinite(distance) else np.inf


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 30 else f"{text[:27]}..."
