"""Tables, claims and figures: those that were recorded, and those that a run makes.

The record is what is committed: ``results/``, ``figures/``. A run writes to ``build/`` and leaves
the record as it is; `artifact.publish.promote` alone makes a record of a run. The embedded digits
and CIFAR-10 have folders of their own on both sides. Beside the tables, ``provenance.json`` holds
the hash and the origin of each file, and no file is read that it does not vouch for.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from artifact.paths import BUILD, FIGURES, NOTEBOOKS, RESULTS, ROOT
from artifact.provenance import COMMON
from nvlib.storage import write_text

PROVENANCE, RUN = "provenance.json", "run.json"
#: Of the deliberate faults: made by tests/faults.py, part of no run.
OF_TESTS = {"faults.csv"}


class AlteredError(ValueError):
    """A file is not what was written."""


@dataclass(frozen=True)
class Record:
    """Where tables, figures and executed notebooks lie, of one data set.

    Attributes
    ----------
    results, figures, notebooks : Path

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     mine = Record(*[Path(folder) / name for name in ("results", "figures", "notebooks")])
    ...     _ = mine.write_table("mine", pd.DataFrame({"x": [1]}), {"profile": "quick"})
    ...     mine.tables(), mine.origins()["mine.csv"]["profile"]
    (['mine'], 'quick')
    """

    results: Path
    figures: Path
    notebooks: Path

    def origins(self) -> dict[str, dict[str, str]]:
        """Hash and origin of each file, by its name; none where nothing was written yet."""
        return _read_json(self.results / PROVENANCE) or {}

    def tables(self) -> list[str]:
        """Names of the tables, in alphabetical order."""
        found = {path.name for path in self.results.glob("*.csv")} - OF_TESTS
        return sorted(name.removesuffix(".csv") for name in found)

    def pictures(self) -> Iterator[Path]:
        """Figures, as PNG and PDF, in alphabetical order."""
        return iter(sorted([*self.figures.glob("*.png"), *self.figures.glob("*.pdf")]))

    def is_of(self, origin: dict[str, str], *names: str) -> bool:
        """Whether files, all by default, are of the same code, profile, networks and data."""
        known = self.origins()
        entries = [known[name] for name in names or known]
        return all(entry[fact] == origin[fact] for entry in entries for fact in COMMON)

    def begin(self, origin: dict[str, str]) -> None:
        """Make it the place of a run; what is of other code, profile, networks or data goes first.

        So whatever lies there is of one run, or of several that a single one would equal.
        """
        last = _read_json(self.results / RUN) or {}
        if all(last.get(fact) == origin[fact] for fact in COMMON) and self.is_of(origin):
            known = self.origins()
            for path in self.results.glob("*.*"):  # a run that died may have left one unlisted
                vouched = known.get(path.name, {}).get("sha256") == _hash(path.read_bytes())
                if not vouched and path.name not in (PROVENANCE, RUN):
                    path.unlink()
            return
        for folder in (self.results, self.figures, self.notebooks):
            for path in folder.glob("*.*"):  # files; the embedded digits lie in a folder below
                path.unlink()
        write_text(self.results / RUN, _json(origin))

    def write(self, name: str, text: str, origin: dict[str, str]) -> Path:
        """Write a file, and its hash and origin to ``provenance.json``."""
        path = self.results / name
        entry = {"sha256": _hash(text.encode())} | origin
        write_text(path, text)
        write_text(self.results / PROVENANCE, _json(self.origins() | {name: entry}))
        return path

    def read(self, name: str) -> bytes:
        """Content of a file that is what ``provenance.json`` says.

        Raises
        ------
        FileNotFoundError
            If there is none.
        AlteredError
            If it was altered, or is not listed.
        """
        path = self.results / name
        if not path.is_file():
            raise FileNotFoundError(
                f"{_short(path)}: expected a file of an earlier run, found none; run ./run_all.sh, "
                "or restore it from git if it was committed"
            )
        content = path.read_bytes()
        expected = self.origins().get(name, {}).get("sha256", "no entry")
        found = _hash(content)
        if expected != found:
            raise AlteredError(
                f"{_short(path)}: expected SHA-256 {found} in {PROVENANCE}, found {expected}; "
                "the table was altered: restore both from git, or run ./run_all.sh"
            )
        return content

    def write_table(self, name: str, table: pd.DataFrame, origin: dict[str, str]) -> Path:
        """Write a table as CSV."""
        return self.write(f"{name}.csv", table.to_csv(index=False, lineterminator="\n"), origin)

    def read_table(self, name: str) -> pd.DataFrame:
        """A table, every number to its last bit.

        Examples
        --------
        >>> committed().read_table("precision_grid")["dataset"].unique().tolist()
        ['mnist']
        """
        return pd.read_csv(io.BytesIO(self.read(f"{name}.csv")), float_precision="round_trip")


def committed(dataset: str = "mnist") -> Record:
    """What was recorded and is committed.

    Examples
    --------
    >>> committed("embedded").results.relative_to(RESULTS).as_posix()
    'embedded'
    """
    own = "" if dataset == "mnist" else dataset
    return Record(RESULTS / own, FIGURES / own, NOTEBOOKS / own)


def of_run(dataset: str) -> Record:
    """What runs make, in ``build/``.

    Examples
    --------
    >>> of_run("mnist").results.relative_to(BUILD).as_posix()
    'results'
    """
    own = "" if dataset == "mnist" else dataset
    return Record(BUILD / "results" / own, BUILD / "figures" / own, BUILD / "notebooks" / own)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _short(path: Path) -> Path:
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def _json(entries: dict[str, Any]) -> str:
    return json.dumps(entries, indent=1, sort_keys=True) + "\n"


def _read_json(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
