"""Whether a conclusion holds elsewhere too, on real devices or for a harder task: yes, no, open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from artifact.studies.trends import UNDECIDED

YES, NO, OPEN = "yes", "no", UNDECIDED


def same(one: str, other: str) -> str:
    """Whether two places say the same, unless one of them says nothing.

    Examples
    --------
    >>> same("W4A3", "W4A3"), same("W4A3", "W8A8"), same("yes", "undecided")
    ('yes', 'no', 'undecided')
    """
    return OPEN if OPEN in (one, other) else YES if one == other else NO


def pick(good: np.ndarray, names: Sequence[str]) -> pd.Series:
    """Share of the draws that pick each name, "none" too, the most often picked first.

    Parameters
    ----------
    good : ndarray of bool, shape (names, draws)
        What is good enough; the first of these is picked, so names come cheapest first.

    Examples
    --------
    >>> pick(np.array([[True, False, False], [True, True, False]]), ["W4A3", "W8A8"]).to_dict()
    {'W4A3': 0.3333333333333333, 'W8A8': 0.3333333333333333, 'none': 0.3333333333333333}
    """
    picked = np.where(good.any(axis=0), np.array(names)[good.argmax(axis=0)], "none")
    return pd.Series(picked).value_counts(normalize=True)


def trend_told(row: Mapping[str, Any]) -> str:
    """Verdict on a trend and its pooled ratio, a row of `trends.verdicts`.

    Examples
    --------
    >>> trend_told({"verdict": "stricter", "pooled": 0.5, "lower": 0.4, "upper": 0.625})
    'stricter (0.50 [0.4, 0.62])'
    """
    return f"{row['verdict']} ({row['pooled']:.2f} [{row['lower']:.2g}, {row['upper']:.2g}])"


def counted(
    what: str, names: Sequence[str], words: Sequence[str], verbs: Mapping[str, tuple[str, str]]
) -> str:
    """How many of `what` have each word, and which: verbs are of one and of several.

    Examples
    --------
    >>> verbs = {YES: ("survives", "survive"), NO: ("does not", "do not")}
    >>> counted("conclusions", ["C2", "C3a", "C3b"], [YES, NO, YES], verbs)
    'Of 3 conclusions 2 survive (C2, C3b), 1 does not (C3a).'
    """
    parts = []
    for word, (one, more) in verbs.items():
        mine = [name for name, said in zip(names, words, strict=True) if said == word]
        if mine:
            parts.append(f"{len(mine)} {one if len(mine) == 1 else more} ({', '.join(mine)})")
    return f"Of {len(names)} {what} {', '.join(parts)}."
