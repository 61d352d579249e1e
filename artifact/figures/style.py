"""One style for all figures: sizes, colours, words, and marks that tell no more than is known.

A figure named ``x`` holds the two precisions that a claim speaks of (`MAIN`); the version with all
of them is its supplement, named ``supplement("x")``.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from nvlib.storage import write_whole

COLUMN, PAGE = 85 / 25.4, 178 / 25.4  # inches
#: One colour and marker per precision in every figure. All colours of a palette differ for readers
#: who see no green, and in a grey print: `artifact.figures.vision`.
COLOURS = {
    "W8A8": "#1B4F9C", "W6A6": "#67BDF0", "W4A4": "#00795A",
    "W4A3": "#DA7112", "W3A3": "#F2C3DC", "W2A2": "#000000",
}  # fmt: skip
MARKERS = dict(zip(COLOURS, "osD^vP", strict=True))
#: The precisions of the paper's claims.
MAIN = ("W8A8", "W4A3")
#: Of `nvlib.energy.COMPONENTS`, in their order.
COMPONENT_COLOURS = ("#1B4F9C", "#E69F00", "#00795A", "#F5EA70", "#CFCFCF", "#5E1200")
INK, QUIET, WARNING = "#1A1A1A", "#8A8A8A", "#B00000"
PALETTES = {"precisions": tuple(COLOURS.values()), "components": COMPONENT_COLOURS}
STYLE = {
    "font.size": 7.5, "axes.labelsize": 7.5, "axes.titlesize": 7.5, "legend.fontsize": 7,
    "xtick.labelsize": 7, "ytick.labelsize": 7, "axes.spines.top": False,
    "axes.spines.right": False, "pdf.fonttype": 42, "savefig.dpi": 300, "figure.dpi": 150,
    "lines.linewidth": 1.1, "lines.markersize": 3.5, "legend.frameon": False,
    "axes.grid": True, "axes.linewidth": 0.7, "grid.color": "#e5e5e5", "grid.linewidth": 0.5,
    "axes.axisbelow": True, "axes.titlelocation": "left", "mathtext.fontset": "dejavusans",
}  # fmt: skip
#: Words of tables as print has them.
_TYPESET = (
    (r"\bsigma\b", "σ"), (r"\bnu\b", "ν"), (r"\bdelta\b", "δ"), (r"\bG_(on|off)\b",
    r"$G_\\mathrm{\1}$"), (r"\bu(S|m)\b", r"µ\1"), (r"\+-", "±"), (r" x\b", " ×"), (r" - ", " − "),
    (r"(?<=\d)%", " %"), (r"\btwos-c", "two's-c"), (r"\b1e-06 to 0\.0001 S\b", "1 to 100 µS"),
)  # fmt: skip
LETTERS_PER_INCH = 13.6  # of an answer's type


def new_figure(
    width: float, height: float, *shape: int, title: str = "", **options: Any
) -> tuple[Figure, Any]:
    """A figure in the artifact's style, and its axes.

    Parameters
    ----------
    width, height : float
        In inches; `COLUMN` and `PAGE` are a journal's widths.
    *shape : int
        Rows and columns of axes.
    title : str
        The answer that the figure gives, in one sentence.
    **options
        Of `Figure.subplots`.
    """
    sns.set_theme(style="white", rc=STYLE)
    figure = plt.figure(figsize=(width, height), layout="constrained")
    # Axes and their legends lie in a figure of their own, so that title and note, which belong
    # to the outer one, never share a margin with a legend.
    body: Any = figure.subfigures(1, 1)
    if title:
        answer(figure, title)
    return figure, body.subplots(*(shape or (1, 1)), **options)


def answer(figure: Figure, title: str) -> None:
    """State the answer above the figure, on as many lines as its width asks for."""
    width = round(LETTERS_PER_INCH * figure.get_figwidth())
    text = re.sub(r"(?<=\d) (?=[%×])", "\u00a0", typeset(title))  # not at the end of a line
    lines = textwrap.wrap(text, width)
    while len(narrower := textwrap.wrap(text, width - 1)) == len(lines):
        lines, width = narrower, width - 1  # no last line of a single word
    shown = "\n".join(lines).replace("\u00a0", " ")
    figure.suptitle(shown, x=0.01, ha="left", fontsize=8.5, fontweight="bold", color=INK)


def note(figure: Figure, text: str) -> None:
    """Say below the figure what it must not be compared with."""
    figure.supxlabel(text, fontsize=7, color=WARNING)


def legend(figure: Figure, axes: Axes, side: str = "above") -> None:
    """Explain the marks of some axes outside of all data, on as many lines as the width asks for.

    Parameters
    ----------
    side : str
        ``"above"``, ``"below"`` or ``"right"`` of all axes.
    """
    body: Any = figure.subfigs[0]
    places = {"above": "outside upper left", "below": "outside lower left",
              "right": "outside right upper"}  # fmt: skip
    handles, names = axes.get_legend_handles_labels()
    for columns in range(1 if side == "right" else len(names), 0, -1):
        drawn = body.legend(handles, names, loc=places[side], ncols=columns)
        if drawn.get_window_extent().width <= body.bbox.width:
            return
        drawn.remove()


def typeset(text: str) -> str:
    """A table's words as print has them.

    Examples
    --------
    >>> print(typeset("sigma / G, 10 uS, +- 5"))
    σ / G, 10 µS, ± 5
    """
    for pattern, replacement in _TYPESET:
        text = re.sub(pattern, replacement, text)
    return text


def typeset_page(text: str) -> str:
    """As `typeset`, for a page: subscripts are HTML's.

    Examples
    --------
    >>> print(typeset_page("sigma / (G_on - G_off)"))
    σ / (G<sub>on</sub> − G<sub>off</sub>)
    """
    return re.sub(r"\$G_\\mathrm\{(\w+)\}\$", r"G<sub>\1</sub>", typeset(text))


def supplement(name: str) -> str:
    """Name of the figure that shows all precisions, beside the one named `name`.

    Examples
    --------
    >>> supplement("variation_tolerance")
    'variation_tolerance_all'
    """
    return f"{name}_all"


def paper_star(axes: Axes, x: float, y: float, label: str = "paper") -> None:
    """Mark the paper's value with the outline of a star, above clouds and below our marks."""
    halo = [withStroke(linewidth=2.4, foreground="white")]
    axes.plot(x, y, "*", ms=13, mfc="none", mec=INK, mew=0.9, ls="none", label=label, zorder=1.9,
              path_effects=halo)  # fmt: skip


