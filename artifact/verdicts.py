"""Verdicts on accuracy, compromise, savings and gains: C1, C2, C5 and C6; sentences from tables.

Every sentence is made of the table that it speaks of, so none can outlive its numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from artifact.claims import (
    FAILED,
    RECIPES,
    REPRODUCED,
    SCHEMES,
    UNDECIDED,
    expected,
    line,
    paper,
)
from artifact.studies import advantage, compromise, decomposition, one_hardware, schemes
from artifact.studies.common import PAIR
from artifact.studies.compromise import CONVERTER_LOSS
from artifact.studies.readings import MIXED
from artifact.studies.region import READING

#: Of the bootstrap, from which on a choice is certain.
CERTAIN = 0.95
#: Single choices that the notes on C5 and C6 name, and what a sentence calls them.
OTHERS = {
    "quantization after training": "quantization after training",
    "offset columns, 8 and 6 bits": "offset columns (8 and 6 bits)",
    "two's-complement slices": "two's-complement slices",
    "two's-complement slices of mixed width": "slices of mixed width",
    "column sums, digital zero skip": "column sums and digital zero skip alone",
}
#: Points below floating point at which C2 is judged; the others are shown beside it.
JUDGED = 0.5
FOUR = tuple(f"{what}_{name}" for what in ("saving", "gain") for name in PAIR)
CLAIM_OF = {"saving": "C5", "gain": "C6"}


def judge_accuracy(explained: pd.DataFrame, dataset: str) -> list[dict[str, Any]]:
    """C1, from `artifact.studies.precision.explains`: reproduced if one recipe gives it."""
    told = "; ".join(
        f"{mean:.2f} +- {spread:.2f} % {RECIPES[training]}"
        for training, mean, spread in zip(
            explained["training"], explained["mean (%)"], explained["spread (points)"].fillna(0),
            strict=True,
        )
    )  # fmt: skip
    verdict = REPRODUCED if explained["explains"].any() else FAILED
    interval = "mean +- standard deviation over training seeds"
    note = accuracy_sentence(explained, dataset)
    return [line("C1", dataset, told, verdict, interval=interval, note=note)]


def accuracy_sentence(explained: pd.DataFrame, dataset: str = "mnist") -> str:
    """Which recipe gives the paper's accuracy, and how easily any precision would.

    Of other digits than MNIST's the accuracies alone.
    """
    if dataset != "mnist":
        told = ", ".join(f"{mean:.2f} % with {RECIPES[name]}" for name, mean in _means(explained))
        return _sentence(f"of these digits W4A3 gets {told} right")
    star = 100 * paper("C1")
    parts = []
    for row in explained.to_dict("records"):
        word = "gives" if row["explains"] else "does not give"
        parts.append(
            f"{RECIPES[row['training']]} {word} the paper's {star:.2f} % at W4A3 "
            f"({row['mean (%)']:.2f} %, {row['distance (points)']:+.2f} points, two standard "
            f"deviations are {row['tolerance (points)']:.2f}; {row['passing']} of {row['among']} "
            "precisions would pass the same test)"
        )
    return _sentence("; ".join(parts))


def _means(explained: pd.DataFrame) -> list[tuple[str, float]]:
    return list(zip(explained["training"], explained["mean (%)"], strict=True))


def accuracy_title(explained: pd.DataFrame, dataset: str = "mnist") -> str:
    """How many recipes give the paper's accuracy; of other digits the accuracies."""
    if dataset != "mnist":
        low, high = explained["mean (%)"].min(), explained["mean (%)"].max()
        return f"W4A3 gets {low:.1f} to {high:.1f} % of these digits right, by recipe"
    given = explained["explains"].sum()
    return f"{given} of {len(explained)} recipes give the paper's accuracy at W4A3"


