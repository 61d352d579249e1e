"""What of a run becomes the record: tables, claims, figures, and what documents quote of them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from artifact import claims
from artifact.data import OTHER_TASK
from artifact.figures.style import typeset, typeset_page
from artifact.paths import ROOT
from artifact.provenance import COMMON
from artifact.record import PROVENANCE, AlteredError, Record, committed
from artifact.studies import decomposition, harder, limits, schemes
from artifact.studies.common import PAIR
from artifact.studies.region import READING
from nvlib.storage import write_text, write_whole


class PromotionError(ValueError):
    """A run cannot become the record."""


def check_options(dataset: str, profile: str, partial: bool, retrained: bool) -> None:
    """Refuse, before any work, to record what would not be a complete run of the full profile.

    Of the embedded digits, which nothing is set beside, any profile is recorded.

    Raises
    ------
    PromotionError

    Examples
    --------
    >>> check_options("mnist", "full", partial=False, retrained=False)
    >>> check_options("mnist", "quick", partial=False, retrained=False)
    Traceback (most recent call last):
    ...
    artifact.publish.PromotionError: --record: expected the full profile, received quick; ...
    """
    if partial:
        raise PromotionError("--record: expected all notebooks, received --only; leave it out")
    if retrained:
        raise PromotionError(
            "--record: expected the shipped networks, received --retrain; ship the new ones in "
            "checkpoints/ and record without it"
        )
    if dataset != "embedded" and profile != "full":
        raise PromotionError(
            f"--record: expected the full profile, received {profile}; add --profile full"
        )


def one_origin(place: Record) -> dict[str, str]:
    """Code, profile, networks and data that every table and the claims have in common.

    Raises
    ------
    PromotionError
        If one was made from something else than the others, has no origin or was altered.

    Examples
    --------
    >>> sorted(one_origin(committed("embedded")))
    ['checkpoints', 'code', 'data', 'profile']
    """
    names = [f"{name}.csv" for name in place.tables()]
    if _dataset(place) != OTHER_TASK:  # claims are about digits
        names.append(claims.CLAIMS_FILE)
    for name in names:
        try:
            place.read(name)
        except (AlteredError, FileNotFoundError) as error:
            raise PromotionError(str(error)) from error
    origins = place.origins()
    for fact in COMMON:
        found: dict[str, list[str]] = {}
        for name in names:
            found.setdefault(origins[name][fact], []).append(name)
        if len(found) > 1:
            listed = "; ".join(
                f"{value[:12]}: {', '.join(sorted(of)[:3])}{' ...' if len(of) > 3 else ''}"
                for value, of in found.items()
            )
            raise PromotionError(
                f"{place.results.name}: expected one {fact} of all tables, received {listed}; "
                "run ./run_all.sh again, with all notebooks"
            )
    return {fact: origins[names[0]][fact] for fact in COMMON}


def promote(run: Record, record: Record) -> None:
    """Make a run the record: tables, claims and figures; files it does not have go.

    Of the embedded digits tables alone are kept.

    Raises
    ------
    PromotionError
        If its tables are not all of one origin.
    """
    one_origin(run)
    origins = run.origins()
    stale = [record.results / name for name in record.origins() if name not in origins]
    for name in origins:
        _copy(run.results / name, record.results / name)
    if _dataset(run) != "embedded":
        kept = {path.name for path in run.pictures()}
        stale += [path for path in record.pictures() if path.name not in kept]
        for path in run.pictures():
            _copy(path, record.figures / path.name)
    for path in stale:
        path.unlink(missing_ok=True)
    _copy(run.results / PROVENANCE, record.results / PROVENANCE)


def _dataset(place: Record) -> str | None:
    """What the tables are about; None where there are none."""
    return next((origin["dataset"] for origin in place.origins().values()), None)


def _copy(source: Path, target: Path) -> None:
    write_whole(target, lambda temporary: shutil.copyfile(source, temporary))


#: The figure that stands for the artifact.
PICTURE = "adc_reduction"
_MARKS = {
    claims.REPRODUCED: ("✓", "yes"),
    claims.TREND: ("≈", "partly"),
    claims.FAILED: ("✗", "no"),
    claims.UNDECIDED: ("?", "open"),
    claims.INCOMPARABLE: ("○", "open"),
}
_SHORT = {
    "C1": "W4A3 accuracy on MNIST", "C2": "W4A3 is the best compromise",
    "C3a": "more bits need better devices", "C3b": "more bits need better converters",
    "C4": "what hardware each precision needs", "C5_W8A8": "ADC energy saved at W8A8",
    "C5_W4A3": "ADC energy saved at W4A3", "C6_W8A8": "efficiency gained at W8A8",
    "C6_W4A3": "efficiency gained at W4A3",
}  # fmt: skip


def mark(claim: dict[str, Any]) -> tuple[str, str]:
    """A sign for the verdict on a claim, and yes, partly, no or open.

    Examples
    --------
    >>> mark({"verdict": "not reproduced"}), mark({"verdict": "undecided"})
    (('✗', 'no'), ('?', 'open'))
    """
    return _MARKS[claim["verdict"]]


def short(claim: str) -> str:
    """A claim in a few words.

    Examples
    --------
    >>> short("C2")
    'W4A3 is the best compromise'
    """
    return _SHORT[claim]


def answer(judged: list[dict[str, Any]]) -> str:
    """How many claims came out which way.

    Examples
    --------
    >>> answer([{"verdict": "not reproduced"}, {"verdict": "reproduced"}])
    'Of 2 claims of the abstract, 1 not reproduced, 1 reproduced.'
    """
    if not judged:
        return "No claim of the abstract was judged."
    verdicts = [claim["verdict"] for claim in judged]
    counts = ", ".join(
        f"{verdicts.count(verdict)} {verdict}" for verdict in dict.fromkeys(verdicts)
    )
    return f"Of {len(judged)} claims of the abstract, {counts}."


def answer_markdown() -> str:
    """The answer in as many lines as there are kinds of verdicts."""
    judged = claims.read()
    lines = []
    for verdict in dict.fromkeys(claim["verdict"] for claim in judged):
        of = [claim for claim in judged if claim["verdict"] == verdict]
        names = ", ".join(short(claim["id"]) for claim in of)
        lines.append(f"{mark(of[0])[0]} **{verdict}**: {names}.")
    return "  \n".join(lines)


def beside(claim: dict[str, Any]) -> str:
    """What was measured of a claim, and what the paper says; empty where those are its words.

    Examples
    --------
    >>> beside({"id": "C6_W8A8", "measured": 3.012, "paper": 2.98})
    '3.01 ×, paper 2.98 ×'
    """
    if claim["id"] in ("C3a", "C3b", "C4"):  # words of the claim itself
        return ""
    shown = [claims.show(claim[side], claim["id"]) for side in ("measured", "paper")]
    return typeset(", paper ".join(shown).replace("; ", ", "))


def claims_markdown() -> str:
    """The claims table in Markdown, for narrow windows: marks, short names, abbreviations."""
    rows = []
    for claim in claims.read():
        name = claim["id"]
        ours = claims.show(claim["measured"], name)
        if claim["lower"] is not None:
            ours += " [{}, {}]".format(*(claims.show(claim[k], name) for k in ("lower", "upper")))
        rows.append(
            {"claim": f"{mark(claim)[0]} {name.partition('_')[0]}: {short(name)}",
             "paper": claims.show(claim["paper"], name), "ours": _brief(ours)}
        )  # fmt: skip
    return pd.DataFrame(rows).map(typeset).to_markdown(index=False, disable_numparse=True)


def _brief(words: str) -> str:
    """What was measured, without ratios of trends and names of tables: the report has them.

    Examples
    --------
    >>> _brief("stricter with pairs (0.7 [0.5, 0.9]); stricter with slices (0.7 [0.6, 0.8])")
    'stricter with pairs, slices'
    >>> _brief("W4A3 (50 %) quantization after training; W2A3 (29 %) plain training")
    'W4A3 (50 %) PTQ, W2A3 (29 %) plain'
    """
    for recipe, abbreviation in (("ptq", "PTQ"), ("plain", "plain"), ("qat", "QAT")):
        words = words.replace(claims.RECIPES[recipe], abbreviation)
    told: dict[str, list[str]] = {}
    for part in re.sub(r" \(([\d.]+ \[[^\]]+\]|\w+\.csv)\)", "", words).split("; "):
        verdict, _, scheme = part.rpartition(" with ")
        told.setdefault(f"{verdict} with " if verdict else "", []).append(scheme)
    return "; ".join(verdict + ", ".join(schemes) for verdict, schemes in told.items())


def requirements_markdown() -> str:
    """Limits by nonideality and precision in Markdown: differential pairs, today's training."""
    table = limits.told_table(committed().read_table("requirements")).map(typeset_page)
    return table.to_markdown(index=False, disable_numparse=True)