def interval(
    axes: Axes, place: float, value: float, lower: float, upper: float,
    limits: tuple[float, float], colour: str, marker: str = "o", **options: Any,
) -> None:  # fmt: skip
    """Draw a value and its interval lying; what leaves the axis ends in an arrow at its edge.

    Parameters
    ----------
    place : float
        Position across.
    value, lower, upper : float
        Position along; infinite bounds leave the axis.
    limits : tuple of float
        Ends of the axis, which are set.
    """
    low, high = limits
    axes.set_xlim(low, high)
    ends = np.clip((lower, upper), low, high)
    axes.plot(ends, (place, place), color=colour, lw=1.1, zorder=2)
    for end, bound, outward in ((ends[0], lower, "<"), (ends[1], upper, ">")):
        mark = "|" if end == bound else outward
        axes.plot(end, place, mark, color=colour, ms=4, mew=1.1, zorder=2, clip_on=False)
    if low <= value <= high:
        axes.plot(value, place, marker, color=colour, zorder=3, **options)


def dots(axes: Axes, values: Sequence[float], names: Sequence[str], colours: Iterable[str]) -> None:
    """Draw values from top to bottom on a logarithmic axis as dots, the number beside each."""
    places = range(len(values))
    for place, value, colour in zip(places, values, colours, strict=True):
        axes.plot(value, place, "o", color=colour, ms=4.5)
        axes.annotate(f"{value:.3g}", (value, place), (5, 0), textcoords="offset points",
                      va="center", fontsize=7)  # fmt: skip
    axes.set_yticks(places, names)
    axes.set(xscale="log", ylim=(len(values) - 0.5, -0.5))
    axes.margins(x=0.12)


def direct_label(axes: Axes, x: float, y: float, text: str, colour: str, **options: Any) -> None:
    """Write a curve's name beside its end, in its colour."""
    style: dict[str, Any] = {"xytext": (4, 0), "va": "center", "fontsize": 7} | options
    axes.annotate(text, (x, y), textcoords="offset points", color=colour, **style)


def place_labels(axes: Axes, points: Sequence[tuple[float, float, str, str]]) -> None:
    """Write a text beside each point, on the side where it covers the least that is there.

    Nor is it nearer to another point that has a text. What coincides with an earlier label is not
    written.

    Parameters
    ----------
    points : sequence of (x, y, text, colour)
        The limits and scales of the axes are set.
    """
    axes.figure.canvas.draw()  # positions on paper
    scale = axes.figure.dpi / 72
    marks = []
    for line in axes.lines:
        path = line.get_transform().transform_path(line.get_path())
        drawn = line.get_linestyle() != "None" and np.size(line.get_xdata()) > 1
        marks.append(((path.interpolated(100) if drawn else path).vertices, 1 if drawn else 8))
    taken = [text.get_window_extent() for text in axes.texts]
    places = axes.transData.transform([point[:2] for point in points])
    for x, y, text, colour in {point[:3]: point for point in reversed(points)}.values():
        tried = []
        for dx, dy in ((5, -5), (5, 5), (-5, 5), (-5, -5), (0, 9), (0, -9), (8, 0), (-8, 0)):
            label = axes.annotate(
                text, (x, y), (dx, dy), textcoords="offset points", color=colour, fontsize=6.5,
                ha=("right", "center", "left")[np.sign(dx) + 1],
                va=("top", "center", "bottom")[np.sign(dy) + 1],
            )  # fmt: skip
            box = label.get_window_extent().padded(scale)
            covered = sum(100 * box.count_overlaps([other]) for other in taken)
            covered += sum(weight * box.count_contains(line) for line, weight in marks)
            centre = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
            own, *_ = np.hypot(*(axes.transData.transform([(x, y)]) - centre).T)
            covered += 60 * int((np.hypot(*(places - centre).T) < own - 1).any())
            outside = not (axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1
                           and axes.bbox.y0 <= box.y0 and box.y1 <= axes.bbox.y1)  # fmt: skip
            tried.append((covered + 40 * outside, label, box))
        best = min(tried, key=lambda entry: entry[0])
        for _, label, _ in tried:
            if label is not best[1]:
                label.remove()
        taken.append(best[2])


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers between two limits: few over decades, more within one."""
    for mantissas in ((1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        ticks = [m * 10.0**k for k in range(-6, 4) for m in mantissas]
        ticks = [float(f"{tick:g}") for tick in ticks if low <= tick <= high]
        if len(ticks) > 2:
            break
    return ticks


def save(
    figure: Figure, folder: Path, name: str, label: str, comparable: bool, metadata: dict[str, str]
) -> None:
    """Write ``name.png`` and ``.pdf`` to `folder`; mark what is not comparable with the paper."""
    if not comparable:
        note(figure, label)
    for suffix in ("png", "pdf"):
        info = {"Title": name, "Subject" if suffix == "pdf" else "Description": str(metadata)}
        write_whole(folder / f"{name}.{suffix}", partial(figure.savefig, metadata=info))
