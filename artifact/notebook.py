"""What every notebook does: get its tables, show figures, set paper beside ours, check itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Markdown, display
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from artifact import claims, data, figures, provenance, record, sweep
from artifact.checkpoints import MANIFEST
from artifact.figures.style import typeset, typeset_page
from artifact.paths import ROOT
from artifact.studies.common import SHIPPED

_WORDS = claims.SCHEMES | claims.RECIPES | {
    "adc_saving": "ADC energy saved", "efficiency_gain": "efficiency gain (×)",
    "tops_per_watt": "TOPS/W", "tops_per_mm2": "TOPS/mm²",
    "energy_delay_nj_us": "energy × delay (nJ µs)",
}  # fmt: skip
_UNITS = {"nj": "nJ", "pj": "pJ", "points": "points"}


class CheckError(AssertionError):
    """A notebook's own check failed."""


class Top:
    """The place below a notebook's title, where its answers stand once they are known."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        waiting = Markdown("> The answer comes here when the notebook has run.")
        self.place = display(waiting, display_id=True)  # None where no notebook shows it

    def add(self, text: str) -> None:
        """Sentences more, each a paragraph."""
        self.lines += [line if line.endswith(".") else f"{line}." for line in text.splitlines()]
        if self.place is not None:
            self.place.update(_quoted("\n".join(self.lines)))


@dataclass(frozen=True)
class Session:
    """One notebook at work.

    Attributes
    ----------
    dataset : str
        ``"mnist"`` or ``"embedded"``; of a session `on` another task, its data set.
    recorded : bool
        Show the recorded tables and recompute a sample of them; else compute everything and
        write it to ``build``, where the notebooks that follow find it.
    profile : str
    jobs : int
    checkpoints : str
        Folder of the trained networks, relative to the artifact.
    cluster : str
        Address of a Dask scheduler, or empty.
    top : Top, optional
        What `answer` fills.
    """

    dataset: str
    recorded: bool
    profile: str
    jobs: int
    checkpoints: str
    cluster: str = ""
    top: Top | None = None

    def on(self, dataset: str, checkpoints: str, at_hand: bool) -> Session:
        """The same run on another task's data set, whose tables are a record of their own.

        Where its data are not at hand, the recorded tables are shown.
        """
        recorded = self.recorded or not at_hand
        return replace(self, dataset=dataset, checkpoints=checkpoints, recorded=recorded)

    @property
    def shown(self) -> record.Record:
        """What is shown where `recorded`: of digits MNIST's, whichever are at hand."""
        return record.committed("mnist" if self.dataset in data.DIGITS else self.dataset)

    def table(
        self,
        name: str,
        function: Callable[..., sweep.Point],
        points: list[sweep.Point],
        tidy: Callable[[pd.DataFrame], pd.DataFrame] = pd.DataFrame,
    ) -> pd.DataFrame:
        """A study's table: as recorded, or computed, made tidy and written to ``build``.

        What was recorded of another CSV than the points name is computed.
        """
        if self.recorded:
            table = self.shown.read_table(name)
            asked = {point["csv"] for point in points if "csv" in point}
            if asked <= set(table.get("csv", asked)):
                return table
            print(f"{name}: computed, for the recorded table is of another CSV")
        table = tidy(sweep.run(name, function, points, self.jobs, address=self.cluster))
        self.record(name, table)
        return table

    def recorded_table(self, name: str) -> pd.DataFrame:
        """Another notebook's table: of this run, else as recorded of the same data and networks."""
        if self.recorded:
            return self.shown.read_table(name)
        mine, known = record.of_run(self.dataset), record.committed(self.dataset)
        if name in mine.tables() and mine.is_of(self.provenance(), f"{name}.csv"):
            return mine.read_table(name)
        if self.checkpoints != SHIPPED or name not in known.tables():
            raise FileNotFoundError(
                f"{name}: expected a table of this run or a recorded one of {self.dataset} and the "
                "same networks, found neither; run ./run_all.sh without --only"
            )
        print(f"{name}: this run has none, so the recorded table stands in")
        return known.read_table(name)

    def record(self, name: str, table: pd.DataFrame) -> None:
        """Write a table to ``build``, unless recorded ones are shown."""
        if not self.recorded:
            record.of_run(self.dataset).write_table(name, table, self.provenance())

    def figure(self, figure: Figure, name: str, table: pd.DataFrame) -> None:
        """Show a figure; write it to ``build``, unless recorded tables are shown."""
        dataset = str(table["dataset"].iloc[0])
        label = data.LABELS[dataset]
        if not self.recorded:
            folder = record.of_run(self.dataset).figures
            figures.save(figure, folder, name, label, dataset == "mnist", self.provenance())
        elif dataset != "mnist":
            figures.note(figure, label)

    def answer(self, told: str | Figure) -> None:
        """Put what answers the notebook's question below its title, after earlier answers.

        Sentences, a paragraph for each line; or a figure, whose title is its answer.
        """
        if self.top is not None:
            title = told.get_suptitle() if isinstance(told, Figure) else ""
            self.top.add(" ".join(title.split()) if title else str(told))

    def claims(self, judged: list[dict[str, Any]]) -> None:
        """Show paper beside ours; write it to ``build``, unless recorded tables are shown."""
        if not self.recorded:
            claims.write(judged, record.of_run(self.dataset), self.provenance())
        display(readable(claims.table(judged)))

    def check_sample(
        self, name: str, function: Callable[..., sweep.Point], parameters: list[str], count: int = 2
    ) -> None:
        """Recompute a seeded sample of the table shown; raise where a result differs.

        Without MNIST at hand, the recorded table of the embedded digits is sampled.
        """
        if self.recorded and self.dataset in data.DIGITS:
            place = record.committed(data.load("auto").name)
        else:
            place = self.shown if self.recorded else record.of_run(self.dataset)
        table = place.read_table(name)
        sample = sweep.recompute_sample(function, table, parameters, count, seed=2022)
        wrong = [(point, before, now) for point, before, now in sample if not _same(before, now)]
        if wrong:
            point, before, now = wrong[0]
            raise CheckError(
                f"{name}: expected {before} at {point}, received {now}; the engine or the "
                "checkpoints changed: ./run_all.sh shows what else differs"
            )
        verdict(f"{name}: recomputed points equal the recorded ones", True)

    def provenance(self) -> dict[str, str]:
        """Where figures and tables of this notebook come from."""
        return provenance.of_run(self.dataset, self.profile, self.checkpoints)