def judge_compromise(chips: pd.DataFrame, certain: pd.DataFrame) -> list[dict[str, Any]]:
    """C2: the cheapest within 0.5 points of float, on one chip, with differential pairs.

    Reproduced if the bootstrap picks W4A3 in 95 % of its samples under a recipe; not reproduced if
    it does so in at most 5 % under each; else these images and seeds are too few to say.
    """
    mine = certain[(certain["scheme"] == "differential") & (certain["tolerance"] == JUDGED)]
    told, shares = [], {}
    for training, group in mine.groupby("training", sort=False):
        most = compromise.reference(chips, training)
        pick = compromise.cheapest(
            compromise.choices(chips, training, "differential"), JUDGED, most
        )
        share = group.groupby("precision")["share"].sum()
        shares[training] = float(share.get(paper("C2"), 0.0))
        certainty = f"{share.get(pick, 0.0):.0%}".replace("%", " %")
        told.append(f"{pick} ({certainty}) {RECIPES[training]}")
    verdict = _by_share(max(shares.values()))
    dataset = str(chips["dataset"].iloc[0])
    interval = "share of bootstrap samples over training seeds and test images"
    picked = "; ".join(f"{share:.0%} {RECIPES[name]}" for name, share in shares.items())
    note = f"W4A3 in this share of the samples: {picked}. ".replace("%", " %")
    note += f"{tolerances_sentence(compromise_by_tolerance(certain))} "
    note += compromise_sentence(compromise.rules(chips))
    return [line("C2", dataset, "; ".join(told), verdict, interval=interval, note=note)]


def advantage_sentence(table: pd.DataFrame) -> str:
    """How large the advantages are on ideal hardware, and what became of them, by scheme.

    Parameters
    ----------
    table : DataFrame
        From `artifact.studies.advantage.advantages`.
    """
    if table.empty:
        return (
            "No two neighbouring precisions have two trials in common of training seeds whose "
            "accuracy on ideal hardware is known: too few to tell an advantage."
        )
    pairs = table.drop_duplicates(["precision", "over"])
    told = [f"{row.precision} over {row.over} {advantage.told_ideal(row)}"
            for row in pairs.itertuples()]  # fmt: skip
    lines = [_sentence(f"on ideal hardware, in points of accuracy: {', '.join(told)}")]
    for scheme, part in table.groupby("scheme", sort=False):
        counts = [f"{(part['outcome'] == outcome).sum()} {outcome}"
                  for outcome in advantage.OUTCOMES]  # fmt: skip
        half = (part["advantage_upper"] - part["advantage_lower"]).median() / 2
        decided = part["outcome"].isin((advantage.KEPT, advantage.GONE)).any()
        lines.append(
            f"With {SCHEMES[scheme]}, at the largest size that both precisions visited, of "
            f"{len(part)} advantages: {', '.join(counts)}. Half of their intervals are wider than "
            f"+- {half:.1f} points"
            + ("." if decided else ": too few trials to tell whether any is kept or gone.")
        )
    return "\n".join(lines)


def advantage_title(table: pd.DataFrame) -> str:
    """What became of the advantages of the precisions that claims speak of, pairs of cells."""
    mine = table[(table["scheme"] == "differential") & table["precision"].isin(PAIR)]
    told = []
    for (high, low), part in mine.groupby(["precision", "over"], sort=False):
        kinds = part.groupby("outcome", sort=False)["nonideality"].agg(" and ".join)
        words = [f"{outcome} with {names}" for outcome, names in kinds.items()]
        told.append(f"of {high} over {low}: {', '.join(words if words[1:] else kinds.index)}")
    return f"Advantage {'; '.join(told) or 'of a precision: too few trials in common to tell'}"


def _by_share(share: float) -> str:
    """Verdict on C2 by how often the bootstrap picks W4A3."""
    return REPRODUCED if share >= CERTAIN else FAILED if share <= 1 - CERTAIN else UNDECIDED


def compromise_by_tolerance(certain: pd.DataFrame) -> pd.DataFrame:
    """The verdict on C2 at every tolerance, under each recipe and scheme by itself.

    Returns
    -------
    DataFrame
        Columns training, scheme, tolerance, picked (most often) and its share, W4A3 (its share),
        verdict.
    """
    rows = []
    for keys, group in certain.groupby(["training", "scheme", "tolerance"], sort=False):
        shares = group.set_index("precision")["share"]
        w4a3 = float(shares.get(paper("C2"), 0.0))
        rows.append(
            dict(zip(("training", "scheme", "tolerance"), keys, strict=True))
            | {"picked": shares.idxmax(), "share": shares.max(), "W4A3": w4a3,
               "verdict": _by_share(w4a3)}
        )  # fmt: skip
    return pd.DataFrame(rows)


