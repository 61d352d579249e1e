"""Where each figure comes from: read off the notebooks, in the order of their story."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import nbformat

from artifact import figures
from artifact.paths import NOTEBOOKS

_READING = "**How to read it.**"


@dataclass(frozen=True)
class Origin:
    """Of one figure.

    Attributes
    ----------
    name : str
        Of its files.
    notebook, cell : str
        That draw it; the cell by its id.
    function : str
        Of `artifact.figures`, by its module and name.
    table : str
        The recorded table that it shows; empty where the notebook computes it.
    shows : str
        What is drawn, for those who do not see it: the first line of the function's docstring.
    reading : str
        How the notebook says to read it, in Markdown.
    """

    name: str
    notebook: str
    cell: str
    function: str
    table: str
    shows: str
    reading: str


def titles() -> dict[str, str]:
    """The question that each notebook asks, by its name, in order.

    Examples
    --------
    >>> titles()["05_adc_reduction"]
    'What do the zeros save, and what is it worth?'
    """
    found = {}
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        first = nbformat.read(path, 4).cells[0].source.splitlines()[0]
        found[path.stem] = first.removeprefix("# ").strip()
    return found


@lru_cache(maxsize=1)
def origins() -> tuple[Origin, ...]:
    """Every figure that a notebook saves, in order.

    Examples
    --------
    >>> {figure.name: figure.table for figure in origins()}["adc_reduction"]
    'energy'
    """
    paths = sorted(NOTEBOOKS.glob("*.ipynb"))
    return tuple(origin for path in paths for origin in _of_notebook(path))


def _of_notebook(path: Path) -> list[Origin]:
    cells = nbformat.read(path, 4).cells
    tables: dict[str, str] = {}
    drawn: dict[str, str] = {}
    found = []
    for place, cell in enumerate(cells):
        if cell.cell_type != "code":
            continue
        for node in ast.parse(cell.source).body:
            if isinstance(node, ast.Assign):
                _follow(node, tables, drawn)
            call = node.value if isinstance(node, ast.Expr) else None
            if isinstance(call, ast.Call) and _called(call) == "session.figure":
                picture, name, table = call.args
                used = _called(picture) or drawn.get(ast.unparse(picture), "")
                drawer = getattr(figures, used.removeprefix("figures."))
                found.append(Origin(
                    ast.literal_eval(name), path.stem, cell.id,
                    f"{drawer.__module__}.{drawer.__name__}", tables.get(ast.unparse(table), ""),
                    (drawer.__doc__ or "").splitlines()[0], _reading(cells[place + 1 :]),
                ))  # fmt: skip
    return found


def _called(node: ast.AST) -> str:
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


def _follow(node: ast.Assign, tables: dict[str, str], drawn: dict[str, str]) -> None:
    """What a variable holds after an assignment: a table, what was made of one, or a figure."""
    target, called = ast.unparse(node.targets[0]), _called(node.value)
    if called.startswith("figures."):
        drawn[target] = called
    elif called in ("session.table", "session.recorded_table"):
        assert isinstance(node.value, ast.Call)
        tables[target] = str(getattr(node.value.args[0], "value", ""))
    else:
        names = [each.id for each in ast.walk(node.value) if isinstance(each, ast.Name)]
        known = [tables[name] for name in names if name in tables]
        if known:
            tables[target] = known[0]


def _reading(cells: list[nbformat.NotebookNode]) -> str:
    """The paragraph on reading that follows a figure, before the next one is drawn."""
    for cell in cells:
        if cell.cell_type == "markdown":
            after = cell.source.partition(_READING)[2].strip()
            return re.split(r"\n\s*\n", after)[0] if after else ""
        if "session.figure" in cell.source:
            break
    return ""
