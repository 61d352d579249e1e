"""Paper beside ours: what each claim says, what was measured, and the verdict."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import yaml

from artifact.paths import EXPECTED
from artifact.record import AlteredError, Record, committed
from artifact.studies import trends
from nvlib.energy import AdcLaw

CLAIMS_FILE = "claims.json"
REPRODUCED, TREND, FAILED = "reproduced", "reproduced as trend", "not reproduced"
#: The data are too few to tell; never a failure.
UNDECIDED = "undecided"
INCOMPARABLE = "not comparable"
INTERVAL = "95 % interval"
FAMILIES = {"C3a": "device", "C3b": "nonlinearity"}
SCHEMES = {"differential": "differential pairs", "offset": "offset columns",
           "twos-complement": "two's-complement slices",
           "mixed": "slices of mixed width",
           "signed-digit": "signed digits"}  # fmt: skip
RECIPES = {"qat": "quantization-aware training", "ptq": "quantization after training",
           "plain": "plain training"}  # fmt: skip


@lru_cache(maxsize=1)
def expected() -> dict[str, dict[str, Any]]:
    """The paper's claims by id, from ``expected/claims.yaml``."""
    entries = yaml.safe_load((EXPECTED / "claims.yaml").read_text(encoding="utf-8"))
    return {entry["id"]: entry for entry in entries}


def paper(claim: str) -> Any:
    """The paper's value of a claim."""
    return expected()[claim]["paper"]


def line(
    name: str, dataset: str, measured: Any, verdict: str,
    lower: float | None = None, upper: float | None = None, interval: str = "", note: str = "",
) -> dict[str, Any]:  # fmt: skip
    """One line of the claims, as it is written."""
    return {
        "id": name, "paper": paper(name), "measured": measured, "lower": lower, "upper": upper,
        "interval": interval, "dataset": dataset,
        "verdict": verdict if dataset == "mnist" else INCOMPARABLE, "note": note,
    }  # fmt: skip


def judge_trend(claim: str, table: pd.DataFrame, delta: float) -> list[dict[str, Any]]:
    """C3a or C3b: by which mapping of weights the higher precision is stricter.

    The abstract names no mapping. With quantization-aware training: reproduced as trend if W8A8 is
    stricter than W4A3 under at least one scheme and looser under none; not reproduced if every
    scheme decides against it; else undecided, also where schemes contradict each other, since
    which of them the paper speaks of is not known. What the other recipes say stands in the note.

    Parameters
    ----------
    table : DataFrame
        Trials of the claim's nonidealities, tidy.
    """
    ratios = trends.ratios(table, (delta,))
    ratios = ratios[ratios["family"] == FAMILIES[claim]]
    found = trends.verdicts(ratios)
    today = found[found["training"] == "qat"]
    said = list(today["verdict"])
    against = {trends.LOOSER, trends.CONTRADICTORY}
    verdict = TREND if trends.STRICTER in said and not against & set(said) else UNDECIDED
    if said and set(said) <= against:
        verdict = FAILED
    measured = "; ".join(_scheme_told(row) for row in today.itertuples())
    notes = [
        f"{RECIPES[row.training]}: {_scheme_told(row)}"
        for row in found[found["training"] != "qat"].itertuples()
    ]
    singles = ratios[ratios["nonideality"] != "pooled"]
    notes += [f"pooled with {SCHEMES[scheme]}: {', '.join(dict.fromkeys(part['nonideality']))}"
              for scheme, part in singles.groupby("scheme", sort=False)]  # fmt: skip
    notes += [
        f"{SCHEMES[row.scheme]}, {RECIPES[row.training]}, {row.nonideality}: {row.order}"
        for row in singles.itertuples()
    ]
    interval = (
        "95 % of the geometric mean of the ratios of limits, W8A8 over W4A3, over training seeds, "
        "chips and images"
    )
    dataset = str(table["dataset"].iloc[0])
    return [line(claim, dataset, measured, verdict, interval=interval, note="; ".join(notes))]


def headline(table: pd.DataFrame, claim: str, delta: float) -> str:
    """What the schemes say of a trend, in the few words of a figure's title."""
    found = trends.verdicts(trends.ratios(table, (delta,)))
    today = found[(found["training"] == "qat") & (found["family"] == FAMILIES[claim])]
    told = {
        verdict: " and ".join(SCHEMES[scheme] for scheme in group["scheme"])
        for verdict, group in today.groupby("verdict", sort=False)
    }
    if len(told) == 1:
        return f"{next(iter(told))} with every mapping of weights"
    return "; ".join(f"{verdict} with {schemes}" for verdict, schemes in told.items())


def without_one(table: pd.DataFrame, claim: str, delta: float) -> str:
    """How far a trend rests on single nonidealities: what is pooled, but for each in turn.

    Of quantization-aware training; a scheme with a single nonideality has nothing to leave out.
    """
    lines = []
    for scheme, part in table[table["training"] == "qat"].groupby("scheme", sort=False):
        ratios = trends.ratios(part, (delta,))
        members = ratios[(ratios["family"] == FAMILIES[claim])]["nonideality"].drop_duplicates()
        told = []
        for name in members[members != "pooled"] if len(members) > 2 else ():
            rest = trends.verdicts(trends.ratios(part[part["nonideality"] != name], (delta,)))
            row = rest[rest["family"] == FAMILIES[claim]].iloc[0]
            told.append(f"{row.verdict} without {name} {_ratio_told(row)}")
        if told:
            lines.append(f"With {SCHEMES[scheme]}: {', '.join(told)}.")
    return "\n".join(lines)


