"""Figures of tolerated imperfections."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from artifact.figures.style import COLOURS, MARKERS, PAGE, log_ticks, new_figure


def requirements(losses: pd.DataFrame, limits: pd.DataFrame, delta: float) -> Figure:
    """Loss of accuracy against the size of each imperfection of a family; limits marked."""
    kinds = list(dict.fromkeys(losses["nonideality"]))
    lines = -(-len(kinds) // 3)
    figure, panels = new_figure(PAGE, 1.95 * lines + 0.3, lines, 3, squeeze=False)
    for axes in panels.ravel()[len(kinds) :]:
        axes.axis("off")
    for place, kind in enumerate(kinds):
        axes = panels.ravel()[place]
        found = limits[limits["nonideality"] == kind].drop_duplicates("precision")
        for name, curve in losses[losses["nonideality"] == kind].groupby("precision", sort=False):
            colour = COLOURS[name]
            curve = curve.sort_values("size")
            axes.plot(curve["size"], curve["loss"], color=colour, marker=MARKERS[name], label=name)
            axes.fill_between(
                curve["size"], curve["loss_lower"], curve["loss_upper"],
                color=colour, alpha=0.15, lw=0,
            )  # fmt: skip
        for row in found[found["bound"] == "="].itertuples():
            axes.plot(row.limit, delta, "|", color=COLOURS[row.precision], ms=9, mew=1.6)
        axes.axhline(delta, ls=":", lw=0.8, color="black")
        unit = found["unit"].iloc[0]
        axes.set(
            title=kind, xlabel=unit, yscale="symlog", ylim=(-0.6, 30), xscale="log",
            ylabel="" if place % 3 else "loss (points)",
        )  # fmt: skip
        if unit.startswith("bit"):
            axes.set(xscale="linear")
        if "least" in unit:
            axes.invert_xaxis()  # severity grows to the right in every panel
        if unit.startswith(("bit", "rows")):
            sizes = sorted(set(losses.loc[losses["nonideality"] == kind, "size"].astype(int)))
            axes.set_xticks(sizes, map(str, sizes))
        elif "s after" not in unit:
            ticks = log_ticks(*sorted(axes.get_xlim()))
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_yticks([0, 1, 10], ["0", "1", "10"])
    handles, names = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=6)
    return figure


def trend(orders: pd.DataFrame, high: str = "W8A8", low: str = "W4A3") -> Figure:
    """Limit of one precision over another's, by imperfection, in each of its units."""
    figure, axes = new_figure(PAGE, 0.23 * len(orders) + 0.7)
    colours = {"stricter": "#D55E00", "looser": "#0072B2", "undecided": "#999999"}
    for place, row in enumerate(orders.itertuples()):
        axes.errorbar(
            row.factor, -place, xerr=[[row.factor - row.lower], [row.upper - row.factor]],
            color=colours[row.order], marker={"stricter": "<", "looser": ">"}.get(row.order, "o"),
            capsize=2,
        )  # fmt: skip
    axes.axvline(1, color="black", lw=0.8)
    names = [f"{row.nonideality}\u2002[{row.unit}]" for row in orders.itertuples()]
    axes.set_yticks(-np.arange(len(orders)), names)
    axes.set(
        xscale="log", xlabel=f"limit of {high} / limit of {low} (below 1: {high} is stricter)",
        xlim=(max(orders["lower"].min() / 1.5, 0.01), min(orders["upper"].max() * 1.5, 200)),
    )  # fmt: skip
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    return figure
