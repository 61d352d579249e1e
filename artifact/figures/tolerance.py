"""Figures of tolerated imperfections."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from artifact.claims import RECIPES, SCHEMES
from artifact.figures.style import (
    COLOURS,
    COLUMN,
    INK,
    MAIN,
    MARKERS,
    PAGE,
    interval,
    legend,
    log_ticks,
    new_figure,
    typeset,
)
from artifact.studies.nonidealities import NONIDEALITIES


def requirements(
    losses: pd.DataFrame, limits: pd.DataFrame, delta: float, answer: str,
    precisions: tuple[str, ...] = MAIN,
) -> Figure:  # fmt: skip
    """Loss of accuracy against the size of each nonideality, and the limits that follow.

    Of differential pairs and quantization-aware training. Of two precisions the limits are printed,
    and the panels are marked that a pooled answer counts.
    """
    losses, limits = _default(losses, precisions), _default(limits, precisions)
    kinds = list(dict.fromkeys(losses["nonideality"]))
    lines, few = -(-len(kinds) // 3), len(precisions) <= 2
    counted = [NONIDEALITIES[kind].counted for kind in kinds]
    size = PAGE, 1.95 * lines + 0.3
    figure, panels = new_figure(*size, lines, 3, title=answer, squeeze=False)
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
        for height, row in enumerate(found.itertuples()) if few else ():
            told = f"{row.bound.replace('=', '')} {row.limit:.3g}".strip()
            axes.text(0.03, 0.97 - 0.12 * height, told, color=COLOURS[row.precision], va="top",
                      transform=axes.transAxes)  # fmt: skip
        axes.axhline(delta, ls=":", lw=0.8, color="black")
        unit = found["unit"].iloc[0]
        axes.set(
            title=typeset(kind) + " (pooled)" * (few and counted[place] and not all(counted)),
            xlabel=typeset(unit), xscale="log", yscale="symlog", ylim=(-0.6, 30),
            ylabel="" if place % 3 else "loss (points, log above 2)",
        )  # fmt: skip
        if unit.startswith("bit"):
            axes.set(xscale="linear")
        if "least" in unit:
            axes.invert_xaxis()  # severity grows to the right in every panel
        if unit.startswith(("bit", "rows")):
            sizes = sorted(set(losses.loc[losses["nonideality"] == kind, "size"].astype(int)))
            axes.set_xticks(sizes, map(str, sizes))
        elif "days" not in unit:
            ticks = log_ticks(*sorted(axes.get_xlim()))
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_yticks([0, 1, 10], ["0", "1", "10"])
    panels[0, 0].plot([], [], "|", color=INK, ms=9, mew=1.6,
                      label="limit, printed" if few else "limit")  # fmt: skip
    panels[0, 0].plot([], [], ":", color="black", lw=0.8, label="tolerated loss")
    panels[0, 0].fill_between([], [], [], color=INK, alpha=0.15, lw=0, label="95 % interval")
    if len(kinds) < panels.size:  # in a place that is empty
        panels.ravel()[len(kinds)].legend(
            *panels[0, 0].get_legend_handles_labels(), loc="center left"
        )
    else:
        legend(figure, panels[0, 0], "below")
    return figure


def _default(table: pd.DataFrame, precisions: tuple[str, ...]) -> pd.DataFrame:
    shown = (table["scheme"] == "differential") & (table["training"] == "qat")
    return table[shown & table["precision"].isin(precisions)]


def trend(ratios: pd.DataFrame, answer: str) -> Figure:
    """Limit of W8A8 over that of W4A3: a line for each nonideality, a panel for each scheme."""
    schemes, recipes = (list(dict.fromkeys(ratios[name])) for name in ("scheme", "training"))
    kinds = list(dict.fromkeys(ratios["nonideality"]))
    figure, panels = new_figure(
        PAGE, 0.2 * len(kinds) * len(recipes) + 1.2, 1, len(schemes),
        title=answer, sharey=True, squeeze=False,
    )  # fmt: skip
    colours = {"stricter": "#DA7112", "looser": "#1B4F9C", "undecided": "#A9A9A9"}
    for axes, scheme in zip(panels[0], schemes, strict=True):
        for row in ratios[ratios["scheme"] == scheme].itertuples():
            place = -kinds.index(row.nonideality) - 0.3 * recipes.index(row.training)
            interval(
                axes, place, row.factor, row.lower, row.upper, (0.05, 5.0), colours[row.order],
                "os^"[recipes.index(row.training)],
                mfc=colours[row.order] if row.nonideality == "pooled" else "white",
            )  # fmt: skip
            axes.text(1.05, place, f"{row.factor:.2f}", va="center", fontsize=6.5,
                      transform=axes.get_yaxis_transform())  # fmt: skip
        axes.axvline(1, color="black", lw=0.8)
        axes.set(
            xscale="log", title=SCHEMES[scheme], xlabel="limit of W8A8 / limit of W4A3",
        )  # fmt: skip
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panels[0, 0].set_yticks(-np.arange(len(kinds)) - 0.15 * (len(recipes) - 1), kinds)
    for recipe, marker in zip(recipes, "os^", strict=False):
        panels[0, 0].plot([], [], marker, color=INK, mfc="white", label=RECIPES[recipe])
    for order, colour in colours.items():
        panels[0, 0].plot([], [], "-", color=colour, label=order)
    legend(figure, panels[0, 0], "below")
    return figure


def advantage(sizes: pd.DataFrame, answer: str) -> Figure:
    """Advantage in points over the next lower precision, against the size of each nonideality.

    Of differential pairs, at the precisions that claims speak of.

    Parameters
    ----------
    sizes : DataFrame
        From `artifact.studies.advantage.by_size`.
    """
    sizes = sizes[(sizes["scheme"] == "differential") & sizes["precision"].isin(MAIN)]
    kinds = list(dict.fromkeys(sizes["nonideality"]))
    if not kinds:
        figure, axes = new_figure(COLUMN, 1.2, title=answer)
        axes.text(0.5, 0.5, "nothing to draw", ha="center", va="center")
        axes.set_axis_off()
        return figure
    width = PAGE if len(kinds) > 1 else COLUMN
    figure, panels = new_figure(width, 2.5, 1, len(kinds), title=answer, sharey=True, squeeze=False)
    for axes, kind in zip(panels[0], kinds, strict=True):
        mine = sizes[sizes["nonideality"] == kind]
        visited = mine.loc[mine["size"] > 0, "size"]
        # Ideal hardware, whose size is 0, stands left of the smallest size on the logarithmic axis.
        breadth = visited.max() / visited.min()
        ideal = visited.min() / breadth**0.5
        for place, (name, curve) in enumerate(mine.groupby("precision", sort=False)):
            colour, marker = COLOURS[name], MARKERS[name]
            at = curve.sort_values("size")
            first, rest = at.iloc[0], at.iloc[1:]
            axes.plot(rest["size"], rest["advantage"], color=colour, marker=marker,
                      label=f"{name} over {first['over']}")  # fmt: skip
            axes.fill_between(
                rest["size"], rest["lower"], rest["upper"], color=colour, alpha=0.15, lw=0
            )
            beside = ideal * breadth ** (0.1 * place)
            axes.plot([beside] * 2, [first["lower"], first["upper"]], color=colour)
            axes.plot(beside, first["advantage"], marker, color=colour, mfc="white")
        axes.axhline(0, ls=":", lw=0.8, color="black")
        axes.set(title=typeset(kind), xlabel=typeset(mine["unit"].iloc[0]), xscale="log",
                 yscale="symlog")  # fmt: skip
        ticks = log_ticks(visited.min(), visited.max())
        ticks = ticks[:: -(-len(ticks) // 3)]
        axes.set_xticks([ideal, *ticks], ["ideal", *(f"{tick:g}" for tick in ticks)])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_yticks([-10, -1, 0, 1, 10], ["−10", "−1", "0", "1", "10"])
    panels[0, 0].set_ylabel("advantage (points)")
    panels[0, 0].fill_between([], [], [], color=INK, alpha=0.15, lw=0, label="95 % interval")
    legend(figure, panels[0, 0], "below")
    return figure


def each_bit(verdicts: pd.DataFrame) -> str:
    """What a further bit of weight does to the limits, for a title.

    Parameters
    ----------
    verdicts : DataFrame
        From `artifact.studies.trends.verdicts`, of slopes; its first row is told.

    Examples
    --------
    >>> row = {"scheme": "differential", "pooled": 0.9, "lower": 0.8, "upper": 0.95}
    >>> each_bit(pd.DataFrame([row | {"verdict": "stricter"}]))[:61]
    'Each bit of weight multiplies the limits by 0.90 [0.80, 0.95]'
    """
    row = verdicts.iloc[0]
    return (
        f"Each bit of weight multiplies the limits by {row['pooled']:.2f} [{row['lower']:.2f}, "
        f"{row['upper']:.2f}] with {SCHEMES[row['scheme']]}: {row['verdict']}"
    )