def _scheme_told(row: Any) -> str:
    return f"{row.verdict} with {SCHEMES[row.scheme]} {_ratio_told(row)}"


def _ratio_told(row: Any) -> str:
    return f"({row.pooled:.2f} [{row.lower:.2f}, {row.upper:.2f}])"


def judge_requirements(limits: pd.DataFrame, dataset: str) -> list[dict[str, Any]]:
    """C4: the table exists; the abstract gives no number to set beside it."""
    found = int((limits["bound"] == "=").sum())
    text = f"{found} limits found, {len(limits) - found} beyond what was tested (requirements.csv)"
    return [line("C4", dataset, text, INCOMPARABLE, note="the abstract gives no numbers")]


def mark_region(region: pd.DataFrame) -> pd.DataFrame:
    """Add which combinations give all four numbers, and which is the default hardware."""
    close = [
        (region[f"{column}_{name}"] - paper(f"{claim}_{name}")).abs()
        <= expected()[f"{claim}_{name}"]["tolerance"]
        for claim, column in (("C5", "adc_saving"), ("C6", "efficiency_gain"))
        for name in ("W8A8", "W4A3")
    ]
    law = AdcLaw()
    default = (
        (region["network"] == "lenet5") & (region["cell_bits"] == 1)
        & (region["inputs"] == "bit-serial") & (region["adc_rule"] == "B = W")
        & (region["design"] == law.design) & (region["partial"] == law.partial)
        & (region["mechanism"] == "all")
    )  # fmt: skip
    return region.assign(explains=np.logical_and.reduce(close), default=default)


def write(claims: list[dict[str, Any]], place: Record, origin: dict[str, str]) -> None:
    """Put claims into ``claims.json`` in place of those with the same id."""
    known = {claim["id"]: claim for claim in read(place)}
    for claim in claims:
        known[claim["id"]] = {
            k: v.item() if isinstance(v, np.generic) else v for k, v in claim.items()
        }
    ordered = [known[name] for name in expected() if name in known]
    place.write(CLAIMS_FILE, json.dumps(ordered, indent=1) + "\n", origin)


def read(place: Record | None = None) -> list[dict[str, Any]]:
    """Claims as they were judged there, or as they are recorded; none where none was.

    Examples
    --------
    >>> [claim["id"] for claim in read()][:2]
    ['C1', 'C2']
    """
    place = place or committed()
    if not (place.results / CLAIMS_FILE).is_file():
        return []
    return json.loads(place.read(CLAIMS_FILE))


def read_unaltered(place: Record | None = None) -> list[dict[str, Any]]:
    """As `read`; none where the file was altered.

    Examples
    --------
    >>> read_unaltered() == read()
    True
    """
    try:
        return read(place)
    except AlteredError:
        return []


def show(value: Any, claim: str) -> str:
    """A claim's value as people write it.

    Examples
    --------
    >>> show(0.9882, "C1"), show(2.98, "C6_W8A8"), show("W4A3", "C2")
    ('98.82 %', '2.98 x', 'W4A3')
    """
    if value is None or isinstance(value, str):
        return value or ""
    if expected()[claim]["unit"].startswith("share"):
        return f"{value:.2%}".replace("%", " %") if claim == "C1" else f"{100 * value:.1f} %"
    return f"{value:.2f} x"


def sentence(claims: list[dict[str, Any]]) -> str:
    """Each claim as measured, beside the paper's value where it can be, and the verdict.

    Examples
    --------
    >>> sentence([claim for claim in read() if claim["id"].startswith("C5")]).partition(",")[0]
    'C5 at W8A8: 80.0 % (paper: 79.0 %)'
    """
    told = []
    for claim in claims:
        name, value = claim["id"].replace("_", " at "), show(claim["measured"], claim["id"])
        if claim["dataset"] == "mnist":
            value += f" (paper: {show(claim['paper'], claim['id'])}), {claim['verdict']}"
        told.append(f"{name}: {value}")
    return f"{'; '.join(told)}."


def table(claims: list[dict[str, Any]]) -> pd.DataFrame:
    """Claims as a table to be read: claim, paper, ours, interval, verdict."""
    rows = []
    for claim in claims:
        name = claim["id"]
        bounds = [show(claim[side], name) for side in ("lower", "upper")]
        comparable = claim["dataset"] == "mnist"
        rows.append(
            {"claim": name, "what": expected()[name]["sentence"].split(":")[0],
             "paper": show(claim["paper"], name) if comparable else "(not set beside these)",
             "ours": show(claim["measured"], name),
             INTERVAL: " to ".join(bounds) if all(bounds) else "",
             "verdict": claim["verdict"]}
        )  # fmt: skip
    return pd.DataFrame(rows, columns=["claim", "what", "paper", "ours", INTERVAL, "verdict"])