def tolerances_sentence(table: pd.DataFrame) -> str:
    """Where else than judged the verdict on C2 would be which, from `compromise_by_tolerance`."""
    counts = [f"{verdict} in {(table['verdict'] == verdict).sum()}"
              for verdict in (REPRODUCED, UNDECIDED, FAILED)]  # fmt: skip
    named = [
        f"{RECIPES[row.training]}, {SCHEMES[row.scheme]}, {row.tolerance:g} points"
        for row in table[table["verdict"] == REPRODUCED].itertuples()
    ]
    which = f" (reproduced: {'; '.join(named)})" if named else ""
    return _sentence(
        f"of {len(table)} combinations of recipe, mapping and tolerance, each taken by itself, it "
        f"would be {', '.join(counts)}{which}"
    )


def compromise_sentence(rules: pd.DataFrame) -> str:
    """How many rules pick W4A3 under each recipe and scheme."""
    parts = []
    for training, group in rules.groupby("training", sort=False):
        counts = [
            f"{(part['pick'] == paper('C2')).sum()} with {SCHEMES[scheme]}"
            for scheme, part in group.groupby("scheme", sort=False)
        ]
        parts.append(f"{RECIPES[training]} {', '.join(counts)}")
    total = rules["rule"].nunique()
    return _sentence(f"of {total} rules of decision, W4A3 is picked by: " + "; ".join(parts))


def compromise_title(judged: list[dict[str, Any]]) -> str:
    """What the judged rule picks under each recipe."""
    picks = [part.split()[0] for part in judged[0]["measured"].split("; ")]
    return f"The cheapest within {JUDGED:g} points of float is {', '.join(picks)}, by recipe"


def converters_title(kinds: pd.DataFrame) -> str:
    """W8A8 with plain converters of the fewest bits beside sparsity-aware ones of 8."""
    mine = kinds[kinds["precision"] == "W8A8"].set_index("converter")
    few, sparse = (
        f"{row['energy_nj']:.0f} nJ ({row['accuracy']:.2f} %)"
        for row in (mine.loc[compromise.FEWEST], mine.loc["8 bits, sparsity-aware"])
    )
    return (
        f"W8A8: {few} with plain converters of the fewest bits, {sparse} with sparsity-aware "
        "8-bit ones"
    )


def parts_title(steps: pd.DataFrame) -> str:
    """What the sense column is worth beyond what needs no sensing."""
    fair = steps[steps["against"] == decomposition.FAIR].set_index("precision")["gain"]
    told = " and ".join(f"{gain:.2f} x at {name}" for name, gain in fair.items())
    return f"Beyond column sums and digital zero skip, the sense column gains {told}"


def schemes_sentence(summary: pd.DataFrame) -> str:
    """Converters that each scheme needs, and which stated ones lose accuracy."""
    told = []
    for scheme, rows in summary.groupby("scheme", sort=False):
        stated, needed = (
            rows[rows["converters"] == kind].set_index("precision")
            for kind in (schemes.STATED, schemes.NEEDED)
        )
        bits = " and ".join(f"{needed.loc[name, 'bits']:.2g}" for name in PAIR)
        lost = [f"{row.loss:.1f} points at {row.Index} with {row.bits:g}"
                for row in stated.itertuples() if row.loss > CONVERTER_LOSS]  # fmt: skip
        told.append(
            f"{SCHEMES[scheme]} need {bits} bits"
            + (f", and lose {' and '.join(lost)}" if lost else "")
        )
    return _sentence(f"at {' and '.join(PAIR)}: " + "; ".join(told))