def region_markdown() -> str:
    """How many configurations explain the paper's four numbers."""
    region = claims.mark_region(committed().read_table("region"))
    explains = region[region["explains"]]
    others = int((explains["network"] != "lenet5").sum())
    readings = len(explains.drop_duplicates(READING))
    return (
        f"{len(explains)} of {len(region):,} configurations give all four numbers within their "
        f"tolerances. They belong to {readings} of {len(region.drop_duplicates(READING))} readings "
        f"of the hardware, and {others} of them to another network: notebook 05 shows which."
    )


def conditions_markdown() -> str:
    """What C5 and C6 are without two of their conditions: gross savings, converters as stated."""
    known = committed()
    net = {p: decomposition.intervals(known.read_table("parts"), p)["net"][0] for p in PAIR}
    told = " and ".join(f"{100 * saving:.1f} % at {name}" for name, saving in net.items())
    needed = schemes.summary(known.read_table("schemes"))
    mine = (needed["scheme"] == "differential") & (needed["converters"] == schemes.NEEDED)
    row = needed[mine].set_index("precision").loc[PAIR[0]]
    return (
        "Two conditions decide. C5 is the saving before what detection takes; net of that it is "
        f"{told}. And with the {row['bits']:g}-bit converters that {PAIR[0]} needs to keep "
        f"its accuracy, it saves {100 * row['saving']:.1f} % and gains {row['gain']:.2f} ×. "
        "Notebook 05 shows both."
    )