def start(
    dataset: str = "auto",
    recorded: bool = True,
    profile: str = "standard",
    jobs: int = 2,
    checkpoints: str = SHIPPED,
    cluster: str = "",
) -> Session:
    """Begin a notebook; complain about its parameters before any work."""
    digits = data.load(dataset)
    if not digits.comparable and not recorded:
        print(digits.label)
    if not (Path(ROOT / checkpoints) / MANIFEST).is_file():
        raise FileNotFoundError(
            f"{checkpoints}: expected a folder of checkpoints in {ROOT}, found none; "
            "restore it from git, or train with ./run_all.sh --retrain"
        )
    return Session(digits.name, recorded, profile, jobs, checkpoints, cluster, Top())


def say(text: str) -> None:
    """Show sentences that were made of a table, a paragraph for each line of `text`.

    Examples
    --------
    >>> say("W4A3 gives 98.83 +- 0.15 %.")  # doctest: +SKIP
    """
    display(_quoted(text))


def _quoted(text: str) -> Markdown:
    """A block quote, a paragraph for each line of `text`."""
    lines = [typeset(f"{line[0].upper()}{line[1:]}") for line in text.splitlines()]
    return Markdown("\n>\n".join(f"> {line}" for line in lines))


def readable(table: pd.DataFrame, precision: int = 2, **forms: str) -> Styler:
    """A table in words: schemes and recipes by name, units as print has them, no bare index.

    Parameters
    ----------
    table : DataFrame
    precision : int
        Digits after the point.
    **forms : str
        How single columns are written, such as ``saving="{:.0%}"``.

    Examples
    --------
    >>> table = pd.DataFrame({"training": ["qat"], "saving": [0.5], "explains": [True]})
    >>> print(readable(table, saving="{:.1%}").to_string().strip())
    training saving explains
    quantization-aware training 50.0 % yes
    """
    shown = table.map(_word).rename(index=_label, columns=_label)
    shown = shown.rename_axis(index=_label, columns=_label)
    style = shown.style.format(precision=precision, na_rep="", thousands=",")
    for column, form in forms.items():
        write = partial(_written, form)
        style = style.format(write, na_rep="", subset=[_label(column)])
    unnamed = table.index.nlevels == 1 and table.index.name is None
    return style.hide(axis="index") if unnamed else style


def _written(form: str, value: Any) -> str:
    """A number in a format, its unit apart from it."""
    return typeset(form.format(value))


def _word(cell: Any) -> Any:
    """What a cell says, in words."""
    if isinstance(cell, bool | np.bool_):
        return "yes" if cell else "no"
    return typeset_page(_WORDS.get(cell, cell)) if isinstance(cell, str) else cell


def _label(label: Any) -> Any:
    """What a row, a column or an index is called, in words."""
    if isinstance(label, float):
        return f"{label:.3g}"
    if not isinstance(label, str):
        return label
    words = re.sub(r"_(nj|pj|points)$", lambda unit: f" ({_UNITS[unit[1]]})", label)
    return _word(words).replace("_", " ")


def verdict(what: str, holds: bool) -> None:
    """One fixed-width line of a check cell; raise if it does not hold.

    Examples
    --------
    >>> verdict("ideal chip equals the integer network", True)
    ideal chip equals the integer network ............................ ok
    """
    print(f"{what + ' ':.<66} {'ok' if holds else 'FAILED'}")
    if not holds:
        raise CheckError(f"expected: {what}; it does not hold, see the cells above")


def _same(before: dict[str, Any], now: dict[str, Any]) -> bool:
    for name, value in now.items():
        other = before[name]
        if isinstance(value, float):
            if not np.isclose(value, float(other), rtol=1e-9, atol=0, equal_nan=True):
                return False
        elif str(value) != str(other):
            return False
    return True