def schemes_title(summary: pd.DataFrame) -> str:
    """How many schemes give all four numbers of C5 and C6 with the converters as stated."""
    stated = summary[summary["converters"] == schemes.STATED]
    wide = stated.pivot(index="scheme", columns="precision", values=["saving", "gain"])
    wide.columns = [f"{what}_{name}" for what, name in wide.columns]
    near = _near(wide).all(axis=0)
    names = " and ".join(SCHEMES[scheme] for scheme in wide.index[near])
    which = f": {names}" if names else ""
    return f"{near.sum()} of {len(wide)} mappings give all four numbers with 8 and 4 bits{which}"


def draws_title(draws: pd.DataFrame) -> str:
    """How many draws give all four numbers."""
    near = _near(draws).all(axis=0).mean()
    return f"{near:.1%} of {_drawn(draws, 'sourced laws and constants')}, give all four numbers"


def _drawn(draws: pd.DataFrame, of: str) -> str:
    """How many draws there are, of what, and on how many networks each was counted."""
    networks = len(draws.drop_duplicates(["training", "seed"]))
    return f"{draws['draw'].nunique()} random draws of {of}, each on {networks} networks"


def region_sentence(region: pd.DataFrame) -> str:
    """How many combinations give the four numbers, and how many readings of the hardware."""
    found = region[region["explains"]]
    some, every = (len(table.drop_duplicates(READING)) for table in (found, region))
    return _sentence(
        f"{len(found)} of {len(region):,} combinations, counted on "
        f"{region['images'].iloc[0]:,} test images, give all four numbers, of {some} among {every} "
        "readings of the hardware"
    )


def judge_savings(
    table: pd.DataFrame, draws: pd.DataFrame, singles: pd.DataFrame
) -> list[dict[str, Any]]:
    """C5 and C6 from `artifact.studies.decomposition`: gross, with what speaks for and against.

    The verdict is on the default reading, whose laws were chosen in the knowledge of the paper.
    The interval is over training seeds and test images; the note has what is net of detection, the
    other recipe and schemes, and the share of laws and constants of the literature that give it.
    """
    judged = []
    seeds = table.loc[table["training"] == "qat", "seed"].nunique()
    for name in PAIR:
        measured = decomposition.intervals(table, name)
        for what in ("saving", "gain"):
            key = f"{CLAIM_OF[what]}_{name}"
            mean, lower, upper = measured[what]
            near = np.abs(draws[f"{what}_{name}"] - paper(key)) <= expected()[key]["tolerance"]
            drawn = _drawn(draws, "laws and constants of the literature")
            note = f"{near.mean():.0%} of {drawn}, give it"
            if what == "saving":
                left = measured["net"][0]
                note += f"; net of detection {left:.1%}: {_within(key, left)}"
            others = singles.set_index("choice")[f"{what}_{name}"]
            told = [f"{_shown(what, others[choice])} with {w}" for choice, w in OTHERS.items()]
            note += f". In place of the default, on one network: {'; '.join(told)}"
            dataset = str(table["dataset"].iloc[0])
            interval = f"95 % over {seeds} training seeds and images (bootstrap, widened to t)"
            judged.append(
                line(key, dataset, mean, _within(key, mean), lower, upper, interval,
                      _sentence(note))
            )  # fmt: skip
    order = list(expected())
    return sorted(judged, key=lambda entry: order.index(entry["id"]))


def _shown(what: str, value: float) -> str:
    return f"{value:.1%}" if what == "saving" else f"{value:.2f} x"


def savings_sentence(steps: pd.DataFrame) -> str:
    """What of the saving is static, digital and sensed, from `decomposition.steps`."""
    parts = []
    for name in PAIR:
        mine = steps[steps["precision"] == name]
        alone = mine[mine["against"] == "nothing"].set_index("mechanism")
        fair = mine[mine["against"] == decomposition.FAIR].iloc[0]
        static, digital, sensed = (
            alone.loc[mechanism, "saving"]
            for mechanism in ("column sums", decomposition.FAIR, "all, sensed")
        )
        parts.append(
            f"at {name} column sums that are fixed once written save {static:.0%} of the "
            f"converters' energy, with digital zero skip {digital:.0%}, with the sense column "
            f"{sensed:.0%}; against a baseline that has the first two the sense column is worth "
            f"{fair['gain']:.3f} x"
        )
    return _sentence("; ".join(parts))


