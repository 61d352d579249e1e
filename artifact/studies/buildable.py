"""Whether a requirement can be built today: limits beside published devices and converters."""

from __future__ import annotations

import pandas as pd
import yaml

from artifact.paths import EXPECTED
from artifact.studies.common import PAIR
from artifact.studies.nonidealities import NONIDEALITIES
from nvlib.checks import require


def parts() -> pd.DataFrame:
    """Published parts from ``expected/parts.yaml``: part, nonideality, value, source.

    Examples
    --------
    >>> sorted(parts())
    ['nonideality', 'part', 'source', 'value']
    """
    found = pd.DataFrame(yaml.safe_load((EXPECTED / "parts.yaml").read_text(encoding="utf-8")))
    for name in found["nonideality"]:
        known = name in NONIDEALITIES and "least" not in NONIDEALITIES[name].unit
        require(known, "expected/parts.yaml", "nonidealities whose limits are upper ones", name,
                "correct its spelling")  # fmt: skip
    return found


def beside(limits: pd.DataFrame) -> pd.DataFrame:
    """Each published part beside the limits of its nonideality, at `PAIR`, for each scheme.

    Returns
    -------
    DataFrame
        Columns nonideality, part, has (its own value), unit, scheme, precision, limit, lower,
        upper, buildable ("yes" where the whole interval lies above what it has, "no" where below,
        else "undecided") and source.
    """
    chosen = limits[(limits["training"] == "qat") & limits["precision"].isin(PAIR)]
    both = parts().rename(columns={"value": "has"}).merge(chosen, on="nonideality")
    answer = pd.Series("undecided", both.index)
    answer[(both["lower"] > both["has"]) & (both["bound"] != "<")] = "yes"
    answer[(both["upper"] < both["has"]) & (both["bound"] != ">")] = "no"
    columns = ["nonideality", "part", "has", "unit", "scheme", "precision", "limit", "lower",
               "upper", "buildable", "source"]  # fmt: skip
    return both.assign(buildable=answer)[columns]