def harder_markdown() -> str:
    """Whether the claims carry over to a deeper network and a harder data set."""
    told = harder.sentence(committed(OTHER_TASK).read_table("harder_claims"))
    return f"{harder.COLUMNS[1]} beside {harder.COLUMNS[0]}: {told} Notebook 10 has them all."


def appendix_markdown() -> str:
    """Claims with their figure, command, expected value and allowed variation in Markdown."""
    rows = []
    for claim in claims.read():
        entry = claims.expected()[claim["id"]]
        rows.append(
            {"claim": claim["id"], "figure": f"`{entry['figure']}`",
             "command": f"`{entry['command']}`",
             "expected here": typeset(claims.show(claim["measured"], claim["id"])),
             "verdict": claim["verdict"],
             "allowed": _allowed(entry)}
        )  # fmt: skip
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)


def retrained_markdown() -> str:
    """Accuracies (%) of networks that were trained again beside those of the shipped ones."""
    table = pd.read_csv(ROOT / "benchmarks" / "retrained.csv")
    rows = []
    for row in table.itertuples():
        ends = f" [{row.lower:+.2f}, {row.upper:+.2f}]" if row.lower < row.upper else ""
        rows.append(
            {"networks": row.networks, "number": row.count,
             "shipped (%)": f"{row.shipped:.2f} ± {row.shipped_sd:.2f}",
             "trained again (%)": f"{row.trained:.2f} ± {row.trained_sd:.2f}",
             "gained (points)": typeset(f"{row.gained:+.2f}{ends}")}
        )  # fmt: skip
    shown = pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)
    counts = table.set_index("networks")["count"]
    return (
        f"{shown}\n\nMean ± standard deviation over {counts['all']} networks of known accuracy, "
        f"{counts['others, one seed each']} of them\nof one seed. Intervals, 95 %, are over "
        "training seeds: networks of a seed begin with the same float network."
    )


def _allowed(entry: dict[str, Any]) -> str:
    if entry["kind"] == "tolerance":
        return f"± {entry['tolerance']:g} of the paper's; {entry['tolerance_source']}"
    return {
        "exact": "none",
        "spread": entry.get("tolerance_source", ""),
        "trend": "orders whose intervals separate",
    }[entry["kind"]]


def update() -> None:
    """Rewrite what stands between the marks."""
    _rewrite("README.md", {"answer": answer_markdown, "claims": claims_markdown,
                           "requirements": requirements_markdown,
                           "conditions": conditions_markdown,
                           "region": region_markdown, "harder": harder_markdown})  # fmt: skip
    _rewrite("ARTIFACT.md", {"expected": appendix_markdown, "retrained": retrained_markdown})


def _rewrite(document: str, parts: dict[str, Callable[[], str]]) -> None:
    path = ROOT / document
    text = path.read_text(encoding="utf-8")
    for name, content in parts.items():
        begin, end = f"<!-- {name}: generated by artifact.publish -->", f"<!-- end of {name} -->"
        if begin not in text or end not in text:
            raise PromotionError(
                f"{document}: expected the marks of the generated part {name}, found none; restore "
                "them from git"
            )
        before, rest = text.split(begin, 1)
        _, after = rest.split(end, 1)
        text = f"{before}{begin}\n{content()}\n{end}{after}"
    write_text(path, text)