def published_sentence(beside: pd.DataFrame) -> str:
    """What others state, and what the mechanism most like theirs saves here."""
    told = []
    for row in beside.to_dict("records"):
        ends = dict.fromkeys((f"{100 * row['least']:.3g}", f"{100 * row['most']:.3g}"))
        ours = " and ".join(f"{row[name]:.0%} at {name}" for name in PAIR)
        doubt = "" if row["checked"] == "abstract" else ", unchecked"
        told.append(f"{row['work']} states {' to '.join(ends)}% ({row['mechanism']}{doubt}), "
                    f"the mechanism most like it ({row['like']}) saves {ours}")  # fmt: skip
    return _sentence("; ".join([*told, "networks, precisions and baselines differ: no test"]))


def published_title(beside: pd.DataFrame) -> str:
    """How far published savings and ours reach."""
    ours = 100 * beside[list(PAIR)].to_numpy()
    return (f"Others state savings of {100 * beside['least'].min():.0f} to "
            f"{100 * beside['most'].max():.0f} %; the mechanisms most like theirs save "
            f"{ours.min():.0f} to {ours.max():.0f} % here")  # fmt: skip


def singles_table(singles: pd.DataFrame) -> pd.DataFrame:
    """Of each single choice the four numbers, how many are within tolerance, and a word for it."""
    held = _near(singles).sum(axis=0)
    word = np.where(held == len(FOUR), "keeps it", "breaks it")
    return singles[["choice", *FOUR]].assign(held=held, agreement=word)


def _near(table: pd.DataFrame) -> np.ndarray:
    """Which of the four numbers are within tolerance of the paper's: (4, rows)."""
    return np.stack(
        [(table[column] - paper(_key(column))).abs() <= expected()[_key(column)]["tolerance"]
         for column in FOUR]
    )  # fmt: skip


def _key(column: str) -> str:
    what, name = column.split("_")
    return f"{CLAIM_OF[what]}_{name}"


def hardware_sentence(ranked: pd.DataFrame) -> str:
    """Whether one hardware gives all claims, from `one_hardware.distances`; the nearest."""
    best, total = ranked.iloc[0], len(one_hardware.CLAIMS)
    among = ranked.drop_duplicates(["training", "scheme", "cell_bits", "memintelli", "low_bits"])
    missing = [name for name in one_hardware.CLAIMS if best[name] > 1]
    start = (
        f"of {len(ranked):,} combinations of {len(among)} hardwares with laws and constants, "
        f"{(ranked['held'] == total).sum()} give all {total} numbers and trends (a trend: W8A8 "
        f"loses more by two standard errors, to a proportional variation of {one_hardware.SIGMA:g} "
        f"or an INL of {one_hardware.INL_LSB:g} LSB)"
    )
    where = (
        f"{SCHEMES[best['scheme']]}, {RECIPES[best['training']]}, {best['cell_bits']}-bit cells, "
        f"8 and {best['low_bits']} bits"
    )
    end = f"; missing there: {', '.join(missing)}" if missing else ""
    return _sentence(f"{start}; the nearest ({where}) gives {best['held']}{end}")


def widths_sentence(ranked: pd.DataFrame) -> str:
    """How many claims slices of mixed width give, beside those of one width."""
    told = []
    for scheme in (MIXED, "twos-complement"):
        best = ranked[ranked["scheme"] == scheme].iloc[0]
        missing = [name for name in one_hardware.CLAIMS if best[name] > 1]
        lacks = f" (missing: {', '.join(missing)})" if missing else ""
        told.append(f"{SCHEMES[scheme]} give at most {best['held']}{lacks}")
    return _sentence(f"of the {len(one_hardware.CLAIMS)}, {'; '.join(told)}")


def the_paper() -> dict[str, float]:
    """The paper's numbers as `one_hardware.distances` takes them."""
    return {"accuracy": 100 * paper("C1")} | {column: paper(_key(column)) for column in FOUR}


def _within(key: str, measured: float) -> str:
    entry = expected()[key]
    return REPRODUCED if abs(measured - entry["paper"]) <= entry["tolerance"] else FAILED


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}.".replace("%", " %").replace("  %", " %")
